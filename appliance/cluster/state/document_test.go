package state_test

import (
	"context"
	"errors"
	"path/filepath"
	"runtime"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/crawlbox/crawlbox/appliance/cluster/state"
	"github.com/crawlbox/crawlbox/appliance/cluster/state/statetest"
)

// pair is a value of two documents.
type pair struct{ a, b int }

var pairFormat = state.Format[pair]{
	Names: []string{"pair/a", "pair/b"},
	Decode: func(docs state.Contents) (*pair, error) {
		p := &pair{}
		for name, n := range map[string]*int{"pair/a": &p.a, "pair/b": &p.b} {
			data, ok := docs[name]
			if !ok {
				continue
			}
			var err error
			if *n, err = strconv.Atoi(string(data)); err != nil {
				return nil, state.Damaged(name, err)
			}
		}
		return p, nil
	},
	Encode: func(p *pair) (state.Contents, error) {
		return state.Contents{
			"pair/a": strconv.AppendInt(nil, int64(p.a), 10),
			"pair/b": strconv.AppendInt(nil, int64(p.b), 10),
		}, nil
	},
}

func newPair(t testing.TB, s state.Store) *state.Value[pair] {
	t.Helper()
	v, err := state.NewValue(s, pairFormat)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func (p *pair) next() (*pair, error) { return &pair{p.a + 1, p.b + 1}, nil }

// values holds what the memory of a document promises, with any store.
func values(t *testing.T, s state.Store) {
	one, other := newPair(t, s), newPair(t, s)
	var all sync.WaitGroup
	for range 5 {
		for _, v := range []*state.Value[pair]{one, other, newPair(t, s)} {
			all.Go(func() {
				if err := v.Update("count", (*pair).next); err != nil {
					t.Error(err)
				}
				if p := v.Get(); p.a != p.b {
					t.Errorf("it has seen half a commit: %v", p)
				}
			})
		}
	}
	all.Wait()
	for _, v := range []*state.Value[pair]{one, other} {
		if p := v.Get(); *p != (pair{15, 15}) || v.Get() != p {
			t.Errorf("after 15 updates by three: %v", p)
		}
	}

	was := one.Get()
	refused := errors.New("refused")
	if err := one.Update("refused", func(*pair) (*pair, error) { return nil, refused }); !errors.Is(err, refused) {
		t.Errorf("refused: %v", err)
	}
	if err := one.Update("nothing", func(p *pair) (*pair, error) { return p, nil }); err != nil || one.Get() != was {
		t.Errorf("nothing to do: %v, %v", err, one.Get())
	}

	_, v, _ := s.List("")
	v = commit(t, s, v, state.Contents{"pair/a": []byte("damaged")})
	if one.Get() != was {
		t.Errorf("of what cannot be read it makes %v", one.Get())
	}
	if err := one.Update("count", (*pair).next); err == nil {
		t.Error("it has changed what it cannot read")
	}
	commit(t, s, v, state.Contents{"pair/a": []byte("7"), "pair/b": nil})
	if p := one.Get(); *p != (pair{7, 0}) {
		t.Errorf("after another has mended it: %v", p)
	}
}

// TestUpdate_Conflicts has somebody else write between each read and the commit.
func TestUpdate_Conflicts(t *testing.T) {
	t.Parallel()
	disk := open(t, filepath.Join(t.TempDir(), "state"), state.Options{})
	third := newPair(t, disk)
	busy := &statetest.Busy{Store: disk, Other: func() error { return third.Update("other", (*pair).next) }}
	v, doc := newPair(t, busy), state.NewDocument(busy, "pair/a")

	busy.Times(5)
	if err := v.Update("count", (*pair).next); err != nil || *v.Get() != (pair{6, 6}) {
		t.Errorf("others were faster 5 times: %v, %v", v.Get(), err)
	}
	busy.Times(3)
	err := doc.Update("double", func(data []byte) ([]byte, error) { return append(data, data...), nil })
	if want(t, disk, "pair/a", "99"); err != nil {
		t.Error(err)
	}
	if p := v.Get(); *p != (pair{99, 9}) {
		t.Errorf("it does not follow: %v", p)
	}
	busy.Times(100_000)
	synctest.Test(t, func(t *testing.T) {
		begun := time.Now()
		if err := v.Update("count", (*pair).next); !errors.Is(err, state.ErrConflict) {
			t.Errorf("others are always faster: %v", err)
		}
		if took := time.Since(begun); took < time.Minute || took > time.Minute+time.Second || busy.Left() == 0 {
			t.Errorf("it has tried %d times for %s", 100_000-busy.Left(), took)
		}
	})
}

// TestUpdate_WhatWasRead has somebody else change a document that an update reads and leaves alone.
func TestUpdate_WhatWasRead(t *testing.T) {
	t.Parallel()
	disk := open(t, filepath.Join(t.TempDir(), "state"), state.Options{})
	other := newPair(t, disk)
	busy := &statetest.Busy{Store: disk, Other: func() error {
		return other.Update("other", func(p *pair) (*pair, error) { return &pair{p.a + 1, p.b}, nil })
	}}
	half := pairFormat
	half.Encode = func(p *pair) (state.Contents, error) {
		docs, err := pairFormat.Encode(p)
		delete(docs, "pair/a")
		return docs, err
	}
	v, err := state.NewValue(busy, half)
	if err != nil {
		t.Fatal(err)
	}
	busy.Times(2)
	err = v.Update("double", func(p *pair) (*pair, error) { return &pair{p.a, 2 * p.a}, nil })
	if p := v.Get(); err != nil || *p != (pair{2, 4}) {
		t.Errorf("decided by what was not so any longer: %v, %v", p, err)
	}
}

// TestValue_OneCommit wants two documents in one commit.
func TestValue_OneCommit(t *testing.T) {
	t.Parallel()
	disk := open(t, filepath.Join(t.TempDir(), "state"), state.Options{})
	counted := &countCommits{Store: disk}
	if err := newPair(t, counted).Update("count", (*pair).next); err != nil || counted.n != 1 {
		t.Errorf("%d commits, %v", counted.n, err)
	}
}

// TestValue_AtOnce wants what many callers change while one commit is written in one more: each
// gets its own error, and none waits for a commit of its own.
func TestValue_AtOnce(t *testing.T) {
	t.Parallel()
	counted := &countCommits{
		Store: open(t, filepath.Join(t.TempDir(), "state"), state.Options{}),
		began: make(chan struct{}),
		gate:  make(chan struct{}),
	}
	v := newPair(t, counted)
	var all sync.WaitGroup
	count := func() {
		if err := v.Update("count", (*pair).next); err != nil {
			t.Error(err)
		}
	}
	all.Go(count)
	<-counted.began
	refused := errors.New("refused")
	for range 20 {
		all.Go(count)
		all.Go(func() {
			if err := v.Update("x", func(*pair) (*pair, error) { return nil, refused }); !errors.Is(err, refused) {
				t.Errorf("what was refused has ended as %v", err)
			}
		})
	}
	for v.Pending() < 40 {
		runtime.Gosched()
	}
	close(counted.gate)
	all.Wait()
	if *v.Get() != (pair{21, 21}) || counted.n != 2 {
		t.Errorf("%v after %d commits, want 21 after 2", *v.Get(), counted.n)
	}
}

type countCommits struct {
	state.Store
	n           int
	began, gate chan struct{} // of the first, where they are not nil
}

func (c *countCommits) Commit(
	ctx context.Context, base state.Version, changes state.Contents, message string, read ...string,
) (state.Version, error) {
	if c.n++; c.n == 1 && c.gate != nil {
		close(c.began)
		<-c.gate
	}
	return c.Store.Commit(ctx, base, changes, message, read...)
}
