package engine

import (
	"math"
	"math/big"
	"strconv"
	"strings"
)

// cString is what Redis reads where it takes an argument for a string of C.
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
		return 0
	}
	return int(n)
}

// parseFloat reads what strtod reads, but for NaN.
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

// addFloats adds two numbers as INCRBYFLOAT does. It reports what is wrong.
func addFloats(a, b string) (sum, failed string) {
	x, ok := parseLong(a)
	y, ok2 := parseLong(b)
	switch {
	case !ok || !ok2:
		return "", errNotFloat
	case x.IsInf() || y.IsInf():
		return "", "ERR increment would produce NaN or Infinity"
	}
	sum = x.Add(x, y).Text('f', 17)
	if strings.Contains(sum, ".") {
		sum = strings.TrimRight(strings.TrimRight(sum, "0"), ".")
	}
	if sum == "-0" {
		sum = "0"
	}
	return sum, ""
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
