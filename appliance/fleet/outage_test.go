package fleet

import (
	"testing"
	"time"
)

func TestOutage_Excuses(t *testing.T) {
	t.Parallel()
	seen := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	at := func(d time.Duration) time.Time { return seen.Add(d) }
	short, lasting := Outage{Seen: seen, Ended: at(2 * time.Second)}, Outage{Seen: seen}
	restart := Outage{Seen: seen, Ended: at(time.Second), Restart: true}
	for name, tc := range map[string]struct {
		outage Outage
		state  string
		since  time.Duration
		want   bool
	}{
		"amid it":                           {short, TaskFailed, time.Second, true},
		"a moment before":                   {short, TaskFailed, -time.Second, true},
		"a moment after":                    {short, TaskFailed, 6 * time.Second, true},
		"before it":                         {short, TaskFailed, -6 * time.Second, false},
		"after it":                          {short, TaskFailed, 8 * time.Second, false},
		"it lasts":                          {lasting, TaskFailed, 50 * time.Second, true},
		"it lasts for too long":             {lasting, TaskFailed, 70 * time.Second, false},
		"crawlbox was away for long":        {restart, TaskFailed, -time.Hour, true},
		"crawlbox has been back for a time": {restart, TaskFailed, 7 * time.Second, false},
		"it never started":                  {short, TaskRejected, time.Second, false},
		"it ended well":                     {short, TaskComplete, time.Second, false},
	} {
		if got := tc.outage.Excuses(Task{State: tc.state, Since: at(tc.since)}); got != tc.want {
			t.Errorf("%s: excused %v, want %v", name, got, tc.want)
		}
	}
}
