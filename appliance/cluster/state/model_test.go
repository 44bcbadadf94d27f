package state

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/crawlbox/crawlbox/appliance/base/testenv"
)

var (
	errCut     = errors.New("no answer")
	errMinored = errors.New("no quorum")
)

// swarmed are managers with one register, as Swarm's raft is one, and a network between them that
// loses, repeats, delays and cuts.
type swarmed struct {
	dir string
	now atomic.Int64 // counts what happens

	puts sync.WaitGroup // that are under way, also those of managers that were killed

	mu     sync.Mutex
	rng    *rand.Rand
	faults float64 // of a call to go wrong
	mark   Mark
	moment int
	group  []int   // of each manager: those of one group reach each other
	disks  []*Disk // nil: it is gone for good
	late   []func()
	done   []added // that were acknowledged
	wrong  []string
}

// added is a mark that a manager has added, and when.
type added struct {
	mark       string
	begun, end int64
}

// manager is what one of them sees of the others.
type manager struct {
	*swarmed
	i int
}

func newSwarmed(dir string, n int, rng *rand.Rand, faults float64) *swarmed {
	return &swarmed{dir: dir, rng: rng, faults: faults, group: make([]int, n), disks: make([]*Disk, n)}
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

func (s *swarmed) path(i int) string { return filepath.Join(s.dir, fmt.Sprint(i)) }

func (s *swarmed) disk(i int) *Disk {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.disks[i]
}

func (s *swarmed) failed(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.wrong = append(s.wrong, fmt.Sprintf(format, args...))
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
		if m.rng.IntN(2) == 0 { // it comes later, after nobody waits for it
			m.late = append(m.late, func() {
				m.mu.Lock()
				defer m.mu.Unlock()
				_ = m.set(was, next)
			})
		}
		return errMinored
	}
	err := m.set(was, next)
	if twice {
		err = m.set(was, next)
	}
	if after {
		return errCut
	}
	return err
}

// set sets the register as Swarm does. The caller holds mu.
func (m manager) set(was Mark, next Version) error {
	if m.mark != was {
		return ErrConflict
	}
	m.wanted(next)
	m.moment++
	m.mark = Mark{Newest: next, Moment: fmt.Sprint(m.moment)}
	return nil
}

// wanted wants what is about to be the newest to be on the one before, and a majority to have each commit that it
// names, or to have had it until its disk was lost. The caller holds mu.
func (m manager) wanted(next Version) {
	holders := func(v Version) (n int) {
		for i, d := range m.disks {
			if _, err := os.Stat(filepath.Join(m.path(i), string(v))); err == nil || d == nil {
				n++
			}
		}
		return n
	}
	c, err := readCommit(filepath.Join(m.path(m.i), string(next)))
	for i := range m.disks { // its own may be lost by now
		if err != nil {
			c, err = readCommit(filepath.Join(m.path(i), string(next)))
		}
	}
	if err != nil || c.Parent != m.mark.Newest {
		m.wrong = append(m.wrong, fmt.Sprintf("after %.8s comes %.8s, which is on %.8s, %v", m.mark.Newest, next,
			c.Parent, err))
	}
	for v := range versionsIn(c.Tree, next) {
		if n := holders(v); n <= len(m.disks)/2 {
			m.wrong = append(m.wrong, fmt.Sprintf("%.8s names %.8s, which %d of %d have", next, v, n, len(m.disks)))
		}
	}
}

func versionsIn(t tree, own Version) versions {
	list := versions{own: true}
	for _, b := range t {
		list[b.In] = true
	}
	return list
}

// others are the managers that this one reaches.
func (m manager) others() (list []*Disk, all bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	all = true
	for i, d := range m.disks {
		before, _, _ := m.fault()
		switch {
		case i == m.i || d == nil:
		case before || m.group[i] != m.group[m.i]:
			all = false
		default:
			list = append(list, d)
		}
	}
	return list, all
}

