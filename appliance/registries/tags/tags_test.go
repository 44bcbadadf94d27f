package tags

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/crawlbox/crawlbox/appliance/cluster/state"
	"github.com/crawlbox/crawlbox/appliance/cluster/state/statetest"
	"github.com/crawlbox/crawlbox/embedded/registry"
)

func open(t *testing.T, store state.Store) *Tags {
	t.Helper()
	tags, err := Open(store)
	if err != nil {
		t.Fatal(err)
	}
	return tags
}

func to(text string) registry.Tag {
	return registry.Tag{Digest: digest.FromString(text), Size: 7, Pushed: time.Now().UTC()}
}

func any(string, registry.Tag) bool { return true }

// TestTags_TwoWriters has two managers tag at the same time, each its own and one that both want.
func TestTags_TwoWriters(t *testing.T) {
	t.Parallel()
	store := statetest.Open(t, t.TempDir())
	a, b := open(t, store), open(t, store)
	const each = 100
	var all sync.WaitGroup
	for name, tags := range map[string]*Tags{"a": a, "b": b} {
		for i := range each {
			all.Go(func() {
				text := fmt.Sprint(name, i)
				if err := tags.Set(t.Context(), "spider", text, to(text)); err != nil {
					t.Error(err)
				}
				if err := tags.Set(t.Context(), "team/other", "latest", to(text)); err != nil {
					t.Error(err)
				}
			})
		}
	}
	all.Wait()
	if n := len(a.All()["spider"]); n != 2*each || len(b.All()["spider"]) != n {
		t.Errorf("%d tags and %d, want %d", n, len(b.All()["spider"]), 2*each)
	}
	if is := a.All()["team/other"]["latest"]; is.Digest == "" || is != b.All()["team/other"]["latest"] {
		t.Errorf("one says %v, the other %v", is, b.All()["team/other"]["latest"])
	}
	fresh := open(t, store)
	for text, is := range fresh.All()["spider"] {
		if is.Digest != to(text).Digest || is.Size != 7 {
			t.Errorf("%s points at %v", text, is)
		}
	}
	was, err := b.Remove(t.Context(), "spider", any)
	if err != nil || !was || len(a.All()) != 1 {
		t.Errorf("%v, %v, left are %v", was, err, a.All())
	}
	if was, err := a.Remove(t.Context(), "spider", any); err != nil || was {
		t.Errorf("removed twice: %v, %v", was, err)
	}
	if err := a.Set(t.Context(), "spider", "a1", to("new")); err != nil || len(b.All()["spider"]) != 1 {
		t.Errorf("%v, %v", err, b.All()["spider"])
	}
}

// TestTags_Take takes over what a version before wrote, what it wrote after a way back, and nothing else.
func TestTags_Take(t *testing.T) {
	t.Parallel()
	store := statetest.Open(t, t.TempDir())
	busy := &statetest.Busy{Store: store}
	other, a := open(t, store), open(t, busy)
	start := time.Now().UTC()
	old := registry.AllTags{"spider": {"1": to("one"), "2": to("two")}, "x": {"1": to("x")}}
	if err := other.Set(t.Context(), "spider", "2", to("newer")); err != nil {
		t.Fatal(err)
	}
	a.Take(old, time.Time{}, true)
	want := func(repo, tag, text string) {
		t.Helper()
		if is := a.All()[repo][tag].Digest; is != to(text).Digest {
			t.Errorf("%s:%s is %s, want that of %s", repo, tag, is, text)
		}
	}
	want("spider", "1", "one")
	want("spider", "2", "newer")
	// Another manager is faster.
	busy.Other = func() error { return other.Set(t.Context(), "x", "1", to("pushed")) }
	busy.Times(1)
	if err := a.Settle(t.Context()); err != nil {
		t.Fatal(err)
	}
	want("spider", "1", "one")
	want("x", "1", "pushed")
	if is := open(t, store).All()["spider"]["1"]; is.Digest != to("one").Digest {
		t.Errorf("the state has %v", is)
	}

	// The version before ran once more, and pushed.
	first := func(tag string, _ registry.Tag) bool { return tag == "1" }
	if _, err := a.Remove(t.Context(), "spider", first); err != nil {
		t.Fatal(err)
	}
	until := time.Now()
	again := registry.AllTags{
		"spider": {"1": old["spider"]["1"], "2": to("back"), "3": to("three")},
		"x":      {"1": {Digest: to("stale").Digest, Pushed: start}},
	}
	b := open(t, store)
	b.Take(again, until, false)
	if err := b.Settle(t.Context()); err != nil || len(b.All()["spider"]) != 1 {
		t.Errorf("where there are other managers: %v, %v", err, b.All())
	}
	b.Take(again, time.Time{}, true)
	if err := b.Settle(t.Context()); err != nil || len(b.All()["spider"]) != 1 {
		t.Errorf("where it is not known when: %v, %v", err, b.All())
	}
	b.Take(again, until, true)
	if err := b.Settle(t.Context()); err != nil {
		t.Fatal(err)
	}
	a = open(t, store)
	want("spider", "2", "back")
	want("spider", "3", "three")
	want("x", "1", "pushed")
	if _, ok := a.All()["spider"]["1"]; ok {
		t.Error("a tag that was removed is there again")
	}
}

