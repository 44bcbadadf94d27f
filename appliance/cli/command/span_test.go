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

func FuzzSpan(f *testing.F) {
	for _, seed := range []string{"1s", "7d", "1d12h", "-1d", "d", "9999999h", "1d1d"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		var s Span
		if err := s.Set(text); (err == nil) != (s >= Span(time.Second) && s <= Span(maxSpan)) {
			t.Errorf("%q: %v, %v", text, time.Duration(s), err)
		}
	})
}
