package node

import (
	"log/slog"
	"strings"
	"testing"

	"github.com/crawlbox/crawlbox/appliance/deploy/history"
	"github.com/crawlbox/crawlbox/configs"
	"github.com/crawlbox/crawlbox/configs/compose"
)

// pastOf is a reconciler whose history of spider has the entries, oldest first.
func pastOf(t *testing.T, entries []history.Entry) *reconciler {
	t.Helper()
	store, err := history.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if _, err := store.Begin("spider", e); err != nil {
			t.Fatal(err)
		}
	}
	return newReconciler(&deploys{Store: store, log: slog.New(slog.DiscardHandler)}, configs.Config{}, nil)
}

// A definition that was tried is not tried again, unless the file has changed since
// or it came to nothing.
func TestTried(t *testing.T) {
	t.Parallel()
	entry := func(definition string, r history.Result, stage string) history.Entry {
		return history.Entry{Kind: history.KindConfig, Definition: definition, Result: r, Stage: stage}
	}
	byHand := history.Entry{Kind: history.KindDeploy, Result: history.Done}
	watch, stage := history.StageWatch, history.StageStage
	for name, tc := range map[string]struct {
		past  []history.Entry
		fresh bool
		want  bool
	}{
		"never":                         {nil, false, false},
		"another one":                   {[]history.Entry{entry("a", history.Done, watch)}, false, false},
		"and it was bad":                {[]history.Entry{entry("a", history.Done, watch), entry("b", history.RolledBack, watch)}, false, true},
		"and the file changed since":    {[]history.Entry{entry("a", history.Done, watch), entry("b", history.RolledBack, watch)}, true, false},
		"but another one was since":     {[]history.Entry{entry("b", history.RolledBack, watch), entry("a", history.Done, watch)}, false, false},
		"and somebody went back":        {[]history.Entry{entry("a", history.Done, watch), entry("b", history.Done, watch), byHand}, false, true},
		"but nodes did not get it":      {[]history.Entry{entry("b", history.Failed, stage)}, false, false},
		"but the manager stopped":       {[]history.Entry{entry("b", history.Interrupted, watch)}, false, false},
		"and is at it":                  {[]history.Entry{entry("b", history.Running, stage)}, true, true},
		"while somebody else is at it":  {[]history.Entry{entry("a", history.Done, watch), {Kind: history.KindDeploy, Result: history.Running}}, false, true},
		"and it fails, with none older": {[]history.Entry{entry("b", history.Failed, watch)}, false, true},
	} {
		r := pastOf(t, tc.past)
		r.fresh["spider"] = tc.fresh
		if _, got := r.tried(compose.Service{Name: "spider", Hash: "b"}); got != tc.want {
			t.Errorf("%s: got %v", name, got)
		}
	}
}

// A change that comes to nothing is told once, however often it is tried.
func TestSameTry(t *testing.T) {
	t.Parallel()
	again := history.Entry{Kind: history.KindConfig, Definition: "b", Digest: "d"}
	failed := history.Entry{Kind: history.KindConfig, Definition: "b", Digest: "d", Stage: history.StageStage, Result: history.Failed}
	for name, tc := range map[string]struct {
		change func(last *history.Entry)
		want   bool
	}{
		"in the stage":       {func(*history.Entry) {}, true},
		"cut off there":      {func(e *history.Entry) { e.Result = history.Interrupted }, true},
		"after it":           {func(e *history.Entry) { e.Stage = history.StageWatch }, false},
		"another image":      {func(e *history.Entry) { e.Digest = "c" }, false},
		"another definition": {func(e *history.Entry) { e.Definition = "a" }, false},
		"asked by a person":  {func(e *history.Entry) { e.Kind = history.KindDeploy }, false},
	} {
		last := failed
		tc.change(&last)
		if got := sameTry(last, again); got != tc.want {
			t.Errorf("%s: got %v", name, got)
		}
	}
	r := pastOf(t, []history.Entry{failed})
	rec := r.past.begin("spider", again)
	for _, stage := range []string{history.StageStage, history.StageFlip} {
		if err := rec.at(stage); err != nil {
			t.Fatal(err)
		}
	}
	if list := r.past.List("spider"); len(list) != 1 || list[0].Result != history.Running || list[0].Stage != history.StageFlip {
		t.Errorf("the history is %+v", list)
	}
}

// Notes on services go when the file changes, and when they are as defined.
func TestReconciler_Notes(t *testing.T) {
	t.Parallel()
	r := pastOf(t, nil)
	r.takeUp(configs.Config{Services: []compose.Service{{Name: "spider", Hash: "a"}, {Name: "robot", Hash: "a"}}})
	r.note("spider", "bad\nnews")
	r.note("robot", "more")
	if got := strings.Join(r.problems(), "|"); got != "service robot: more|service spider: bad; news" {
		t.Errorf("got %s", got)
	}
	r.takeUp(configs.Config{Services: []compose.Service{{Name: "spider", Hash: "a"}, {Name: "robot", Hash: "b"}}})
	if len(r.problems()) != 1 || !r.fresh["robot"] {
		t.Errorf("after a change of robot: %q", r.problems())
	}
	if r.Settled("spider"); len(r.problems()) != 0 {
		t.Errorf("got %q", r.problems())
	}
}
