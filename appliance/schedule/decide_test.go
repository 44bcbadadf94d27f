package schedule

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/crawlbox/crawlbox/appliance/runs"
)

// clock returns a moment of a day: "09:15", "09:15:30".
func clock(t *testing.T, text string) time.Time {
	t.Helper()
	if strings.Count(text, ":") == 1 {
		text += ":00"
	}
	at, err := time.Parse(time.DateTime, "2026-06-01 "+text)
	if err != nil {
		t.Fatal(err)
	}
	return at
}

// clocks writes moments as clock reads them, without seconds.
func clocks(list []time.Time) string {
	var texts []string
	for _, at := range list {
		texts = append(texts, at.Format("15:04"))
	}
	return strings.Join(texts, " ")
}

func waitingText(list []Waiting) string {
	var at []time.Time
	for _, w := range list {
		at = append(at, w.Planned)
	}
	return clocks(at)
}

func eventText(list []Event) string {
	var texts []string
	for _, e := range list {
		texts = append(texts, fmt.Sprintf("%s %d %s", e.Kind, e.Count, clocks([]time.Time{e.First, e.Last})))
	}
	return strings.Join(texts, ", ")
}

// TestDecide: a schedule of each quarter of an hour has come to nine.
func TestDecide(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, now             string
		set                   Schedule
		waiting, live         string
		begin, stop           string
		through, waits, tells string
	}{
		{name: "not due", now: "09:14:59", through: "09:00"},
		{name: "due", now: "09:15", begin: "09:15", through: "09:15"},
		{name: "after a change of leaders", now: "09:16:50", begin: "09:15", through: "09:15"},
		{name: "one missed", now: "09:18", begin: "09:15", through: "09:15", tells: "missed 1 09:15 09:15"},
		{name: "off over five", now: "10:20", begin: "10:15", through: "10:15", tells: "missed 5 09:15 10:15"},
		{name: "and skip", now: "10:20", set: Schedule{Missed: Skip}, through: "10:15", tells: "missed 5 09:15 10:15"},
		{name: "back when one is due", now: "10:15:30", set: Schedule{AtMost: 2}, begin: "10:00 10:15",
			through: "10:15",
			tells:   "missed 4 09:15 10:00"},
		{name: "and skip", now: "10:15:30", set: Schedule{Missed: Skip}, begin: "10:15", through: "10:15",
			tells: "missed 4 09:15 10:00"},
		{name: "back when one is due, one at a time", now: "10:15:30", set: Schedule{Overlap: Wait}, begin: "10:00",
			waits: "10:15", through: "10:15", tells: "missed 4 09:15 10:00"},
		{name: "back, one replaces the other", now: "10:15:30", set: Schedule{Overlap: Replace}, begin: "10:15",
			through: "10:15", tells: "missed 4 09:15 10:00, skipped 1 10:00 10:00"},
		{name: "clock an hour ahead", now: "10:10", set: Schedule{Missed: Skip}, through: "10:00",
			tells: "missed 4 09:15 10:00"},
		{name: "clock an hour behind", now: "08:10", through: "09:00"},
		{name: "the one before runs", now: "09:15", live: "09:00", through: "09:15", tells: "skipped 1 09:15 09:15"},
		{name: "and may", now: "09:15", live: "09:00", set: Schedule{AtMost: 2}, begin: "09:15", through: "09:15"},
		{name: "two run", now: "09:15", live: "08:45 09:00", set: Schedule{AtMost: 2}, through: "09:15",
			tells: "skipped 1 09:15 09:15"},
		{name: "it waits", now: "09:15", live: "09:00", set: Schedule{Overlap: Wait}, through: "09:15", waits: "09:15"},
		{name: "it goes on to wait", now: "09:30", live: "09:00", waiting: "09:15", set: Schedule{Overlap: Wait},
			through: "09:30", waits: "09:15 09:30"},
		{name: "its turn", now: "09:30", waiting: "09:15", set: Schedule{Overlap: Wait}, begin: "09:15",
			through: "09:30", waits: "09:30"},
		{name: "it replaces", now: "09:15", live: "09:00", set: Schedule{Overlap: Replace}, begin: "09:15",
			stop: "09:00", through: "09:15"},
		{name: "it replaces the oldest", now: "09:15", live: "08:45 09:00", begin: "09:15", stop: "08:45",
			set: Schedule{Overlap: Replace, AtMost: 2}, through: "09:15"},
		{name: "fewer may run now", now: "09:15", live: "08:45 09:00", begin: "09:15", stop: "08:45 09:00",
			set: Schedule{Overlap: Replace}, through: "09:15"},
		// A leader died after it had begun what was due, and before it noted that.
		{name: "begun before", now: "09:15:30", live: "09:15", begin: "09:15", through: "09:15"},
		{name: "begun before, wait", now: "09:15:30", live: "09:15", set: Schedule{Overlap: Wait}, begin: "09:15",
			through: "09:15"},
		{name: "begun before, and not replaced", now: "09:15:30", live: "09:00 09:15", begin: "09:15", stop: "09:00",
			set: Schedule{Overlap: Replace}, through: "09:15"},
		{name: "begun before, and more are due", now: "09:30", live: "09:15", waiting: "09:15", begin: "09:15",
			through: "09:30", tells: "skipped 1 09:30 09:30"},
	} {
		s := c.set
		s.Name, s.Cron = "q", "*/15 * * * *"
		times, err := s.Times()
		if err != nil {
			t.Fatal(err)
		}
		at := Position{Through: clock(t, "09:00")}
		for _, text := range strings.Fields(c.waiting) {
			at.Waiting = append(at.Waiting, Waiting{Planned: clock(t, text), Since: clock(t, text)})
		}
		if c.waiting != "" {
			at.Through = clock(t, "09:15")
		}
		var live []Live
		for _, text := range strings.Fields(c.live) {
			live = append(live, Live{ID: runs.PlannedID("q", clock(t, text)), Planned: clock(t, text)})
		}
		var stop []string
		for _, text := range strings.Fields(c.stop) {
			stop = append(stop, runs.PlannedID("q", clock(t, text)))
		}
		p := s.Decide(times, at, live, clock(t, c.now))
		if got := clocks(p.Begin); got != c.begin {
			t.Errorf("%s: begins %q, want %q", c.name, got, c.begin)
		}
		if !slices.Equal(p.Stop, stop) {
			t.Errorf("%s: stops %q, want %q", c.name, p.Stop, stop)
		}
		after := p.Begun()
		if !after.Through.Equal(clock(t, c.through)) || waitingText(after.Waiting) != c.waits {
			t.Errorf("%s: is at %s with %q waiting, want %s with %q", c.name, after.Through.Format("15:04"),
				waitingText(after.Waiting), c.through, c.waits)
		}
		if got := eventText(after.Events); got != c.tells {
			t.Errorf("%s: tells %q, want %q", c.name, got, c.tells)
		}
	}
}

