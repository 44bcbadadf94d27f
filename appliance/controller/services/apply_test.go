package services

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/crawlbox/crawlbox/appliance/deploy"
	"github.com/crawlbox/crawlbox/appliance/deploy/history"
	"github.com/crawlbox/crawlbox/appliance/deploy/history/historytest"
	"github.com/crawlbox/crawlbox/appliance/fleet"
	"github.com/crawlbox/crawlbox/configs"
	"github.com/crawlbox/crawlbox/configs/compose"
)

// pastOf returns a controller whose history of spider has the entries, oldest first.
func pastOf(t *testing.T, entries []history.Entry) *Controller {
	t.Helper()
	store, err := history.Open(historytest.In(t.TempDir()))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if _, err := store.Begin("spider", e); err != nil {
			t.Fatal(err)
		}
	}
	return New(nil, nil, nil, store, nil, fileOf(t, ""), slog.New(slog.DiscardHandler))
}

// A definition that was tried is not tried again, unless the file has changed since
// or it came to nothing.
func TestTried(t *testing.T) {
	t.Parallel()
	entry := func(definition string, r history.Result, stage history.Stage) history.Entry {
		return history.Entry{Kind: history.KindConfig, Definition: definition, Result: r, Stage: stage}
	}
	byHand := history.Entry{Kind: history.KindDeploy, Result: history.Done}
	watch, pull := history.StageWatch, history.StagePull
	for name, tc := range map[string]struct {
		past  []history.Entry
		fresh bool
		want  bool
	}{
		"never":       {nil, false, false},
		"another one": {[]history.Entry{entry("a", history.Done, watch)}, false, false},
		"and it was bad": {
			[]history.Entry{entry("a", history.Done, watch), entry("b", history.RolledBack, watch)},
			false,
			true,
		},
		"and the file changed since": {
			[]history.Entry{entry("a", history.Done, watch), entry("b", history.RolledBack, watch)},
			true,
			false,
		},
		"but another one was since": {
			[]history.Entry{entry("b", history.RolledBack, watch), entry("a", history.Done, watch)},
			false,
			false,
		},
		"and somebody went back": {
			[]history.Entry{entry("a", history.Done, watch), entry("b", history.Done, watch), byHand},
			false,
			true,
		},
		"but nodes did not get it": {[]history.Entry{entry("b", history.Failed, pull)}, false, false},
		"but the manager stopped":  {[]history.Entry{entry("b", history.Interrupted, watch)}, false, false},
		"and is at it":             {[]history.Entry{entry("b", history.Running, pull)}, true, true},
		"while somebody else is at it": {
			[]history.Entry{entry("a", history.Done, watch), {Kind: history.KindDeploy, Result: history.Running}},
			false,
			true,
		},
		"and it fails, with none older": {[]history.Entry{entry("b", history.Failed, watch)}, false, true},
	} {
		r := pastOf(t, tc.past)
		r.fresh["spider"] = tc.fresh
		if _, got := r.tried(compose.Service{Name: "spider", Hash: "b"}); got != tc.want {
			t.Errorf("%s: got %v", name, got)
		}
	}
}

// Notes on services go when the file changes, and when they are as defined.
func TestController_Notes(t *testing.T) {
	t.Parallel()
	r := pastOf(t, nil)
	r.setConfig(configs.Config{Services: []compose.Service{{Name: "spider", Hash: "a"}, {Name: "robot", Hash: "a"}}})
	r.note("spider", Untaken, "bad\nnews")
	r.note("robot", NotDeployed, "more")
	if got := r.Notes(); !slices.Equal(got, []Note{
		{"robot", NotDeployed, "more"}, {"spider", Untaken, "bad; news"},
	}) {
		t.Errorf("got %+v", got)
	}
	r.setConfig(configs.Config{Services: []compose.Service{{Name: "spider", Hash: "a"}, {Name: "robot", Hash: "b"}}})
	if len(r.Notes()) != 1 || !r.fresh["robot"] {
		t.Errorf("after a change of robot: %+v", r.Notes())
	}
	if r.settle("spider"); !slices.Equal(r.Notes(), []Note{{"spider", AsDefined, ""}}) {
		t.Errorf("got %+v", r.Notes())
	}
	r.note("gone", Gone, "it runs on")
	r.forgetOthers(seen{config: r.Config(), snapshot: fleet.Snapshot{Services: []fleet.Service{{Name: "gone"}}}})
	if len(r.Notes()) != 2 {
		t.Errorf("of a service that runs on: %+v", r.Notes())
	}
	if r.forgetOthers(seen{config: r.Config()}); len(r.Notes()) != 1 {
		t.Errorf("of a service that is nowhere any longer: %+v", r.Notes())
	}
}

