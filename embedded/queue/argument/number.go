// Package argument reads what commands are given as Redis reads it: numbers, ranges of
// indexes, and patterns. Both who does a command and who only has to understand it stand on it.
package argument

import (
	"math"
	"math/big"
	"strconv"
	"strings"
	"time"
)

// CString returns what Redis reads where it takes an argument for a string of C.
func CString(s string) string {
	s, _, _ = strings.Cut(s, "\x00")
	return s
}

// Int reads an integer as Redis writes it: no plus sign, no zeros in front.
func Int(s string) (int64, bool) {
	if len(s) == 0 || len(s) > 20 {
		return 0, false
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || s[0] == '+' || s[0] == '0' && len(s) > 1 || s[0] == '-' && s[1] == '0' {
		return 0, false
	}
	return n, true
}

// Float reads what strtod reads, except for NaN.
func Float(s string) (float64, bool) {
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

// longDouble is the precision of the x87's numbers, in which Redis adds.
const longDouble = 64

// Long reads a number in the precision of a long double.
func Long(s string) (*big.Float, bool) {
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

// Seconds reads a timeout, in seconds with a fraction, rounded up to milliseconds; 0 is for
// ever. It reports whether that is a number, and whether it is in range.
func Seconds(s string) (d time.Duration, number, inRange bool) {
	long, ok := Long(s)
	if !ok {
		return 0, false, false
	}
	switch n, _ := long.Float64(); {
	case n < 0 || n*1000 > math.MaxInt64: // overflows in Redis
		return 0, true, false
	case n > math.MaxInt64/float64(time.Second):
		return math.MaxInt64, true, true
	default:
		return time.Duration(math.Ceil(n*1000)) * time.Millisecond, true, true
	}
}

// Range makes a range of indexes, both included and negative ones from the
// end, one of places from up to to.
func Range(start, stop int64, n int) (from, to int) {
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
