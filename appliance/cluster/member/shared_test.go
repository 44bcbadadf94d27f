package member

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/crawlbox/crawlbox/appliance/base/durable/disktest"
	"github.com/crawlbox/crawlbox/appliance/cluster/state"
	"github.com/crawlbox/crawlbox/appliance/cluster/state/statetest"
)

// openBusy opens the list twice on one state, where the other one is faster if the store says so.
func openBusy(t *testing.T) (m, other *List, busy *statetest.Busy) {
	t.Helper()
	disk := statetest.Open(t, t.TempDir())
	busy = &statetest.Busy{Store: disk}
	other, err := Open(disk, life)
	if err == nil {
		m, err = Open(busy, life)
	}
	if err != nil {
		t.Fatal(err)
	}
	return m, other, busy
}

// TestList_Shared has two managers change the list, and the other one be faster.
func TestList_Shared(t *testing.T) {
	t.Parallel()
	m, other, busy := openBusy(t)
	n := 0
	busy.Other = func() error {
		n++
		return other.Put(aMember(fmt.Sprint("other-", n), "10.0.0.2"))
	}
	busy.Times(3)
	if err := m.Put(aMember("a", "10.0.0.1")); err != nil {
		t.Fatal(err)
	}
	for _, list := range []*List{m, other} {
		if got := ids(list.All()); !slices.Equal(got, []string{"a", "other-1", "other-2", "other-3"}) {
			t.Errorf("on the list are %v", got)
		}
	}
	m.Moved("a", addr("10.0.0.9"))
	if err := other.Remove("other-1"); err != nil {
		t.Fatal(err)
	}
	if a, _ := m.Get("a"); a.Remote != addr("10.0.0.9") || !m.WasRemoved("other-1") {
		t.Errorf("%v; removed are %v", a, m.Removed())
	}

	// Decisions are made on what is there now.
	busy.Other = func() error { return other.Remove("a") }
	busy.Times(1)
	if err := m.Put(aMember("a", "10.0.0.1")); !errors.Is(err, ErrRemoved) {
		t.Errorf("put out in between: %v", err)
	}
	busy.Other = func() error { return other.NextEpoch() }
	busy.Times(1)
	if err := m.NextEpoch(); err != nil {
		t.Error(err)
	}
	if signed, accepted := m.Epochs(); signed != 1 || accepted != 0 {
		t.Errorf("epochs %d, %d", signed, accepted)
	}
	r := NewRemoval([]string{"x"}, nil)
	busy.Other = func() error { return other.Begin(NewRemoval([]string{"y"}, nil)) }
	busy.Times(1)
	if err := m.Begin(r); err != nil || len(m.Pending()) != 2 || len(other.Pending()) != 2 {
		t.Errorf("%v; under way are %v and %v", err, m.Pending(), other.Pending())
	}
}

func TestList_ManyAtOnce(t *testing.T) {
	t.Parallel()
	m, other, _ := openBusy(t)
	var all sync.WaitGroup
	for i := range 10 {
		for _, list := range []*List{m, other} {
			all.Go(func() {
				if err := list.Put(aMember(fmt.Sprintf("%p-%d", list, i), "10.0.0.1")); err != nil {
					t.Error(err)
				}
				list.All()
			})
		}
	}
	all.Wait()
	if len(m.All()) != 20 || len(other.All()) != 20 {
		t.Errorf("on the list are %v, and %v", ids(m.All()), ids(other.All()))
	}
}

// TestKeys_SteppedAtOnce wants one step where two take the same.
func TestKeys_SteppedAtOnce(t *testing.T) {
	t.Parallel()
	disk := statetest.Open(t, t.TempDir())
	busy := &statetest.Busy{Store: disk}
	k, err := OpenKeys(busy)
	if err != nil {
		t.Fatal(err)
	}
	other, err := OpenKeys(disk)
	if err != nil {
		t.Fatal(err)
	}
	busy.Other = other.Step
	busy.Times(1)
	if err := k.Step(); err != nil {
		t.Fatal(err)
	}
	if !k.Changing() || k.Switched() || !slices.Equal(k.All().Hashes(), other.All().Hashes()) {
		t.Errorf("%v and %v", k.All().Hashes(), other.All().Hashes())
	}
}

// cutBefore is a store with a power cut before and after each commit.
type cutBefore struct {
	state.Store
	check func(when string)
	n     int
}

func (c *cutBefore) Commit(
	ctx context.Context, base state.Version, changes state.Contents, message string, read ...string,
) (state.Version, error) {
	c.n++
	c.check("before")
	defer c.check("after")
	return c.Store.Commit(ctx, base, changes, message, read...)
}

// TestAcceptEpoch_OneCommit wants the epoch and the list to change at once.
func TestAcceptEpoch_OneCommit(t *testing.T) {
	t.Parallel()
	disk := disktest.New(t, 32)
	store := &cutBefore{Store: statetest.Open(t, disk.Dir), check: func(string) {}}
	m, err := Open(store, life)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(m.Put(aMember("old", "10.0.0.1")), m.Remove("old"), m.NextEpoch()); err != nil {
		t.Fatal(err)
	}
	store.n = 0
	store.check = func(when string) {
		after := open(t, filepath.Clean(disk.Cut().Dir))
		_, accepted := after.Epochs()
		if removed := after.WasRemoved("old"); removed != (accepted == 0) || (accepted == 1) != (when == "after") {
			t.Errorf("power cut %s: accepted %d, removed %v", when, accepted, removed)
		}
	}
	if err := m.AcceptEpoch(); err != nil || store.n != 1 {
		t.Errorf("%d commits, %v", store.n, err)
	}
}

// TestList_ReadDuringACommit has a commit hang: who reads, such as gossip under its own locks, goes on.
func TestList_ReadDuringACommit(t *testing.T) {
	t.Parallel()
	hangs, goOn := make(chan struct{}), make(chan struct{})
	busy := &statetest.Busy{Store: statetest.Open(t, t.TempDir()), Other: func() error {
		close(hangs)
		<-goOn
		return nil
	}}
	m, err := Open(busy, life)
	if err != nil {
		t.Fatal(err)
	}
	if err := m.Put(aMember("a", "10.0.0.1")); err != nil {
		t.Fatal(err)
	}
	busy.Times(1)
	put := make(chan error)
	go func() { put <- m.Put(aMember("b", "10.0.0.2")) }()
	<-hangs
	read := make(chan struct{})
	go func() {
		defer close(read)
		m.Moved("a", netip.MustParseAddr("10.0.0.9"))
		_, ok := m.Get("b")
		if ok || len(m.All()) != 1 || len(m.At(netip.MustParseAddr("10.0.0.9"))) != 1 || m.WasRemoved("a") ||
			len(m.Removed()) != 0 || len(m.Pending()) != 0 {
			t.Errorf("in the middle of a commit: %v", m.All())
		}
	}()
	select {
	case <-read:
	case <-time.After(10 * time.Second):
		t.Fatal("who reads waits for the commit")
	}
	close(goOn)
	if err := <-put; err != nil || len(m.All()) != 2 || len(m.At(netip.MustParseAddr("10.0.0.9"))) != 1 {
		t.Errorf("after it: %v, %v", m.All(), err)
	}
}