// slowRemoval has been removed by Swarm, and its containers take long.
type slowRemoval struct{ containers chan struct{} }

func (slowRemoval) Plan(context.Context) (deploy.Plan, error) { return deploy.Plan{}, nil }
func (r slowRemoval) Run(_ context.Context, emit deploy.Emit) error {
	emit(deploy.Progress{Stage: history.StageRemove})
	<-r.containers
	return nil
}

// A service that comes back into the file does not wait for the containers of the one that left.
func TestLaunch_WhileARemovalIsFollowed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := pastOf(t, nil)
		r := slowRemoval{make(chan struct{})}
		c.launch(t.Context(), step{action: remove, service: "spider"}, r)
		synctest.Wait()
		j, mine := c.jobs.begin("spider", "b")
		if !mine {
			t.Fatal("it has to wait")
		}
		c.note("spider", Untaken, "of the new one")
		close(r.containers)
		synctest.Wait()
		if _, again := c.jobs.begin("spider", "b"); again || len(c.Notes()) != 1 {
			t.Errorf("the end of the removal ends the next change; notes %+v", c.Notes())
		}
		c.jobs.end("spider", j, nil)
	})
}

// What Swarm refused is told by its cause, and never as if another version was deployed.
func TestExplainSkipped(t *testing.T) {
	t.Parallel()
	const refused = "spider: " + history.Untaken + "1MiB of memory is too little"
	for name, tc := range map[string]struct {
		entry history.Entry
		want  string
	}{
		"refused": {
			history.Entry{Result: history.Failed, Stage: history.StageUpdate, Why: refused},
			"Swarm did not take what crawlbox.yaml says, so nothing has changed: 1MiB of memory is too little; ",
		},
		"went back": {
			history.Entry{Result: history.RolledBack, Why: "spider: the update failed and " + history.Back + "exit 1"},
			"what crawlbox.yaml says was tried and the version before is back: exit 1; ",
		},
		"failed, and another came": {
			history.Entry{Result: history.Failed, Stage: history.StageWatch, Why: "spider: its tasks fail: exit 1"},
			"what crawlbox.yaml says was tried and failed, and another version was deployed since and stays: its " +
				"tasks fail: exit 1; ",
		},
		"good, and another came": {
			history.Entry{Result: history.Done},
			"another version than crawlbox.yaml says was deployed since",
		},
	} {
		if got := explainSkipped("spider", tc.entry); !strings.HasPrefix(got, tc.want) {
			t.Errorf("%s: got %s", name, got)
		}
	}
}

// What is refused again and again is logged once, and stands in the status throughout.
func TestTellEnd_TheSameAgain(t *testing.T) {
	t.Parallel()
	var logged strings.Builder
	c := pastOf(t, nil)
	c.log = slog.New(slog.NewTextHandler(&logged, nil))
	for range 3 {
		c.tellEnd(t.Context(), step{action: create, service: "spider"}, errors.New("spider: no"))
		if notes := c.Notes(); len(notes) != 1 || notes[0].Text != "create it as crawlbox.yaml says: no" {
			t.Errorf("got %+v", notes)
		}
	}
	if n := strings.Count(logged.String(), "\n"); n != 1 {
		t.Errorf("%d lines: %s", n, logged.String())
	}
}
