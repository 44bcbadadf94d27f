package systemd

import (
	"strings"

	"github.com/crawlbox/crawlbox/appliance/base/naming"
)

// Command returns the words of the command that a service unit runs, as Quote wrote
// them; nil if it has none.
func Command(unit string) []string {
	for line := range strings.Lines(unit) {
		if command, ok := strings.CutPrefix(line, "ExecStart="); ok {
			return split(strings.TrimSpace(command))
		}
	}
	return nil
}

// split is the inverse of Quote. go-systemd/unit takes a unit apart into options, but not
// what stands in them.
func split(command string) (words []string) {
	var word strings.Builder
	begun, quoted := false, false
	for i := 0; i < len(command); i++ {
		c := command[i]
		var next byte
		if i+1 < len(command) {
			next = command[i+1]
		}
		switch {
		case c == '"':
			quoted, begun = !quoted, true
		case c == '\\' && next != 0:
			word.WriteByte(unescape(next))
			i, begun = i+1, true
		case (c == '%' || c == '$') && next == c:
			word.WriteByte(c)
			i, begun = i+1, true
		case c == ' ' && !quoted:
			if begun {
				words = append(words, word.String())
			}
			word.Reset()
			begun = false
		default:
			word.WriteByte(c)
			begun = true
		}
	}
	if begun {
		words = append(words, word.String())
	}
	return words
}

func unescape(c byte) byte {
	switch c {
	case 'n':
		return '\n'
	case 't':
		return '\t'
	}
	return c
}

// Role returns the role that a service unit of Files runs, empty if it is another
// unit.
func Role(unit string) string {
	if words := Command(unit); len(words) > 1 && naming.CheckRole(words[1]) == nil {
		return words[1]
	}
	return ""
}
