package systemd

import (
	"slices"
	"strings"
)

// escapes are what means something in a command line of systemd.service(5): in
// double quotes, besides specifiers and variables.
var escapes = strings.NewReplacer(`\`, `\\`, `"`, `\"`, "%", "%%", "$", "$$", "\n", `\n`, "\t", `\t`)

// plain are the characters that mean nothing but themselves.
const plain = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_=/.,:@+"

// Quote writes words as a command line of a unit file.
func Quote(words ...string) string {
	quoted := make([]string, len(words))
	for i, word := range words {
		quoted[i] = word
		if word == "" || strings.Trim(word, plain) != "" {
			quoted[i] = `"` + escapes.Replace(word) + `"`
		}
	}
	return strings.Join(quoted, " ")
}

// Differences lists the lines that a unit file loses, behind a minus, and gains,
// behind a plus. Comments and the order do not count.
func Differences(before, after string) (list []string) {
	was, is := lines(before), lines(after)
	for _, line := range was {
		if !slices.Contains(is, line) {
			list = append(list, "- "+line)
		}
	}
	for _, line := range is {
		if !slices.Contains(was, line) {
			list = append(list, "+ "+line)
		}
	}
	return list
}

func lines(unit string) (list []string) {
	for line := range strings.Lines(unit) {
		line = strings.TrimSpace(line)
		if line != "" && line[0] != '#' {
			list = append(list, line)
		}
	}
	return list
}
