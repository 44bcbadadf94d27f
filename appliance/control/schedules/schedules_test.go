package schedules

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/crawlbox/crawlbox/appliance/api"
	"github.com/crawlbox/crawlbox/appliance/cluster/state"
	"github.com/crawlbox/crawlbox/appliance/cluster/state/statetest"
	"github.com/crawlbox/crawlbox/appliance/fleet"
	"github.com/crawlbox/crawlbox/appliance/runs"
	"github.com/crawlbox/crawlbox/appliance/schedule"
)

// engine has the services spider and a queue's, and a run of the schedule daily.
type engine struct{}

func (engine) HasRuns(context.Context) (bool, error) { return true, nil }
func (engine) Services(context.Context) ([]fleet.Service, error) {
	label, err := runs.Spec{ID: "daily-1", Schedule: "daily"}.Label()
	return []fleet.Service{
		{Name: "spider"}, {Name: fleet.OwnServices + "a"}, {Name: "daily-1", Run: label}, {Name: "daily-0", Run: label},
	}, err
}

func open(t *testing.T) (*Schedules, *schedule.Store) {
	t.Helper()
	store := schedule.NewStore(state.NewDocument(statetest.Open(t, t.TempDir()), state.Schedules))
	ended := func(id string) (bool, error) { return id == "daily-0", nil }
	explain := func(err error) error {
		if err == nil {
			return nil
		}
		return &api.Error{Code: api.CodeFailed, Message: err.Error()}
	}
	return New(engine{}, store, ended, explain), store
}

func request(name, service string) api.ScheduleRequest {
	return api.ScheduleRequest{Schedule: schedule.Schedule{Name: name, Service: service, Cron: "@daily", Replicas: 1}}
}

// refused wants an error of a code.
func refused(t *testing.T, what string, err error, code string) {
	t.Helper()
	if is := (*api.Error)(nil); !errors.As(err, &is) || is.Code != code {
		t.Errorf("%s: got %v, want %s", what, err, code)
	}
}

func TestAdd(t *testing.T) {
	t.Parallel()
	s, _ := open(t)
	ctx := t.Context()
	made, err := s.AddSchedule(ctx, request("daily", "spider"))
	if err != nil || len(made.Coming) != coming || made.Config || made.Behind {
		t.Errorf("got %+v, %v", made, err)
	}
	_, err = s.AddSchedule(ctx, request("daily", "spider"))
	refused(t, "twice", err, api.CodeConflict)
	again := request("daily", "spider")
	again.Replace, again.Cron = true, "0 4 * * *"
	if made, err = s.AddSchedule(ctx, again); err != nil || made.Coming[0].Planned.Hour() != 4 {
		t.Errorf("got %+v, %v", made, err)
	}
	_, err = s.AddSchedule(ctx, request("x", "nobody"))
	refused(t, "of nobody", err, api.CodeNotFound)
	_, err = s.AddSchedule(ctx, request("x", "daily-1"))
	refused(t, "of a run", err, api.CodeNotFound)
	_, err = s.AddSchedule(ctx, request("x", fleet.OwnServices+"a"))
	refused(t, "of the queue", err, api.CodeConflict)
	_, err = s.AddSchedule(ctx, request("a b", "spider"))
	refused(t, "of a bad name", err, api.CodeInvalid)
	list, err := s.Schedules(ctx)
	if err != nil || len(list) != 1 || strings.Join(list[0].Live, " ") != "daily-1" {
		t.Errorf("got %+v, %v", list, err)
	}
}

func TestPauseResumeRemove(t *testing.T) {
	t.Parallel()
	s, store := open(t)
	ctx := t.Context()
	if _, err := s.AddSchedule(ctx, request("daily", "spider")); err != nil {
		t.Fatal(err)
	}
	if err := s.PauseSchedule(ctx, "daily"); err != nil {
		t.Fatal(err)
	}
	list, err := s.Schedules(ctx)
	if err != nil || list[0].Paused == nil || len(list[0].Coming) > 0 {
		t.Errorf("paused: %+v, %v", list, err)
	}
	before := list[0].Position.Through
	if err := s.ResumeSchedule(ctx, "daily"); err != nil {
		t.Fatal(err)
	}
	list, err = s.Schedules(ctx)
	if err != nil || list[0].Paused != nil || !list[0].Position.Through.After(before) {
		t.Errorf("resumed: %+v, %v", list, err)
	}
	err = store.Update("config", func(list []schedule.Entry) ([]schedule.Entry, error) {
		list[0].Config = true
		return list, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	refused(t, "of the config", s.RemoveSchedule(ctx, "daily"), api.CodeConflict)
	again := request("daily", "spider")
	again.Replace = true
	_, err = s.AddSchedule(ctx, again)
	refused(t, "in place of the config's", err, api.CodeConflict)
	for what, do := range map[string]func(context.Context, string) error{
		"pause": s.PauseSchedule, "resume": s.ResumeSchedule, "remove": s.RemoveSchedule,
	} {
		refused(t, what, do(ctx, "nothing"), api.CodeNotFound)
	}
}

func TestRemove(t *testing.T) {
	t.Parallel()
	s, _ := open(t)
	if _, err := s.AddSchedule(t.Context(), request("daily", "spider")); err != nil {
		t.Fatal(err)
	}
	if err := s.RemoveSchedule(t.Context(), "daily"); err != nil {
		t.Fatal(err)
	}
	if list, err := s.Schedules(t.Context()); err != nil || len(list) > 0 {
		t.Errorf("got %+v, %v", list, err)
	}
}

func TestProblem(t *testing.T) {
	t.Parallel()
	_, store := open(t)
	now := time.Now().UTC()
	of := func(change func(*schedule.Entry)) string {
		t.Helper()
		err := store.Update("one", func([]schedule.Entry) ([]schedule.Entry, error) {
			list := schedule.With(nil, request("daily", "spider").Schedule, false, now)
			change(&list[0])
			return append(list, list[0]), nil
		})
		if err != nil {
			t.Fatal(err)
		}
		return Problem(store)()
	}
	event := func(kind string, ago time.Duration) func(*schedule.Entry) {
		return func(e *schedule.Entry) {
			e.Position.Events = []schedule.Event{{At: now.Add(-ago), Kind: kind, Count: 5, Last: now, Why: "nobody"}}
		}
	}
	for want, change := range map[string]func(*schedule.Entry){
		"begins no runs: tz is":               func(e *schedule.Entry) { e.Zone = "Europe/Atlantis" },
		"can't begin a run: gone; and 1 more": func(e *schedule.Entry) { e.Position.Why = "gone" },
		"`crawlbox schedule resume daily`":    func(e *schedule.Entry) { e.Position.Through = now.Add(time.Hour) },
		"missed 5 planned times up to ":       event(schedule.Missed, time.Hour),
	} {
		if got := of(change); !strings.Contains(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	for what, change := range map[string]func(*schedule.Entry){
		"well":       func(*schedule.Entry) {},
		"paused":     func(e *schedule.Entry) { e.Position.Why, e.Paused = "gone", &schedule.Pause{} },
		"skipped":    event(schedule.Skipped, time.Hour),
		"missed ago": event(schedule.Missed, 25*time.Hour),
	} {
		if got := of(change); got != "" {
			t.Errorf("%s: got %q", what, got)
		}
	}
}
