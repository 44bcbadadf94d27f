package runs

import (
	"encoding/json"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/crawlbox/crawlbox/appliance/cluster/state"
	"github.com/crawlbox/crawlbox/appliance/cluster/state/statetest"
)

func newDocuments(t testing.TB) *state.Group {
	t.Helper()
	return state.NewGroup(statetest.Open(t, t.TempDir()), state.Runs)
}

func ended(id string, n int) Record {
	at := begun.Add(time.Duration(n) * time.Minute)
	return Record{
		Spec:  Spec{ID: id, Service: "spider", At: at, Replicas: 1},
		State: Done, Ended: at, Attempts: 1,
		Tasks: []Task{{ID: "task", Node: "h1", Cause: strings.Repeat("x", 200)}},
	}
}

func TestStore(t *testing.T) {
	t.Parallel()
	docs := newDocuments(t)
	s, other := NewStore(docs), NewStore(docs)
	for n := range 5 {
		if err := s.Add(ended(fmt.Sprint("run-", n), n)); err != nil {
			t.Fatal(err)
		}
	}
	again := ended("run-3", 9)
	again.State = Failed
	if err := other.Add(again); err != nil { // of a second leader
		t.Fatal(err)
	}
	list, err := other.List()
	if err != nil || len(list) != 5 || list[0].ID != "run-4" || list[0].Tasks != nil || list[1].State != Done {
		t.Errorf("got %+v, %v", list, err)
	}
	whole, found, err := other.Find("run-2")
	if err != nil || !found || len(whole.Tasks) != 1 {
		t.Errorf("got %+v, %v, %v", whole, found, err)
	}
	if there, err := s.Remove("run-2"); !there || err != nil {
		t.Errorf("removed: %v, %v", there, err)
	}
	if has, err := other.Has("run-2"); has || err != nil {
		t.Errorf("it is there: %v, %v", has, err)
	}
	if there, err := s.Remove("run-2"); there || err != nil {
		t.Errorf("removed again: %v, %v", there, err)
	}
}