// TestDecide_StoppingIsNotStoppedAgain: a run that somebody ends still takes a place.
func TestDecide_StoppingIsNotStoppedAgain(t *testing.T) {
	t.Parallel()
	s := Schedule{Name: "q", Cron: "*/15 * * * *", Overlap: Replace}
	times, err := s.Times()
	if err != nil {
		t.Fatal(err)
	}
	old := Live{ID: "old", Planned: clock(t, "08:45"), Stopping: true}
	p := s.Decide(times, Position{Through: clock(t, "09:00")}, []Live{old}, clock(t, "09:15"))
	if len(p.Stop) > 0 || clocks(p.Begin) != "09:15" {
		t.Errorf("got %+v", p)
	}
}

// TestDecide_LongOff: what was missed over years is bounded work.
func TestDecide_LongOff(t *testing.T) {
	t.Parallel()
	s := Schedule{Name: "q", Cron: "@every 10s"}
	times, err := s.Times()
	if err != nil {
		t.Fatal(err)
	}
	now := clock(t, "09:00:05")
	p := s.Decide(times, Position{Through: now.AddDate(-20, 0, 0)}, nil, now)
	if n := len(p.After.Events); n == 0 || p.After.Events[0].Count < maxCount || p.After.Events[0].Count > 3*maxCount {
		t.Errorf("tells %+v", p.After.Events)
	}
	if !p.After.Through.Equal(clock(t, "09:00")) || len(p.Begin) != 1 {
		t.Errorf("begins %v, and is at %s", p.Begin, p.After.Through)
	}
	if n := len(p.After.Events); n > maxEvents {
		t.Errorf("tells %d times", n)
	}
}

