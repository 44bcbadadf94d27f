package state

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/crawlbox/crawlbox/appliance/base/durable/disktest"
)

// TestShared_AllIn: without faults nothing is refused, whoever is faster.
func TestShared_AllIn(t *testing.T) {
	t.Parallel()
	s := newSwarmed(t.TempDir(), 3, rand.New(rand.NewPCG(1, 1)), 0)
	for i := range s.disks {
		s.open(t, i)
	}
	var all sync.WaitGroup
	for i, d := range s.disks {
		all.Go(func() {
			for n := range 50 {
				if err := s.add(d, n%3, fmt.Sprintf("<%d.%d>", i, n)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	s.check(t)
}

// TestShared_TakesOver: a state that was there before its register is in it, and a manager that is new
// gets all of it, with the files of versions before, and hears of what comes after.
func TestShared_TakesOver(t *testing.T) {
	t.Parallel()
	s, other := newSwarmed(t.TempDir(), 1, rand.New(rand.NewPCG(1, 1)), 0), t.TempDir()
	alone, err := Open(s.path(0), Options{})
	if err != nil {
		t.Fatal(err)
	}
	v, err := alone.Commit(t.Context(), "", number(1), "alone")
	if err != nil {
		t.Fatal(err)
	}
	alone.Close()
	first := s.open(t, 0)
	if err := first.locked(t.Context(), func() error { _, err := first.sync(t.Context()); return err }); err != nil {
		t.Fatal(err)
	}
	if s.mark.Newest != v {
		t.Errorf("the newest is %.8q, want %.8q", s.mark.Newest, v)
	}
	s.group, s.disks = append(s.group, 0), append(s.disks, nil)
	second, err := Open(filepath.Join(other, "state"), Options{
		Files:   legacy(other),
		Dirs:    map[string]string{"dir/": filepath.Join(other, "dir")},
		Cluster: manager{s, 1},
	})
	if err != nil {
		t.Fatal(err)
	}
	s.disks[1] = second
	followed := make(chan error, 1)
	ctx, cancel := context.WithCancel(t.Context())
	go func() { followed <- second.Follow(ctx) }()
	for n := 1; n < 4; n++ {
		for {
			changed := second.Changed()
			if data, _, err := second.Read("a"); err == nil && string(data) == fmt.Sprint(n) {
				break
			}
			select {
			case <-changed:
			case <-time.After(time.Minute):
				t.Fatalf("the second manager does not hear of number %d", n)
			}
		}
		if v, err = first.Commit(t.Context(), v, number(n+1), "more"); err != nil {
			t.Fatal(err)
		}
	}
	cancel()
	if err := errors.Join(<-followed, second.Close()); err != nil {
		t.Error(err)
	}
	wantWhole(t, "a new manager", other, 3, 4)
}

// TestShared_Behind: a state whose newest commit is nowhere is read, and not written: what it lacks would
// be lost.
func TestShared_Behind(t *testing.T) {
	t.Parallel()
	s := newSwarmed(t.TempDir(), 1, rand.New(rand.NewPCG(1, 1)), 0)
	d := s.open(t, 0)
	v, err := d.Commit(t.Context(), "", number(1), "first")
	if err != nil {
		t.Fatal(err)
	}
	s.mark.Newest = Version(hashOf([]byte("lost")))
	if _, err := d.Commit(t.Context(), v, number(2), "second"); !errors.Is(err, errBehind) {
		t.Errorf("got %v", err)
	}
	if data, _, err := d.Read("a"); err != nil || string(data) != "1" {
		t.Errorf("read %q, %v", data, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	followed := make(chan error)
	go func() { followed <- d.Follow(ctx) }()
	for d.Problem() == "" {
		runtime.Gosched()
	}
	cancel()
	if err := <-followed; err != nil {
		t.Error(err)
	}
}

// TestShared_SwarmIsOlder: a Swarm that was restored to what it was before some commits hears of them, and none of
// them is given up.
func TestShared_SwarmIsOlder(t *testing.T) {
	t.Parallel()
	s := newSwarmed(t.TempDir(), 1, rand.New(rand.NewPCG(1, 1)), 0)
	d := s.open(t, 0)
	older, err := d.Commit(t.Context(), "", number(1), "first")
	if err != nil {
		t.Fatal(err)
	}
	newer, err := d.Commit(t.Context(), older, number(2), "second")
	if err != nil {
		t.Fatal(err)
	}
	s.mark = Mark{Newest: older, Moment: "restored"}
	if err := d.Sync(t.Context()); err != nil || s.mark.Newest != newer {
		t.Errorf("the newest is %.8s, want %.8s, %v", s.mark.Newest, newer, err)
	}
	if data, _, err := d.Read("a"); err != nil || string(data) != "2" {
		t.Errorf("read %q, %v", data, err)
	}
	s.mark = Mark{Newest: older, Moment: "restored again"}
	if _, err := d.Commit(t.Context(), newer, number(3), "third"); err != nil {
		t.Error(err)
	}
}

// TestShared_PowerCut cuts the power of an only manager after each step of a commit. Once Swarm has it as the newest
// it is on the disk, with its name.
func TestShared_PowerCut(t *testing.T) {
	disk := disktest.New(t, 32)
	s := newSwarmed(disk.Dir, 1, rand.New(rand.NewPCG(1, 1)), 0)
	d := s.open(t, 0)
	v, err := d.Commit(t.Context(), "", number(1), "first")
	if err != nil {
		t.Fatal(err)
	}
	steps := 0
	d.step = func(step string) {
		steps++
		after := newSwarmed(disk.Cut().Dir, 1, rand.New(rand.NewPCG(1, 1)), 0)
		after.mark = s.mark
		again := after.open(t, 0)
		defer again.Close()
		want := "1"
		if s.mark.Newest != v {
			want = "2"
		}
		err := again.Sync(t.Context())
		if data, _, readErr := again.Read("a"); err != nil || readErr != nil || string(data) != want {
			t.Errorf("after %s: read %q, want %s, %v, %v", step, data, want, err, readErr)
		}
	}
	if _, err := d.Commit(t.Context(), v, number(2), "second"); err != nil || steps != 4 {
		t.Errorf("%d steps, %v", steps, err)
	}
}

// TestKeep_Refuses: what is not the commit that it is said to be is not kept.
func TestKeep_Refuses(t *testing.T) {
	t.Parallel()
	d, err := Open(t.TempDir(), Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	id := hashOf([]byte("x"))
	for _, c := range []struct{ v, file string }{
		{id, id + "\ny"}, {id, "x"}, {"../x", "../x\nx"}, {"newest", "newest\nx"}, {hashOf([]byte("y")), id + "\nx"},
		{strings.ToUpper(id), strings.ToUpper(id) + "\nx"}, {id, ""},
	} {
		if err := d.Keep(Version(c.v), []byte(c.file)); err == nil {
			t.Errorf("kept %q as %q", c.file, c.v)
		}
		if _, err := d.File(Version(c.v)); !errors.Is(err, ErrNotFound) {
			t.Errorf("%q: got %v", c.v, err)
		}
	}
}

// TestShared_KeepsFew has two managers take turns, so that each follows the other: none keeps more commits
// than it needs, but for those that may be another's who has yet to say so.
func TestShared_KeepsFew(t *testing.T) {
	t.Parallel()
	s := newSwarmed(t.TempDir(), 3, rand.New(rand.NewPCG(1, 1)), 0)
	for i := range s.disks {
		d := s.open(t, i)
		t.Cleanup(func() { _ = d.Close() })
	}
	for n := range 5 * keepCommits {
		d := s.disks[n%2]
		write := func([]byte) ([]byte, error) { return fmt.Append(nil, n), nil }
		err := NewDocument(d, "doc").Update("count", write)
		if err = cmp.Or(err, s.disks[2].Sync(t.Context())); err != nil {
			t.Fatal(err)
		}
	}
	for i, d := range s.disks {
		list, err := filepath.Glob(filepath.Join(d.dir, strings.Repeat("?", 64)))
		if err != nil || len(list) > 2*keepCommits+1 {
			t.Errorf("manager %d keeps %d commits of %d, %v", i, len(list), 5*keepCommits, err)
		}
	}
}
