package schedule

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/crawlbox/crawlbox/appliance/cluster/state"
	"github.com/crawlbox/crawlbox/appliance/cluster/state/statetest"
)

// newStore returns one with the schedule q, which has come to nine.
func newStore(t *testing.T) (*Store, Schedule) {
	t.Helper()
	s := NewStore(state.NewDocument(statetest.Open(t, t.TempDir()), state.Schedules))
	q := Schedule{Name: "q", Service: "spider", Cron: "*/15 * * * *", Replicas: 1}
	put(t, s, q, "09:00")
	return s, q
}

func put(t *testing.T, s *Store, q Schedule, at string) {
	t.Helper()
	err := s.Update("put", func(list []Entry) ([]Entry, error) { return With(list, q, false, clock(t, at)), nil })
	if err != nil {
		t.Fatal(err)
	}
}

func list(t *testing.T, s *Store) []Entry {
	t.Helper()
	list, err := s.List()
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// TestStore_Note: what was decided about a schedule counts only while that is as it was.
func TestStore_Note(t *testing.T) {
	t.Parallel()
	s, q := newStore(t)
	was := list(t, s)[0]
	later := was.Position
	later.Through = clock(t, "09:15")
	note := func() time.Time {
		t.Helper()
		if err := s.Note([]Outcome{{was, later}}); err != nil {
			t.Fatal(err)
		}
		return list(t, s)[0].Position.Through
	}
	if got := note(); !got.Equal(clock(t, "09:15")) {
		t.Errorf("it is at %s", got)
	}
	later.Through = clock(t, "09:30")
	if got := note(); !got.Equal(clock(t, "09:15")) {
		t.Errorf("two noted: it is at %s", got)
	}
	q.Args = map[string]string{"site": "shop"}
	put(t, s, q, "09:20")
	if got := list(t, s)[0].Position.Through; !got.Equal(clock(t, "09:15")) {
		t.Errorf("with other arguments it is at %s", got)
	}
	q.Cron = "0 * * * *"
	put(t, s, q, "09:20")
	if got := list(t, s)[0].Position.Through; !got.Equal(clock(t, "09:20")) {
		t.Errorf("with other times it is at %s", got)
	}
	was.Position = list(t, s)[0].Position
	if got := note(); !got.Equal(clock(t, "09:20")) {
		t.Errorf("changed meanwhile: it is at %s", got)
	}
	if err := s.Update("drop", func([]Entry) ([]Entry, error) { return nil, nil }); err != nil {
		t.Fatal(err)
	}
	if err := s.Note([]Outcome{{was, later}}); err != nil || len(list(t, s)) > 0 {
		t.Errorf("removed meanwhile: %v, %+v", err, list(t, s))
	}
}

// TestEntry_Coming: what the jitter delays is still to come, and what is dealt with is not.
func TestEntry_Coming(t *testing.T) {
	t.Parallel()
	e := Entry{Schedule: Schedule{Name: "q", Cron: "*/15 * * * *", Zone: "Europe/Paris", Jitter: 14 * time.Minute}}
	e.Position.Through = clock(t, "08:45")
	for now, want := range map[string]string{"09:00": "11:00 11:15 11:30", "09:14": "11:15 11:30 11:45"} {
		coming, err := e.Coming(clock(t, now), 3)
		var at []time.Time
		for _, c := range coming {
			at = append(at, c.Planned)
			if c.Begin.Before(c.Planned) || c.Begin.Before(clock(t, now)) {
				t.Errorf("at %s: %+v", now, c)
			}
		}
		if got := clocks(at); err != nil || got != want {
			t.Errorf("at %s: %q, %v", now, got, err)
		}
	}
	e.Position.Through = clock(t, "12:00") // the clock was ahead
	coming, err := e.Coming(clock(t, "09:00"), 1)
	if err != nil || len(coming) != 1 || !coming[0].Planned.Equal(clock(t, "12:15")) {
		t.Errorf("got %+v, %v", coming, err)
	}
	e.Paused = &Pause{By: "ann"}
	if coming, err := e.Coming(clock(t, "09:00"), 1); err != nil || len(coming) > 0 {
		t.Errorf("paused: %+v, %v", coming, err)
	}
}

func TestStore_Bounds(t *testing.T) {
	t.Parallel()
	s, q := newStore(t)
	err := s.Update("many", func(list []Entry) ([]Entry, error) {
		for n := range maxSchedules {
			q.Name = fmt.Sprint("q-", n)
			list = With(list, q, false, clock(t, "09:00"))
		}
		return list, nil
	})
	if err == nil || !strings.Contains(err.Error(), "201 schedules") {
		t.Errorf("got %v", err)
	}
	err = s.Update("long", func(list []Entry) ([]Entry, error) {
		q.Name, q.Args = "long", map[string]string{"x": strings.Repeat("x", maxDocument)}
		return With(list, q, false, clock(t, "09:00")), nil
	})
	if err == nil || !strings.Contains(err.Error(), "bytes together") {
		t.Errorf("got %v", err)
	}
}

// TestWithConfig: the file has its own, and takes over what has the name of one; a pause outlives its changes.
func TestWithConfig(t *testing.T) {
	t.Parallel()
	nine, ten := clock(t, "09:00"), clock(t, "10:00")
	of := func(name, cron string) Schedule { return Schedule{Name: name, Service: "spider", Cron: cron} }
	all := With(nil, of("hand", "0 * * * *"), false, nine)
	all = With(all, of("both", "0 * * * *"), false, nine)
	all = WithConfig(all, []Schedule{of("both", "0 * * * *"), of("file", "0 * * * *"), of("gone", "@daily")}, nine)
	all[Find(all, "file")].Paused = &Pause{By: "ann"}
	all = WithConfig(all, []Schedule{of("both", "0 * * * *"), of("file", "30 * * * *")}, ten)
	var got []string
	for _, e := range all {
		got = append(got, fmt.Sprint(e.Name, e.Config, e.Paused != nil, e.Position.Through.Hour()))
	}
	if strings.Join(got, " ") != "handfalse false 9 bothtrue false 9 filetrue true 10" {
		t.Errorf("got %q", got)
	}
}