// TestPlan_Failed: what can't be begun waits, is told once that takes too long, and others come after it.
func TestPlan_Failed(t *testing.T) {
	t.Parallel()
	s := Schedule{Name: "q", Cron: "*/5 * * * *", AtMost: 10}
	times, err := s.Times()
	if err != nil {
		t.Fatal(err)
	}
	at, down := Position{Through: clock(t, "09:00")}, errors.New("unknown service spider")
	for now := clock(t, "09:00"); now.Before(clock(t, "09:30")); now = now.Add(10 * time.Second) {
		if p := s.Decide(times, at, nil, now); len(p.Begin) > 0 {
			at = p.Failed(0, at, now, down)
		}
	}
	if got := waitingText(at.Waiting); got != "09:20 09:25" {
		t.Errorf("%q waits", got)
	}
	if got := eventText(at.Events); got != "failed 1 09:05 09:05, failed 1 09:10 09:10, failed 1 09:15 09:15" {
		t.Errorf("tells %q", got)
	}
	if !at.Failing.Equal(clock(t, "09:05")) || at.Why != down.Error() {
		t.Errorf("fails since %s by %q", at.Failing, at.Why)
	}
	p := s.Decide(times, at, nil, clock(t, "09:30"))
	half := p.Failed(1, at, clock(t, "09:30"), down)
	if clocks(p.Begin) != "09:20 09:25 09:30" || waitingText(half.Waiting) != "09:25 09:30" {
		t.Errorf("begins %v, and then waits %+v", p.Begin, half.Waiting)
	}
	if after := p.Begun(); after.Why != "" || !after.Failing.IsZero() || len(after.Waiting) > 0 {
		t.Errorf("all began: %+v", after)
	}
}

// TestDecide_BoundedWaiting: what waits behind a run that does not end is bounded, and the rest is told.
func TestDecide_BoundedWaiting(t *testing.T) {
	t.Parallel()
	s := Schedule{Name: "q", Cron: "@every 10s", Overlap: Wait}
	times, err := s.Times()
	if err != nil {
		t.Fatal(err)
	}
	begun := clock(t, "09:00")
	at, live := Position{Through: begun}, []Live{{ID: "r", Planned: begun}}
	for now := begun; now.Before(begun.Add(time.Hour)); now = now.Add(5 * time.Second) {
		at = s.Decide(times, at, live, now).Begun()
	}
	if len(at.Waiting) != maxWaiting || len(at.Events) != maxEvents {
		t.Errorf("%d wait, %d are told", len(at.Waiting), len(at.Events))
	}
}

// TestSchedule_Due: the jitter is the same each time, spread, and never begins a run before its time.
func TestSchedule_Due(t *testing.T) {
	t.Parallel()
	s := Schedule{Name: "q", Cron: "*/15 * * * *", Jitter: 10 * time.Minute}
	seen := map[time.Duration]bool{}
	for i := range 100 {
		planned := clock(t, "09:00").Add(time.Duration(i) * 15 * time.Minute)
		delay := s.Due(planned).Sub(planned)
		if delay < 0 || delay >= s.Jitter || delay != s.Due(planned.Local()).Sub(planned) {
			t.Errorf("%s is delayed by %s", planned, delay)
		}
		seen[delay] = true
	}
	if len(seen) < 50 {
		t.Errorf("100 times have %d delays", len(seen))
	}
	times, err := s.Times()
	if err != nil {
		t.Fatal(err)
	}
	due := s.Due(clock(t, "09:15"))
	if p := s.Decide(times, Position{Through: clock(t, "09:00")}, nil, due.Add(-1)); len(p.Begin) > 0 {
		t.Error("it begins early")
	}
	if p := s.Decide(times, Position{Through: clock(t, "09:00")}, nil, due); clocks(p.Begin) != "09:15" {
		t.Errorf("begins %v", p.Begin)
	}
}