func (m manager) Put(_ context.Context, v Version, file []byte) error {
	m.puts.Add(1)
	defer m.puts.Done()
	list, _ := m.others()
	kept := 1
	for _, d := range list {
		err := d.Keep(v, file)
		m.mu.Lock()
		_, after, twice := m.fault()
		if twice {
			m.late = append(m.late, func() { _ = d.Keep(v, file) })
		}
		m.mu.Unlock()
		if err == nil && !after {
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

func (s *swarmed) open(t *testing.T, i int) *Disk {
	t.Helper()
	d, err := Open(s.path(i), Options{Author: fmt.Sprint(i), Cluster: manager{s, i}})
	if err != nil {
		t.Fatal(err)
	}
	s.mu.Lock()
	s.disks[i] = d
	s.mu.Unlock()
	return d
}

// aged has the files of a manager be as old as after a night without power.
func (s *swarmed) aged(t *testing.T, i int) {
	t.Helper()
	then := time.Now().Add(-2 * strayAge)
	list, err := os.ReadDir(s.path(i))
	for _, e := range list {
		if wrong := os.Chtimes(filepath.Join(s.path(i), e.Name()), then, then); err == nil && !os.IsNotExist(wrong) {
			err = wrong
		}
	}
	if err != nil {
		t.Fatal(err)
	}
}

// once is a document that never changes.
const once = "it never changes"

// ledger is three documents, and one that has what is added to any of them in its order.
type ledger struct {
	docs [3]string
	all  string
}

var ledgerFormat = Format[ledger]{
	Names: []string{"all", "doc0", "doc1", "doc2", "once"},
	Decode: func(docs Contents) (*ledger, error) {
		l := &ledger{all: string(docs["all"])}
		if (l.all != "") != (string(docs["once"]) == once) {
			return nil, fmt.Errorf("there are %s, and it has %q", l.all, docs["once"])
		}
		for n := range l.docs {
			l.docs[n] = string(docs[fmt.Sprint("doc", n)])
		}
		of := func(text string) []string { return slices.Sorted(slices.Values(strings.SplitAfter(text, ">"))) }
		if own := strings.Join(l.docs[:], ""); !slices.Equal(of(own), of(l.all)) {
			return nil, fmt.Errorf("they are of different commits: %s and %s", own, l.all)
		}
		return l, nil
	},
	Encode: func(l *ledger) (Contents, error) {
		docs := Contents{"all": []byte(l.all), "once": []byte(once)}
		for n, text := range l.docs {
			if text != "" {
				docs[fmt.Sprint("doc", n)] = []byte(text)
			}
		}
		return docs, nil
	},
}

// add adds a mark to one of the documents.
func (s *swarmed) add(d *Disk, n int, mark string) error {
	begun := s.now.Add(1)
	v, err := NewValue(d, ledgerFormat)
	if err == nil {
		err = v.Update("add", func(was *ledger) (*ledger, error) {
			next := *was
			next.docs[n] += mark
			next.all += mark
			return &next, nil
		})
	}
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.done = append(s.done, added{mark, begun, s.now.Add(1)})
	return nil
}

// killed is what a test's step panics with where a manager ends in the middle of a commit.
type killed struct{}

// mayEnd calls fn, in which the manager may be killed; then it is started again, at once or the day after.
func (s *swarmed) mayEnd(t *testing.T, i int, rng *rand.Rand, fn func(*Disk) error) (err error) {
	t.Helper()
	d := s.disk(i)
	if rng.IntN(15) == 0 {
		left := rng.IntN(4)
		d.step = func(string) {
			if left--; left < 0 {
				panic(killed{})
			}
		}
	}
	defer func() {
		switch p := recover(); p.(type) {
		case nil:
		case killed:
			err = errCut
			_ = d.lock.Close()
			if rng.IntN(2) == 0 {
				s.aged(t, i)
			}
			s.open(t, i)
		default:
			panic(p)
		}
	}()
	return fn(d)
}

// write has one manager add marks until it has tried a number of times, or follow the others. It is killed now and
// then.
func (s *swarmed) write(t *testing.T, i, times int, rng *rand.Rand) {
	t.Helper()
	for n := range times {
		s.mu.Lock()
		if rng.IntN(12) == 0 { // the network is cut anew, or whole again
			for j := range s.group {
				s.group[j] = rng.IntN(2) * rng.IntN(2)
			}
		}
		var late func()
		if at := len(s.late); at > 0 && rng.IntN(3) == 0 {
			at = rng.IntN(at)
			late = s.late[at]
			s.late = slices.Delete(s.late, at, at+1)
		}
		s.mu.Unlock()
		if late != nil {
			late()
		}
		_ = s.mayEnd(t, i, rng, func(d *Disk) error {
			if rng.IntN(3) == 0 {
				return d.Sync(t.Context())
			}
			return s.add(d, rng.IntN(3), fmt.Sprintf("<%d.%d>", i, n))
		})
	}
}

// read has a manager read until ctx ends: what it reads is whole, and never goes back. A slow reader, as the command
// line is one, may be overtaken by the sweep, but only where there are newer commits.
func (s *swarmed) read(ctx context.Context, i int) {
	last, of := "", s.disk(i)
	for ctx.Err() == nil {
		runtime.Gosched()
		d := s.disk(i)
		if d != of { // started again: the one before may have seen the head a moment before this one has made it so
			last, of = "", d
		}
		switch v, err := NewValue(d, ledgerFormat); {
		case err == nil:
			now := v.Get().all
			if !strings.HasPrefix(now, last) {
				s.failed("manager %d went back from %s to %s", i, last, now)
			}
			last = now
		case !errors.Is(err, ErrConflict):
			s.failed("manager %d reads: %v", i, err)
		}
		view, err := Look(s.path(i))
		if errors.Is(err, ErrNotFound) {
			continue
		}
		if err != nil {
			s.failed("a look at manager %d: %v", i, err)
			continue
		}
		docs := Contents{}
		for _, e := range view.Documents {
			runtime.Gosched()
			if docs[e.Name], err = view.Document(e.Name); err != nil {
				break
			}
		}
		if err == nil {
			_, err = ledgerFormat.Decode(docs)
		}
		if err == nil {
			continue
		}
		if again, wrong := Look(s.path(i)); wrong != nil || again.Head == view.Head {
			s.failed("a slow look at manager %d: %v, %v", i, err, wrong)
		}
	}
}

// settle has all managers reach each other, and follow.
func (s *swarmed) settle(t *testing.T) {
	t.Helper()
	s.mu.Lock()
	s.faults = 0
	clear(s.group)
	late := s.late
	s.late = nil
	s.mu.Unlock()
	for _, again := range late {
		again()
	}
	for range 2 { // one that is ahead has to tell those before it
		for i, d := range s.disks {
			if d == nil {
				continue
			}
			d.step = func(string) {}
			if err := d.Sync(t.Context()); err != nil {
				t.Fatalf("manager %d: %v", i, err)
			}
		}
	}
}

// check wants all managers to have one state, which has all that was acknowledged once and in its order, and
// nothing twice, and each of them all that its newest commit names.
func (s *swarmed) check(t *testing.T) {
	t.Helper()
	s.settle(t)
	seen := map[ledger]bool{}
	for i, d := range s.disks {
		if d == nil {
			continue
		}
		v, err := NewValue(d, ledgerFormat)
		if err != nil {
			t.Fatal(err)
		}
		if _, head, err := d.List(""); err != nil || head != s.mark.Newest {
			t.Fatalf("manager %d is at %.8s, want %.8s, %v", i, head, s.mark.Newest, err)
		}
		seen[*v.Get()] = true
	}
	if len(seen) != 1 {
		t.Fatalf("they have %v", slices.Collect(maps.Keys(seen)))
	}
	var all string
	for l := range seen {
		all = l.all
	}
	at := map[string]int{}
	for i, mark := range strings.SplitAfter(all, ">") {
		if _, twice := at[mark]; twice {
			t.Errorf("%s is there twice", mark)
		}
		at[mark] = i
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, a := range s.done {
		if _, ok := at[a.mark]; !ok {
			t.Errorf("%s was acknowledged and is lost", a.mark)
		}
	}
	slices.SortFunc(s.done, func(a, b added) int { return at[a.mark] - at[b.mark] })
	last := int64(0) // that one so far was begun
	for _, a := range s.done {
		if a.end < last {
			t.Errorf("%s comes after one that was begun only once it was acknowledged: %s", a.mark, all)
		}
		last = max(last, a.begun)
	}
	for _, wrong := range s.wrong[:min(5, len(s.wrong))] {
		t.Error(wrong)
	}
}

// run has managers write and be read at the same time, with faults.
func (s *swarmed) run(t *testing.T, times int, seed uint64) {
	t.Helper()
	for i := range s.disks {
		s.open(t, i)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var writers, readers sync.WaitGroup
	for i := range s.disks {
		rng := rand.New(rand.NewPCG(seed, uint64(i)))
		writers.Go(func() { s.write(t, i, times, rng) })
		readers.Go(func() { s.read(ctx, i) })
	}
	writers.Wait()
	cancel()
	readers.Wait()
}

// lose cuts the power of all managers and destroys the disks of a minority of them; the others are started again the
// day after, and then those that take the places of the lost.
func (s *swarmed) lose(t *testing.T) {
	t.Helper()
	s.puts.Wait()
	n := len(s.disks)
	s.mu.Lock() // a killed manager may have asked for something just now
	order := s.rng.Perm(n)
	s.mu.Unlock()
	for at, i := range order {
		_ = s.disks[i].lock.Close()
		s.disks[i] = nil
		if at < n/2 {
			if err := os.RemoveAll(s.path(i)); err != nil {
				t.Fatal(err)
			}
		} else {
			s.aged(t, i)
		}
	}
	for _, i := range order[n/2:] {
		s.open(t, i)
	}
	s.check(t)
	for _, i := range order[:n/2] {
		s.open(t, i)
	}
	s.check(t)
}

// FuzzShared: writers on 3 or 5 managers, which are killed at each step of a commit, cut off from each other, and
// whose messages are lost, done without an answer, done twice, or come again later; beside them readers, also slow
// ones; and at the end the disks of a minority are lost.
func FuzzShared(f *testing.F) {
	for range 4 {
		f.Add(testenv.Seed(f), uint8(23), uint8(30))
	}
	f.Fuzz(func(t *testing.T, seed uint64, times, faults uint8) {
		rng := rand.New(rand.NewPCG(seed, 99))
		s := newSwarmed(t.TempDir(), 3+2*rng.IntN(2), rng, float64(faults%100)/200)
		s.run(t, int(times%24), seed)
		if times%2 == 0 {
			s.check(t)
		}
		s.lose(t)
		for _, d := range s.disks {
			d.Close()
		}
	})
}
