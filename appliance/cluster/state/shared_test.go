package state

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/crawlbox/crawlbox/appliance/base/testenv"
)

var (
	errCut     = errors.New("no answer")
	errMinored = errors.New("no quorum")
)

// swarmed are managers with one register, as Swarm's raft is one, and a network between them that
// loses, repeats and cuts.
type swarmed struct {
	mu     sync.Mutex
	rng    *rand.Rand
	faults float64 // of a call to go wrong
	mark   Mark
	moment int
	marks  []Version
	group  []int // of each manager: those of one group reach each other
	disks  []*Disk
}

// manager is what one of them sees of the others.
type manager struct {
	*swarmed
	i int
}

func newSwarmed(n int, rng *rand.Rand, faults float64) *swarmed {
	return &swarmed{rng: rng, faults: faults, group: make([]int, n), disks: make([]*Disk, n)}
}

// fault returns whether a call fails before or after it is done, or is done twice.
func (s *swarmed) fault() (before, after, twice bool) {
	if s.rng.Float64() >= s.faults {
		return false, false, false
	}
	n := s.rng.IntN(3)
	return n == 0, n == 1, n == 2
}

func (s *swarmed) quorum(i int) bool {
	n := 0
	for _, g := range s.group {
		if g == s.group[i] {
			n++
		}
	}
	return n > len(s.group)/2
}

func (m manager) Newest(context.Context) (Mark, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if before, after, _ := m.fault(); before || after || !m.quorum(m.i) {
		return Mark{}, errMinored
	}
	return m.mark, nil
}

func (m manager) SetNewest(_ context.Context, was Mark, next Version) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	before, after, twice := m.fault()
	if before || !m.quorum(m.i) {
		return errMinored
	}
	err := ErrConflict
	for range map[bool]int{false: 1, true: 2}[twice] {
		if m.mark == was {
			m.moment++
			m.mark = Mark{Newest: next, Moment: fmt.Sprint(m.moment)}
			m.marks = append(m.marks, next)
			err = nil
		}
	}
	if after {
		return errCut
	}
	return err
}

// others are the managers that this one reaches.
func (m manager) others() (list []*Disk, all bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	all = true
	for i, d := range m.disks {
		before, _, _ := m.fault()
		switch {
		case i == m.i:
		case d == nil || before || m.group[i] != m.group[m.i]:
			all = false
		default:
			list = append(list, d)
		}
	}
	return list, all
}

func (m manager) Put(_ context.Context, v Version, file []byte) error {
	list, _ := m.others()
	kept := 1
	for _, d := range list {
		if err := d.Keep(v, file); err == nil {
			kept++
		}
	}
	if kept <= len(m.disks)/2 {
		return fmt.Errorf("%d have it: %w", kept, errCut)
	}
	return nil
}

func (m manager) Get(_ context.Context, v Version) ([]byte, error) {
	list, all := m.others()
	for _, d := range list {
		if file, err := d.File(v); err == nil {
			return file, nil
		}
	}
	if !all {
		return nil, errCut
	}
	return nil, ErrNotFound
}

func (m manager) Tell() {
	list, _ := m.others()
	for _, d := range list {
		d.Told()
	}
}

func (s *swarmed) open(t *testing.T, dir string, i int) *Disk {
	t.Helper()
	d, err := Open(filepath.Join(dir, fmt.Sprint(i)), Options{Author: fmt.Sprint(i), Cluster: manager{s, i}})
	if err != nil {
		t.Fatal(err)
	}
	s.mu.Lock()
	s.disks[i] = d
	s.mu.Unlock()
	return d
}

// killed is what a test's step panics with where a manager ends in the middle of a commit.
type killed struct{}

// write has one manager add marks to documents until it has tried a number of times, and returns those
// that were acknowledged. It is killed now and then.
func (s *swarmed) write(t *testing.T, dir string, i, times int, rng *rand.Rand) (done []string) {
	t.Helper()
	for n := range times {
		name, mark := fmt.Sprint("doc", rng.IntN(3)), fmt.Sprintf("<%d.%d>", i, n)
		s.mu.Lock()
		d := s.disks[i]
		if rng.IntN(12) == 0 { // the network is cut anew, or whole again
			for j := range s.group {
				s.group[j] = rng.IntN(2) * rng.IntN(2)
			}
		}
		s.mu.Unlock()
		if rng.IntN(15) == 0 {
			left := rng.IntN(4)
			d.step = func(string) {
				if left--; left < 0 {
					panic(killed{})
				}
			}
		}
		err := func() (err error) {
			defer func() {
				switch p := recover(); p.(type) {
				case nil:
				case killed:
					err = errCut
					_ = d.lock.Close()
					s.open(t, dir, i)
				default:
					panic(p)
				}
			}()
			return NewDocument(d, name).Update(mark, func(was []byte) ([]byte, error) {
				return append(slices.Clone(was), mark...), nil
			})
		}()
		if err == nil {
			done = append(done, mark)
		}
	}
	return done
}