// TestStore_Races: of two managers that write down the same runs at once, each run has one record.
func TestStore_Races(t *testing.T) {
	t.Parallel()
	docs := newDocuments(t)
	var all sync.WaitGroup
	for range 2 {
		s := NewStore(docs)
		all.Go(func() {
			for n := range 200 {
				if err := s.Add(ended(fmt.Sprint("run-", n), n)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	list, err := NewStore(docs).List()
	ids := map[string]bool{}
	for _, r := range list {
		ids[r.ID] = true
	}
	if err != nil || len(list) != 200 || len(ids) != 200 {
		t.Errorf("%d records of %d runs, %v", len(list), len(ids), err)
	}
	hashes, _ := docs.Hashes()
	if len(hashes) < 2 {
		t.Errorf("all are in %v", hashes)
	}
}

// TestStore_Before: records of versions before this one, which did not measure tasks, and of a later one are read.
func TestStore_Before(t *testing.T) {
	t.Parallel()
	docs := newDocuments(t)
	const text = `[{"id":"old","state":"done","tasks":[{"id":"t","slot":1,"node":"h1","state":"complete","exit_code":0}]},
		{"id":"new","state":"done","tasks":[{"id":"t","peak_memory_bytes":7,"peak_cpus":0.25,"peak_disk":1}]}]`
	err := docs.Update(document("spider", 1), "seed", func([]byte) ([]byte, error) { return []byte(text), nil })
	if err != nil {
		t.Fatal(err)
	}
	s := NewStore(docs)
	old, found, err := s.Find("old")
	if err != nil || !found || old.Tasks[0].Memory != nil || old.Tasks[0].CPU != nil || old.Tasks[0].Slot != 1 {
		t.Errorf("got %+v, %v, %v", old, found, err)
	}
	is, found, err := s.Find("new")
	if err != nil || !found || is.Tasks[0].Memory == nil || *is.Tasks[0].Memory != 7 || *is.Tasks[0].CPU != 0.25 {
		t.Errorf("got %+v, %v, %v", is, found, err)
	}
	if data, err := json.Marshal(old.Tasks); err != nil || strings.Contains(string(data), "peak") {
		t.Errorf("what is not known is written: %s, %v", data, err)
	}
}

// TestStore_AtOnce: records of several groups that are added at once are all there when Add returns, each once, in
// fewer changes of the state than there are records; those that can't be written are an error of each.
func TestStore_AtOnce(t *testing.T) {
	t.Parallel()
	docs := &slowly{Group: newDocuments(t), first: make(chan struct{}), let: make(chan struct{})}
	s := NewStore(docs)
	add := func(n int) error {
		r := ended(fmt.Sprint("run-", n), n)
		r.Service = fmt.Sprint("spider-", n%3)
		if err := s.Add(r); err != nil {
			return err
		}
		if has, err := s.Has(r.ID); !has || err != nil {
			t.Errorf("%s is not there: %v", r.ID, err)
		}
		return nil
	}
	const n = 300
	var all sync.WaitGroup
	var failed atomic.Int32
	at := func(n int) {
		all.Go(func() {
			if err := add(n); err != nil {
				if failed.Add(1); !errors.Is(err, errSlowly) || !strings.Contains(err.Error(), fmt.Sprint("run-", n)) {
					t.Error(err)
				}
			}
		})
	}
	at(0)
	<-docs.first
	for i := 1; i < n; i++ {
		at(i)
	}
	for waiting := 0; waiting < n-1; runtime.Gosched() { // while the first is written
		s.mu.Lock()
		waiting = len(s.waiting)
		s.mu.Unlock()
	}
	close(docs.let)
	all.Wait()
	list, err := s.List()
	if err != nil || len(list) != n || failed.Load() > 0 {
		t.Errorf("%d records, %d failed, %v", len(list), failed.Load(), err)
	}
	hashes, _ := docs.Hashes()
	if updates := int(docs.updates.Load()); updates > len(hashes)+3 {
		t.Errorf("%d changes for %d documents", updates, len(hashes))
	}
	docs.broken.Store(true)
	for i := range 3 {
		at(n + i)
	}
	if all.Wait(); failed.Load() != 3 {
		t.Errorf("%d of 3 failed", failed.Load())
	}
	docs.broken.Store(false)
	if err := add(n); err != nil {
		t.Errorf("once more: %v", err)
	}
}

var errSlowly = errors.New("no quorum")

// slowly are documents of which the first change waits, and later ones may fail.
type slowly struct {
	*state.Group
	first, let chan struct{}
	updates    atomic.Int32
	broken     atomic.Bool
}

func (d *slowly) Update(name, message string, fn func(data []byte) ([]byte, error)) error {
	if d.broken.Load() {
		return errSlowly
	}
	if d.updates.Add(1) == 1 {
		close(d.first)
		<-d.let
	}
	return d.Group.Update(name, message, fn)
}

func TestOutdated(t *testing.T) {
	t.Parallel()
	all := map[string][]Record{}
	for n := 1; n <= 30; n++ {
		list := make([]Record, 50)
		list[0] = ended("x", n)
		all[document("spider", n)] = list
	}
	all[document("robot", 1)] = make([]Record, 5)
	names := outdated(all)
	slices.Sort(names)
	if len(names) != 10 || names[0] != "spider/000001" || names[9] != "spider/000010" {
		t.Errorf("got %v", names)
	}
	for n := range maxDocuments {
		all[document(fmt.Sprint("image-", n), 1)] = []Record{ended("y", 100+n)}
	}
	if names := outdated(all); len(all)-len(names) != maxDocuments || !slices.Contains(names, "robot/000001") {
		t.Errorf("%d of %d go", len(names), len(all))
	}
}

// TestStore_Long: of records that are too long for a document, lines and tasks go first, and what is needed to run them
// again stays.
func TestStore_Long(t *testing.T) {
	t.Parallel()
	docs := newDocuments(t)
	s := NewStore(docs)
	long := strings.Repeat("\\", maxText) // twice that in JSON
	for n, params := range []int{0, 2000, 6000, 15000, 40000} {
		r := ended(fmt.Sprint("run-", n), n)
		r.Variables = map[string]string{"A": strings.Repeat("x", params)}
		r.Log = NewExcerpt([]string{long, long, long, long, long}, slices.Repeat([]string{long}, maxLast))
		r.Tasks = slices.Repeat([]Task{{ID: "task", Cause: strings.Repeat("x", 900)}}, maxTasks)
		r.Usual = &Usual{Runs: 7}
		if err := s.Add(r); err != nil {
			t.Fatal(err)
		}
		is, found, err := s.Find(r.ID)
		if err != nil || !found || len(is.Variables["A"]) != params || is.Usual != nil {
			t.Fatalf("%d: %v, %v, %d bytes, %+v", n, found, err, len(is.Variables["A"]), is.Usual)
		}
		last := is.Log == nil || is.Log.Last == nil || is.Log.Last[len(is.Log.Last)-1] == long
		if (is.Log == nil) != (params >= 15000) || (len(is.Tasks) == maxTasks) != (params < 15000) || !last {
			t.Errorf("with %d bytes: %d tasks, log %+.60v", params, len(is.Tasks), is.Log)
		}
	}
	hashes, err := docs.Hashes()
	if err != nil {
		t.Fatal(err)
	}
	for name := range hashes {
		data, err := docs.Load(name)
		list, _ := decode(name, data)
		if err != nil || len(data) > maxDocument && len(list) != 1 {
			t.Errorf("%s has %d bytes of %d runs, %v", name, len(data), len(list), err)
		}
	}
}