// TestTags_Full refuses more than there may be, and still takes a new image for a tag that there is.
func TestTags_Full(t *testing.T) {
	t.Parallel()
	many := registry.AllTags{"spider": {}}
	for i := range Most {
		many["spider"][fmt.Sprint(i)] = registry.Tag{Digest: to("x").Digest}
	}
	a := open(t, statetest.Open(t, t.TempDir()))
	a.Take(many, time.Time{}, true)
	if err := a.Settle(t.Context()); err != nil {
		t.Fatal(err)
	}
	err := a.Set(t.Context(), "spider", "one-more", to("y"))
	if n := len(a.All()["spider"]); !errors.Is(err, ErrFull) || n != Most {
		t.Errorf("%v, %d tags", err, n)
	}
	err = a.Set(t.Context(), "spider", "1", to("y"))
	if is := a.All()["spider"]["1"]; err != nil || is.Digest != to("y").Digest {
		t.Errorf("a tag that there is: %v", err)
	}
}

// TestTags_Crowded has long names that were chosen for it fill one part of the list: a tag more of that part is
// refused with the reason, and others are taken.
func TestTags_Crowded(t *testing.T) {
	t.Parallel()
	repo := strings.Repeat("r", 255)
	one := registry.Tag{Digest: to("x").Digest, Pushed: time.Unix(1, 0).UTC()}
	line, err := json.Marshal(one)
	if err != nil {
		t.Fatal(err)
	}
	const name = 128
	fit := (state.MaxDocument - 2) / (len(repo) + name + len(line) + len(`"":,:`))
	i, part := -1, bucket(repo, fmt.Sprintf("%0*d", name, 0))
	next := func(in bool) string {
		for {
			i++
			if text := fmt.Sprintf("%0*d", name, i); (bucket(repo, text) == part) == in {
				return text
			}
		}
	}
	many := registry.AllTags{repo: {}}
	for range fit - 1 {
		many[repo][next(true)] = one
	}
	a := open(t, statetest.Open(t, t.TempDir()))
	a.Take(many, time.Time{}, true)
	if err := a.Settle(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := a.Set(t.Context(), repo, next(true), one); err != nil {
		t.Errorf("the last that there is room for: %v", err)
	}
	err = a.Set(t.Context(), repo, next(true), one)
	if !errors.Is(err, ErrCrowded) || !strings.Contains(err.Error(), "most of that part are of "+repo) ||
		strings.Contains(err.Error(), "majority") {
		t.Errorf("one more: %v", err)
	}
	if err := a.Set(t.Context(), repo, next(false), one); err != nil {
		t.Errorf("one of another part: %v", err)
	}
}

// refusing is a store without quorum.
type refusing struct{ state.Store }

func (refusing) Commit(context.Context, state.Version, state.Contents, string, ...string) (state.Version, error) {
	return "", errors.New("nothing can be changed now")
}

// TestTags_WithoutQuorum reads on, and refuses to change with what to do.
func TestTags_WithoutQuorum(t *testing.T) {
	t.Parallel()
	store := statetest.Open(t, t.TempDir())
	if err := open(t, store).Set(t.Context(), "spider", "1", to("one")); err != nil {
		t.Fatal(err)
	}
	a := open(t, refusing{store})
	err := a.Set(t.Context(), "spider", "1", to("two"))
	if err == nil || a.All()["spider"]["1"].Digest != to("one").Digest {
		t.Errorf("%v, and it reads %v", err, a.All())
	}
	a.Take(registry.AllTags{"x": {"1": to("x")}}, time.Time{}, true)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := a.Settle(ctx); err == nil || a.All()["x"]["1"].Digest != to("x").Digest {
		t.Errorf("%v, and it reads %v", err, a.All())
	}
}

// TestTags_Damaged says so, and makes nothing up.
func TestTags_Damaged(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"x", `{"spider":{"digest":"sha256:1"}}`, `{"spider:1":{"digest":"../../etc"}}`} {
		store := statetest.Open(t, t.TempDir())
		_, err := store.Commit(t.Context(), "", state.Contents{document(3): []byte(text)}, "test")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Open(store); err == nil {
			t.Errorf("%s was taken for tags", text)
		}
	}
}
