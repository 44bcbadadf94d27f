package history

import (
	"slices"
	"testing"
)

func TestNextTag(t *testing.T) {
	t.Parallel()
	for want, existing := range map[string][]string{
		"0.01":  nil,
		"0.02":  {"0.01"},
		"0.10":  {"0.09", "0.02"},
		"1.00":  {"0.99"},
		"1.01":  {"0.99", "1.00"},
		"10.00": {"9.99", "9.100x"},
		"0.010": {"0.009"},
		"0.101": {"0.99", "0.100"},
		"2.000": {"1.999"},
		"0.03": {
			"latest", "1.2.3", "v9.99", "1.5", "01.02", "7", "0.02", "0.02-rc1", "9.1234567890", "9999999999.01", "",
		},
	} {
		if got := NextTag(existing); got != want {
			t.Errorf("after %q: got %s, want %s", existing, got, want)
		}
	}
}

func FuzzNextTag(f *testing.F) {
	f.Add("0.99", "1.5")
	f.Add("999999999.999999999", "0.01")
	f.Fuzz(func(t *testing.T, a, b string) {
		existing := []string{a, b}
		next := NextTag(existing)
		if slices.Contains(existing, next) {
			t.Errorf("%q exists", next)
		}
	})
}
