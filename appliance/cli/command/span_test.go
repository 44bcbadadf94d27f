package command

import (
	"testing"
	"time"
)

func TestSpan(t *testing.T) {
	t.Parallel()
	const day = 24 * time.Hour
	for text, want := range map[string]time.Duration{
		"1s":       time.Second,
		"90s":      90 * time.Second,
		"24h":      day,
		"7d":       7 * day,
		"1d12h30m": day + 12*time.Hour + 30*time.Minute,
		"36500d":   36500 * day,
	} {
		var s Span
		if err := s.Set(text); err != nil || time.Duration(s) != want {
			t.Errorf("%s: got %v, %v", text, time.Duration(s), err)
		}
	}
	for _, text := range []string{
		"", "0", "0s", "1", "-1s", "999ms", "1w", "d", "-1d", "+1d", "1.5d", "1d-12h", "36501d", "99999d", "65536d",
		"36500d1s", "2562047h47m", "soon",
	} {
		var s Span
		if err := s.Set(text); err == nil || s != 0 {
			t.Errorf("%q: got %v, %v", text, time.Duration(s), err)
		}
	}
}

func TestSpan_String(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"2h": "2h", "1d": "24h", "90m": "1h30m", "10m": "10m", "10s": "10s", "90s": "1m30s", "1h10s": "1h0m10s",
		"10h10m": "10h10m", "100h20s": "100h0m20s",
	} {
		var s Span
		if err := s.Set(text); err != nil || s.String() != want {
			t.Errorf("%s: got %q, %v", text, s.String(), err)
		}
	}
}

func FuzzSpan(f *testing.F) {
	for _, seed := range []string{"1s", "7d", "1d12h", "-1d", "d", "9999999h", "1d1d"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		var s Span
		if err := s.Set(text); (err == nil) != (s >= Span(time.Second) && s <= Span(maxSpan)) {
			t.Errorf("%q: %v, %v", text, time.Duration(s), err)
		}
		var again Span
		if s != 0 && (again.Set(s.String()) != nil || again != s) {
			t.Errorf("%q is shown as %q, which is %v", text, s.String(), time.Duration(again))
		}
	})
}
