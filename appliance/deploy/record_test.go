package deploy

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/crawlbox/crawlbox/appliance/deploy/history"
	"github.com/crawlbox/crawlbox/appliance/deploy/history/historytest"
	"github.com/crawlbox/crawlbox/appliance/fleet"
)

func TestResultOf(t *testing.T) {
	t.Parallel()
	for want, err := range map[history.Result]error{
		history.Done:        nil,
		history.RolledBack:  fmt.Errorf("x: %w", &RolledBackError{}),
		history.Interrupted: fmt.Errorf("x: %w", context.Canceled),
		history.Failed:      errors.New("x"),
	} {
		if got := resultOf(err); got != want {
			t.Errorf("%v: got %s, want %s", err, got, want)
		}
	}
}

func TestChangedBy(t *testing.T) {
	t.Parallel()
	e := history.Entry{At: time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC)}
	const other = "2026-01-01T00:00:00Z"
	for name, tc := range map[string]struct {
		svc  fleet.Service
		want bool
	}{
		"its own": {fleet.Service{Deploy: e.Mark()}, true},
		"another": {
			fleet.Service{Deploy: other, Update: "completed", UpdateStarted: e.At.Add(time.Second)},
			false,
		},
		"made by hand": {fleet.Service{}, false},
		"Swarm went back": {
			fleet.Service{Deploy: other, Update: "rollback_completed", UpdateStarted: e.At.Add(time.Second)},
			true,
		},
		"from the one before": {
			fleet.Service{Deploy: other, Update: "rollback_completed", UpdateStarted: e.At.Add(-time.Second)},
			false,
		},
	} {
		if got := changedBy(tc.svc, e); got != tc.want {
			t.Errorf("%s: got %v", name, got)
		}
	}
}

// A change that comes to nothing is told once, however often it is tried.
func TestSameTry(t *testing.T) {
	t.Parallel()
	again := history.Entry{Kind: history.KindConfig, Definition: "b", Digest: "d"}
	failed := history.Entry{
		Kind:       history.KindConfig,
		Definition: "b",
		Digest:     "d",
		Stage:      history.StagePull,
		Result:     history.Failed,
	}
	for name, tc := range map[string]struct {
		change func(last *history.Entry)
		want   bool
	}{
		"in the pull":        {func(*history.Entry) {}, true},
		"refused by Swarm":   {func(e *history.Entry) { e.Stage = history.StageUpdate }, true},
		"cut off there":      {func(e *history.Entry) { e.Result = history.Interrupted }, true},
		"after it":           {func(e *history.Entry) { e.Stage = history.StageWatch }, false},
		"another image":      {func(e *history.Entry) { e.Digest = "c" }, false},
		"another definition": {func(e *history.Entry) { e.Definition = "a" }, false},
		"asked by a person":  {func(e *history.Entry) { e.Kind = history.KindDeploy }, false},
	} {
		last := failed
		tc.change(&last)
		if got := isRepeat(last, again); got != tc.want {
			t.Errorf("%s: got %v", name, got)
		}
	}
	past, err := history.Open(historytest.In(t.TempDir()))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := past.Begin("spider", failed); err != nil {
		t.Fatal(err)
	}
	rec := NewRunner(nil, nil, past, slog.New(slog.DiscardHandler)).begin("spider", again)
	for _, stage := range []history.Stage{history.StagePull, history.StageUpdate} {
		if err := rec.at(stage); err != nil {
			t.Fatal(err)
		}
	}
	if list := past.List("spider"); len(list) != 1 || list[0].Result != history.Running ||
		list[0].Stage != history.StageUpdate {
		t.Errorf("the history is %+v", list)
	}
}

// TestResume_Whose: a manager ends what it was cut off from itself, and one that leads what others were that are gone;
// what somebody is at, nobody else ends.
func TestResume_Whose(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		past, err := history.Open(historytest.In(t.TempDir()))
		if err != nil {
			t.Fatal(err)
		}
		r := NewRunner(nil, nil, past, slog.New(slog.DiscardHandler))
		r.As("m1")
		for service, manager := range map[string]string{"own": "m1", "busy": "m1", "other": "m2", "old": ""} {
			if _, err := past.Begin(service, history.Entry{Stage: history.StagePull, Manager: manager}); err != nil {
				t.Fatal(err)
			}
		}
		want := func(running ...string) {
			t.Helper()
			synctest.Wait()
			if got := slices.Sorted(maps.Keys(past.Unfinished())); !slices.Equal(got, running) {
				t.Errorf("%v go on, want %v", got, running)
			}
		}
		done := r.follows("busy")
		ctx, stop := context.WithCancel(t.Context())
		defer stop()
		own := func(e history.Entry) bool { return e.Manager == "m1" }
		var gone sync.Map
		others := func(e history.Entry) bool { _, is := gone.Load(e.Manager); return !own(e) && is }
		gone.Store("", true)
		go func() { _ = r.Resume(ctx, own) }()
		go func() { _ = r.Resume(ctx, others) }()
		want("busy", "other")
		time.Sleep(2 * resumeEvery)
		want("busy", "other")
		gone.Store("m2", true)
		time.Sleep(resumeEvery)
		want("busy")
		done() // it came to no end
		time.Sleep(resumeEvery)
		want()
		if e := past.List("other")[0]; e.Result != history.Interrupted || e.Why == "" {
			t.Errorf("of a manager that is gone: %+v", e)
		}
	})
}

// TestRecord_Over: a deploy that another manager has ended in the history goes no further, and its end stays.
func TestRecord_Over(t *testing.T) {
	t.Parallel()
	past, err := history.Open(historytest.In(t.TempDir()))
	if err != nil {
		t.Fatal(err)
	}
	r := NewRunner(nil, nil, past, slog.New(slog.DiscardHandler))
	rec := r.begin("spider", history.Entry{Kind: history.KindDeploy})
	if err := rec.at(history.StagePull); err != nil {
		t.Fatal(err)
	}
	other := &record{runner: r, service: "spider", entry: past.List("spider")[0]}
	other.interrupted("it was gone")
	if err := rec.at(history.StageUpdate); !errors.Is(err, errOver) {
		t.Errorf("it goes on: %v", err)
	}
	rec.end(t.Context(), Summary{}, errOver)
	e := past.List("spider")[0]
	if e.Result != history.Interrupted || e.Why != "it was gone" || e.Stage != history.StagePull {
		t.Errorf("the history says %+v", e)
	}
}
