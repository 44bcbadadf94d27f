package testenv

import (
	"regexp"
	"strings"
)

var (
	rawWords = regexp.MustCompile(`rpc error|desc = |strconv\.|(?:^|[\s(])(?:yaml|json|time|reflect|template|units): ` +
		`|map\[string\]|interface ?\{|interface conversion|\[\](?:string|byte|any)\b|mapstructure|decoding failed` +
		`|invalid syntax|value out of range|unexpected (?:value )?type|invalid type|%!|<nil>|runtime error|nil pointer` +
		`|\bpanic\b|non-zero exit|goroutine \d+`)
	rawIDs = regexp.MustCompile(`\b[0-9a-z]{25}\b`)
	// inQuotes is what somebody else said.
	inQuotes = regexp.MustCompile(`"(?:\\.|[^"\\])*"`)
)

// Raw returns the words of programs in a text for people that only those know who wrote them, of
// Go, its libraries and Swarm. What is in quotes may be what the user wrote.
func Raw(text string) []string {
	return rawWords.FindAllString(inQuotes.ReplaceAllString(text, `""`), -1)
}

// RawIDs returns the IDs of Swarm in a text for people, who know things by their names.
func RawIDs(text string) []string { return rawIDs.FindAllString(text, -1) }

// Doubled returns a part of a line that is said twice, such as the same advice by an error and by
// the one that wraps it.
func Doubled(line string) string {
	said := map[string]bool{}
	for part := range strings.SplitSeq(strings.ReplaceAll(line, ": ", "; "), "; ") {
		part = strings.TrimSpace(part)
		if len(part) >= 12 && said[part] {
			return part
		}
		said[part] = true
	}
	return ""
}
