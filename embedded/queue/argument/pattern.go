package argument

import "strings"

// MaxPattern is the longest pattern, in bytes: matching takes time in proportion to
// it, for each key or channel.
const MaxPattern = 1024

// Match reports whether s matches a glob pattern: * ? [a-z] [^a] and \ before a
// character that means itself. It takes time in proportion to the product of
// both lengths at most.
func Match(pattern, s string) bool {
	if pattern == "*" {
		return true
	}
	p, i := 0, 0
	star, from := -1, 0 // the last star, and where in s what follows it was tried
	for i < len(s) {
		if p < len(pattern) && pattern[p] == '*' {
			star, from = p, i
			p++
			continue
		}
		if next, ok := matchOne(pattern, p, s[i]); ok {
			p, i = next, i+1
			continue
		}
		if star < 0 {
			return false
		}
		from++
		p, i = star+1, from
	}
	return strings.Trim(pattern[p:], "*") == ""
}

// matchOne matches one character against the pattern at p, and returns what
// follows there.
func matchOne(pattern string, p int, b byte) (int, bool) {
	if p >= len(pattern) {
		return p, false
	}
	switch c := pattern[p]; {
	case c == '?':
		return p + 1, true
	case c == '[':
		return matchClass(pattern, p+1, b)
	case c == '\\' && p+1 < len(pattern):
		return p + 2, pattern[p+1] == b
	default:
		return p + 1, c == b
	}
}

// matchClass matches [...] whose content begins at p. One that is not closed ends
// with the pattern.
func matchClass(pattern string, p int, b byte) (int, bool) {
	not := p < len(pattern) && pattern[p] == '^'
	if not {
		p++
	}
	found := false
	for ; p < len(pattern) && pattern[p] != ']'; p++ {
		switch {
		case pattern[p] == '\\' && p+1 < len(pattern):
			p++
			found = found || pattern[p] == b
		case p+2 < len(pattern) && pattern[p+1] == '-':
			from, to := min(pattern[p], pattern[p+2]), max(pattern[p], pattern[p+2])
			p += 2
			found = found || from <= b && b <= to
		default:
			found = found || pattern[p] == b
		}
	}
	return min(p+1, len(pattern)), found != not
}
