package resp

import (
	"strconv"
	"strings"
)

// splitWords splits a line as redis-cli's users write it: "…" has escapes, '…'
// has only \'. It reports false when a quote is not closed or is followed by
// something else than a space.
func splitWords(line string) (words []string, ok bool) {
	for {
		line = strings.TrimLeft(line, " \t\r\n\v\f\x00")
		if line == "" {
			return words, true
		}
		var word []byte
		for line != "" && !strings.ContainsRune(" \t\r\n\v\f\x00", rune(line[0])) {
			if quote := line[0]; quote == '"' || quote == '\'' {
				var closed bool
				word, line, closed = unquote(word, line[1:], quote)
				if !closed || line != "" && !strings.ContainsRune(" \t\r\n\v\f\x00", rune(line[0])) {
					return nil, false
				}
				break
			}
			word, line = append(word, line[0]), line[1:]
		}
		words = append(words, string(word))
	}
}

func unquote(word []byte, line string, quote byte) ([]byte, string, bool) {
	for line != "" {
		switch c := line[0]; {
		case c == quote:
			return word, line[1:], true
		case c == '\\' && quote == '"' && len(line) > 1:
			var b byte
			b, line = escaped(line[1:])
			word = append(word, b)
		case c == '\\' && strings.HasPrefix(line, `\'`):
			word, line = append(word, '\''), line[2:]
		default:
			word, line = append(word, c), line[1:]
		}
	}
	return nil, "", false
}

// escaped returns the byte that an escape without its backslash stands for.
func escaped(s string) (byte, string) {
	if s[0] == 'x' && len(s) > 2 {
		if n, err := strconv.ParseUint(s[1:3], 16, 8); err == nil {
			return byte(n), s[3:]
		}
	}
	if i := strings.IndexByte("nrtba", s[0]); i >= 0 {
		return "\n\r\t\b\a"[i], s[1:]
	}
	return s[0], s[1:]
}
