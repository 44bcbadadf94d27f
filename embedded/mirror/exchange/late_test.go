package exchange

import (
	"testing"
	"time"
)

// A node that is starved of its processors, and looks late, does not count that against the
// others.
func TestExcuse(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		moved, reviewed time.Duration // so long ago
		stalled         bool
	}{
		"bytes came a moment ago":            {time.Second, reviewEvery, false},
		"none came for long":                 {stalledAfter + time.Second, reviewEvery, true},
		"none came while nobody looked":      {time.Minute, time.Minute, false},
		"none came for long before that too": {time.Minute, 2 * time.Second, true},
	} {
		now := time.Now()
		fl := &flight{moved: now.Add(-tc.moved)}
		f := &fetch{
			x:        &Exchange{o: Options{Patience: stalledAfter}},
			flights:  map[*flight]struct{}{fl: {}},
			gained:   now.Add(-tc.moved),
			promised: now.Add(-tc.moved),
			reviewed: now.Add(-tc.reviewed),
		}
		f.excuse(now.Sub(f.reviewed) - lateAfter)
		if fl.stalled(now) != tc.stalled || f.hopeless(now) != tc.stalled {
			t.Errorf("%s: stalled %v, hopeless %v", name, fl.stalled(now), f.hopeless(now))
		}
	}
}