// check wants all managers to have one state, which has all that was acknowledged once, and nothing
// twice, and each of them all that its newest commits name.
func (s *swarmed) check(t *testing.T, done []string) {
	t.Helper()
	s.mu.Lock()
	s.faults = 0
	clear(s.group)
	s.mu.Unlock()
	for range 2 { // one that is ahead has to tell those before it
		for _, d := range s.disks {
			d.step = func(string) {}
			if err := d.locked(t.Context(), func() error { _, err := d.sync(t.Context()); return err }); err != nil {
				t.Fatal(err)
			}
		}
	}
	var texts []string
	for i, d := range s.disks {
		docs := Contents{}
		list, v, err := d.List("")
		if err != nil || v != s.mark.Newest {
			t.Fatalf("manager %d is at %.8s, want %.8s, %v", i, v, s.mark.Newest, err)
		}
		for _, e := range list {
			if docs[e.Name], _, err = d.Read(e.Name); err != nil {
				t.Fatal(err)
			}
		}
		var all strings.Builder
		for _, name := range slices.Sorted(maps.Keys(docs)) {
			all.Write(docs[name])
		}
		texts = append(texts, all.String())
	}
	for i, text := range texts {
		if text != texts[0] {
			t.Errorf("manager %d has %s, the first %s", i, text, texts[0])
		}
	}
	for _, mark := range done {
		if n := strings.Count(texts[0], mark); n != 1 {
			t.Errorf("%s was acknowledged and is there %d times", mark, n)
		}
	}
	for _, mark := range strings.SplitAfter(texts[0], ">") {
		if mark != "" && strings.Count(texts[0], mark) != 1 {
			t.Errorf("%s is there %d times", mark, strings.Count(texts[0], mark))
		}
	}
	// The register went from commit to commit, never back or beside.
	for i, v := range s.marks[min(1, len(s.marks)):] {
		c, err := readCommit(s.disks[0].path(string(v)))
		if err == nil && c.Parent != s.marks[i] {
			t.Errorf("the newest was %.8s, and then %.8s, which is on %.8s", s.marks[i], v, c.Parent)
		}
	}
}

// run has managers write at the same time, with faults.
func (s *swarmed) run(t *testing.T, dir string, times int, seed uint64) (done []string) {
	t.Helper()
	for i := range s.disks {
		s.open(t, dir, i)
	}
	var (
		mu  sync.Mutex
		all sync.WaitGroup
	)
	for i := range s.disks {
		rng := rand.New(rand.NewPCG(seed, uint64(i)))
		all.Go(func() {
			marks := s.write(t, dir, i, times, rng)
			mu.Lock()
			defer mu.Unlock()
			done = append(done, marks...)
		})
	}
	all.Wait()
	return done
}

// FuzzShared: writers on 3 or 5 managers, which are killed at each step of a commit, cut off from each
// other, and whose messages are lost, done without an answer, or done twice.
func FuzzShared(f *testing.F) {
	for range 4 {
		f.Add(testenv.Seed(f), uint8(40), uint8(30))
	}
	f.Fuzz(func(t *testing.T, seed uint64, times, faults uint8) {
		rng := rand.New(rand.NewPCG(seed, 99))
		s := newSwarmed(3+2*rng.IntN(2), rng, float64(faults%100)/200)
		s.check(t, s.run(t, t.TempDir(), int(times%64), seed))
		for _, d := range s.disks {
			d.Close()
		}
	})
}

// TestShared_AllIn: without faults nothing is refused, whoever is faster.
func TestShared_AllIn(t *testing.T) {
	t.Parallel()
	const times = 50
	s := newSwarmed(3, rand.New(rand.NewPCG(1, 1)), 0)
	dir := t.TempDir()
	for i := range s.disks {
		s.open(t, dir, i)
	}
	var all sync.WaitGroup
	for i, d := range s.disks {
		all.Go(func() {
			for n := range times {
				err := NewDocument(d, fmt.Sprint("doc", n%3)).Update("add", func(was []byte) ([]byte, error) {
					return fmt.Appendf(slices.Clone(was), "<%d.%d>", i, n), nil
				})
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	var done []string
	for i := range s.disks {
		for n := range times {
			done = append(done, fmt.Sprintf("<%d.%d>", i, n))
		}
	}
	s.check(t, done)
}

// TestShared_TakesOver: a state that was there before its register is in it, and a manager that is new
// gets all of it, with the files of versions before, and hears of what comes after.
func TestShared_TakesOver(t *testing.T) {
	t.Parallel()
	s, dir, other := newSwarmed(1, rand.New(rand.NewPCG(1, 1)), 0), t.TempDir(), t.TempDir()
	alone, err := Open(filepath.Join(dir, "0"), Options{})
	if err != nil {
		t.Fatal(err)
	}
	v, err := alone.Commit(t.Context(), "", number(1), "alone")
	if err != nil {
		t.Fatal(err)
	}
	alone.Close()
	first := s.open(t, dir, 0)
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
	s, dir := newSwarmed(1, rand.New(rand.NewPCG(1, 1)), 0), t.TempDir()
	d := s.open(t, dir, 0)
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
	dir := t.TempDir()
	s := newSwarmed(3, rand.New(rand.NewPCG(1, 1)), 0)
	for i := range s.disks {
		d := s.open(t, dir, i)
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
