package engine

import (
	"math"
	"math/big"
	"strconv"
	"strings"
)

// cString returns what Redis reads where it takes an argument for a string of C.
func cString(s string) string {
	s, _, _ = strings.Cut(s, "\x00")
	return s
}

// parseInt reads an integer as Redis writes it: no plus sign, no zeros in front.
func parseInt(s string) (int64, bool) {
	if len(s) == 0 || len(s) > 20 {
		return 0, false
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || s[0] == '+' || s[0] == '0' && len(s) > 1 || s[0] == '-' && s[1] == '0' {
		return 0, false
	}
	return n, true
}

// integer reads an argument, or fails.
func (c *Context) integer(arg string) int64 {
	n, ok := parseInt(arg)
	if !ok {
		c.fail(ErrNotInt)
	}
	return n
}

// bounded is integer for one that has bounds; msg says so.
func (c *Context) bounded(arg string, least, most int64, msg string) int {
	n, ok := parseInt(arg)
	if !ok || n < least || n > most {
		c.fail(msg)
	}
	return int(n)
}

// addInts adds as INCRBY does, or fails.
func (c *Context) addInts(n, by int64) int64 {
	if by > 0 && n > math.MaxInt64-by || by < 0 && n < math.MinInt64-by {
		c.fail("ERR increment or decrement would overflow")
	}
	return n + by
}

// parseFloat reads what strtod reads, except for NaN.
func parseFloat(s string) (float64, bool) {
	if s == "" || strings.ContainsAny(s, "_ \t\r\n\v\f") {
		return 0, false
	}
	if hex := strings.ToLower(s); strings.Contains(hex, "0x") && !strings.Contains(hex, "p") {
		s += "p0"
	}
	f, err := strconv.ParseFloat(s, 64)
	if err != nil || math.IsNaN(f) {
		return 0, false
	}
	mantissa, _, _ := strings.Cut(strings.ToLower(s), "e")
	return f, f != 0 || strings.Trim(mantissa, "+-.0xp") == "" // too small is out of range
}

func (c *Context) float(arg, msg string) float64 {
	f, ok := parseFloat(arg)
	if !ok {
		c.fail(msg)
	}
	return f
}

// longDouble is the precision of the x87's numbers, in which Redis adds.
const longDouble = 64

// addFloats adds two numbers as INCRBYFLOAT does; msg says that one is none.
func (c *Context) addFloats(a, b, msg string) string {
	x, ok := parseLong(a)
	y, ok2 := parseLong(b)
	switch {
	case !ok || !ok2:
		c.fail(msg)
	case x.IsInf() || y.IsInf():
		c.fail("ERR increment would produce NaN or Infinity")
	}
	sum := x.Add(x, y).Text('f', 17)
	if strings.Contains(sum, ".") {
		sum = strings.TrimRight(strings.TrimRight(sum, "0"), ".")
	}
	if sum == "-0" {
		return "0"
	}
	return sum
}

func parseLong(s string) (*big.Float, bool) {
	if s == "" || len(s) > 5<<10 || strings.ContainsAny(s, "_ \t\r\n\v\f") {
		return nil, false
	}
	if i := strings.IndexAny(s, "eEpP"); i >= 0 && len(s)-i > 6 { // beyond a long double, and slow to read
		return nil, false
	}
	base := 10
	if strings.ContainsAny(s, "xX") {
		base = 0
	}
	f, _, err := big.ParseFloat(s, base, longDouble, big.ToNearestEven)
	if err != nil || f.MantExp(nil) > 16384 {
		return nil, false
	}
	return f, true
}

// rangeOf makes a range of indexes, both included and negative ones from the
// end, one of places from up to to.
func rangeOf(start, stop int64, n int) (from, to int) {
	size := int64(n)
	if start < 0 {
		start = max(0, start+size)
	}
	if stop < 0 {
		stop += size
	}
	stop = min(stop, size-1)
	if start > stop {
		return 0, 0
	}
	return int(start), int(stop + 1)
}

func lower(s string) string { return strings.ToLower(s) }

func upper(s string) string { return strings.ToUpper(s) }

// MaxPattern is the longest pattern, in bytes: matching takes time in proportion to
// it, for each key or channel.
const MaxPattern = 1024

// ErrPattern refuses a longer one.
const ErrPattern = "ERR the pattern is longer than 1024 bytes"

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
