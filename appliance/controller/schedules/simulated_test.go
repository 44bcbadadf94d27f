package schedules

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/crawlbox/crawlbox/appliance/base/planned"
	"github.com/crawlbox/crawlbox/appliance/deploy"
	"github.com/crawlbox/crawlbox/appliance/fleet"
	"github.com/crawlbox/crawlbox/appliance/runs"
	"github.com/crawlbox/crawlbox/appliance/runs/starter"
	"github.com/crawlbox/crawlbox/appliance/schedule"
	"github.com/crawlbox/crawlbox/appliance/swarm"
	"github.com/crawlbox/crawlbox/appliance/swarm/servicespec"
)

// tree holds documents: those of the cluster, or the copy that a manager has.
type tree struct {
	mu      sync.Mutex
	files   map[string]string
	changed chan struct{}
}

func newTree() *tree { return &tree{files: map[string]string{}, changed: make(chan struct{})} }

func (t *tree) set(files map[string]string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.files = files
	close(t.changed)
	t.changed = make(chan struct{})
}

func (t *tree) all() map[string]string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return maps.Clone(t.files)
}

// world is a cluster: its state, and the services that Swarm has.
type world struct {
	mu      sync.Mutex // one change at a time, as by Swarm's raft
	tree    *tree
	now     time.Time
	runs    map[string]*live // services of runs, by name
	begun   map[string]int   // how often one was made
	stopped int
	defined []schedule.Schedule // by the config file
	unknown error
	last    time.Duration // how long a run takes at most
	rand    *rand.Rand
}

type live struct {
	label, stop string
	ends        time.Time
	recorded    bool
}

// change changes documents of the cluster. The caller holds mu.
func (w *world) change(name string, fn func([]byte) ([]byte, error)) error {
	files := w.tree.all()
	var data []byte
	if text, ok := files[name]; ok {
		data = []byte(text)
	}
	next, err := fn(data)
	if err != nil {
		return err
	}
	if files[name] = string(next); next == nil {
		delete(files, name)
	}
	w.tree.set(files)
	return nil
}

// pass lets time go on: runs end, are recorded soon after, and their services are removed.
func (w *world) pass(t *testing.T, by time.Duration) {
	t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.now = w.now.Add(by)
	var ended []runs.Spec
	for id, is := range w.runs {
		switch {
		case is.ends.After(w.now):
		case !is.recorded && w.rand.IntN(2) == 0:
			is.recorded = true
			spec, err := runs.Parse(is.label)
			if err != nil {
				t.Fatal(err)
			}
			ended = append(ended, spec)
		case is.recorded && w.now.Sub(is.ends) > 10*time.Second:
			delete(w.runs, id)
		}
	}
	for _, spec := range ended {
		r, err := json.Marshal(runs.Record{Spec: spec, State: runs.Done, Ended: w.now})
		if err == nil {
			err = w.change(fmt.Sprintf("runs/%s/%06d", spec.Schedule, w.now.Minute()/10), add(r))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// add adds a record to a document of some, as the store of runs has them.
func add(r []byte) func([]byte) ([]byte, error) {
	return func(data []byte) ([]byte, error) {
		if data == nil {
			return slices.Concat([]byte("["), r, []byte("]")), nil
		}
		return slices.Concat(data[:len(data)-1], []byte(","), r, []byte("]")), nil
	}
}

func (w *world) clock() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.now
}

// life is one manager while it leads. It may die before or after anything that it does.
type life struct {
	*world
	copy  *tree // of the cluster's state
	skew  time.Duration
	mu    sync.Mutex
	rand  *rand.Rand
	dies  float64 // at each step
	dead  bool
	store *schedule.Store
	keep  *keeper
}

var errDied = errors.New("the leader has died")

// step is each thing that the leader does.
func (l *life) step() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.dead = l.dead || l.rand.Float64() < l.dies
	if l.dead {
		return errDied
	}
	return nil
}

// does calls fn unless the leader dies before. Where it dies after, it comes to hear nothing of it.
func (l *life) does(fn func() error) error {
	if err := l.step(); err != nil {
		return err
	}
	err := fn()
	return errors.Join(l.step(), err)
}

func (l *life) sync(context.Context) error {
	return l.does(func() error { l.copy.set(l.tree.all()); return nil })
}

// documents are those of a prefix, as the manager has them.
type documents struct {
	*life
	prefix string
}

func (d documents) Hashes() (map[string]string, error) {
	list := map[string]string{}
	for name, text := range d.copy.all() {
		if rest, ok := strings.CutPrefix(name, d.prefix); ok {
			list[rest] = text
		}
	}
	return list, nil
}

func (d documents) Load(name string) ([]byte, error) {
	text, ok := d.copy.all()[d.prefix+name]
	if !ok {
		return nil, fs.ErrNotExist
	}
	return []byte(text), nil
}

func (d documents) Update(name, _ string, fn func([]byte) ([]byte, error)) error {
	return d.does(func() error {
		d.world.mu.Lock()
		defer d.world.mu.Unlock()
		err := d.change(d.prefix+name, fn)
		d.copy.set(d.tree.all())
		return err
	})
}

func (d documents) Changed() <-chan struct{} {
	d.copy.mu.Lock()
	defer d.copy.mu.Unlock()
	return d.copy.changed
}

// document is the one of schedules.
type document struct{ documents }

func (d document) Load() ([]byte, error) { return d.documents.Load("schedules") }
func (d document) Update(message string, fn func([]byte) ([]byte, error)) error {
	return d.documents.Update("schedules", message, fn)
}

func (l *life) Services(context.Context) (list []fleet.Service, err error) {
	err = l.does(func() error {
		l.world.mu.Lock()
		defer l.world.mu.Unlock()
		list = []fleet.Service{{ID: "spider", Name: "spider", Image: "spider:1"}}
		for id, is := range l.runs {
			list = append(list, fleet.Service{ID: id, Name: id, Run: is.label, RunStop: is.stop})
		}
		return nil
	})
	return list, err
}

func (l *life) Service(_ context.Context, name string) (fleet.Service, error) {
	return fleet.Service{ID: "spider", Name: name, Image: "spider:1"}, l.step()
}

func (l *life) StopRun(_ context.Context, id, label string) error {
	return l.does(func() error {
		l.world.mu.Lock()
		defer l.world.mu.Unlock()
		if is := l.runs[id]; is != nil && is.stop == "" {
			l.stopped++
			is.stop, is.ends = label, l.now
		}
		return nil
	})
}

func (l *life) Nodes(context.Context) ([]fleet.Node, error)            { return nil, l.step() }
func (l *life) Platforms(context.Context, string) (p []fleet.Platform) { return p }
func (l *life) Resolve(context.Context, string) (string, *deploy.Source, error) {
	return "", nil, errors.New("not asked")
}

func (l *life) CreateRun(_ context.Context, _ string, _ servicespec.Deployment, r servicespec.Run) error {
	return l.does(func() error {
		l.world.mu.Lock()
		defer l.world.mu.Unlock()
		if l.runs[r.ID] != nil {
			return fmt.Errorf("%w: %s", swarm.ErrExists, r.ID)
		}
		label, err := r.Label()
		l.runs[r.ID] = &live{label: label, ends: l.now.Add(time.Duration(l.world.rand.Int64N(int64(l.last))))}
		l.begun[r.ID]++
		return err
	})
}

func newWorld(now time.Time, seed uint64) *world {
	return &world{
		tree: newTree(), now: now, runs: map[string]*live{}, begun: map[string]int{}, last: 40 * time.Second,
		rand: rand.New(rand.NewPCG(seed, 1)),
	}
}

// leads returns a manager that leads from now on, with the state as it was some time ago.
func (w *world) leads(seed uint64, dies float64) *life {
	l := &life{world: w, copy: newTree(), rand: rand.New(rand.NewPCG(seed, 2)), dies: dies}
	l.copy.set(w.tree.all())
	l.skew = time.Duration(l.rand.IntN(4000)-2000) * time.Millisecond
	l.store = schedule.NewStore(document{documents{l, ""}})
	records := runs.NewStore(documents{l, "runs/"})
	l.keep = &keeper{
		Options: Options{
			Store: l.store, Engine: l, Starter: &starter.Starter{Engine: l, Sources: l, Store: records},
			Ended: records.Has, Sync: l.sync,
			Defined: func() ([]schedule.Schedule, error) { return w.defined, w.unknown },
			Now:     func() time.Time { return w.clock().Add(l.skew) },
			Log:     slog.New(slog.DiscardHandler),
		},
		times: map[string]planned.Times{},
	}
	return l
}

// TestSimulated_Hour has 50 schedules of every minute for an hour in which the clocks of Paris go back. Leaders die in
// the middle of any step, or go on for some seconds beside the next one.
func TestSimulated_Hour(t *testing.T) {
	t.Parallel()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	begin := time.Date(2026, 10, 25, 0, 30, 0, 0, time.UTC)
	w := newWorld(begin, seed)
	first := w.leads(seed, 0)
	err := first.store.Update("add", func(list []schedule.Entry) ([]schedule.Entry, error) {
		for n := range 50 {
			s := schedule.Schedule{
				Name: fmt.Sprint("every-", n), Service: "spider", Cron: []string{"* * * * *", "@every 1m"}[n%2],
				Zone: "Europe/Paris", Replicas: 1, Overlap: schedule.Wait, AtMost: 3,
				Jitter: time.Duration(n%3) * 10 * time.Second,
			}
			if err := s.Check(); err != nil {
				return nil, err
			}
			list = schedule.With(list, s, false, begin)
		}
		return list, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	leaders, deaths, handovers := []*life{first}, 0, 0
	nobody, died := time.Time{}, begin.Add(-time.Hour)
	for second := 0; w.now.Before(begin.Add(63 * time.Minute)); second += 2 {
		w.pass(t, 2*time.Second)
		now := w.now
		var all sync.WaitGroup
		for _, l := range leaders {
			all.Go(func() { _ = l.keep.round(t.Context()) })
		}
		all.Wait()
		if n := len(leaders); n > 0 && leaders[n-1].dead {
			leaders, deaths, died = nil, deaths+1, now
			nobody = now.Add(time.Duration(w.rand.IntN(20)) * time.Second)
		}
		switch {
		case len(leaders) == 0 && !now.Before(nobody):
			leaders = []*life{w.leads(w.rand.Uint64(), 0.002)}
		case len(leaders) == 1 && second%126 == 0: // it does not know yet that it leads no longer
			leaders, handovers = append(leaders, w.leads(w.rand.Uint64(), 0.002)), handovers+1
		case len(leaders) == 2 && second%126 == 8:
			leaders = leaders[1:]
		}
		for _, l := range leaders {
			if l.dies > 0 && now.Sub(died) < 40*time.Second { // or nobody leads for longer than is told as missed
				l.dies = 0
			} else if l != first {
				l.dies = 0.002
			}
		}
	}
	if deaths < 5 || handovers < 5 {
		t.Errorf("leaders died %d times, and were two at once %d times: that shows little", deaths, handovers)
	}
	t.Logf("%d runs, %d deaths, %d times two leaders", len(w.begun), deaths, handovers)
	for id, n := range w.begun {
		if n != 1 {
			t.Errorf("%s was begun %d times", id, n)
		}
	}
	for n := range 50 {
		for minute := range 60 {
			id := runs.PlannedID(fmt.Sprint("every-", n), begin.Add(time.Duration(minute+1)*time.Minute))
			if w.begun[id] == 0 {
				t.Errorf("%s was not begun", id)
			}
		}
	}
	list, err := w.leads(seed, 0).store.List()
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range list {
		if len(e.Position.Events) > 0 {
			t.Errorf("%s tells %+v", e.Name, e.Position.Events)
		}
	}
}

// one returns a world with one schedule, and a function that has nobody lead it for a while, and then somebody.
func one(t *testing.T, s schedule.Schedule, from time.Time) (*world, func(off, on time.Duration) schedule.Position) {
	t.Helper()
	w := newWorld(from, 1)
	w.last = time.Second
	s.Name, s.Replicas = "q", 1
	if err := s.Check(); err != nil {
		t.Fatal(err)
	}
	err := w.leads(1, 0).store.Update("add", func(list []schedule.Entry) ([]schedule.Entry, error) {
		return schedule.With(list, s, false, from), nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return w, func(off, on time.Duration) schedule.Position {
		w.pass(t, off)
		l := w.leads(1, 0)
		l.skew = 0
		for range on / time.Second {
			w.pass(t, time.Second)
			if err := l.keep.round(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		list, err := l.store.List()
		if err != nil || len(list) != 1 {
			t.Fatalf("%+v, %v", list, err)
		}
		return list[0].Position
	}
}

var six = time.Date(2026, 6, 1, 6, 0, 0, 0, time.UTC)

// TestOff has the cluster off over five planned times.
func TestOff(t *testing.T) {
	t.Parallel()
	for missed, begun := range map[string]int{schedule.RunOnce: 1, schedule.Skip: 0} {
		w, lead := one(t, schedule.Schedule{Service: "spider", Cron: "0 * * * *", Missed: missed}, six)
		at := lead(5*time.Hour+30*time.Minute, time.Minute)
		e := at.Events[0]
		if len(at.Events) != 1 || e.Kind != schedule.Missed || e.Count != 5 || len(w.begun) != begun {
			t.Errorf("%s: tells %+v, begun are %v", missed, at.Events, w.begun)
		}
		if at = lead(0, 30*time.Minute); len(at.Events) != 1 || w.begun["q-20260601-120000"] != 1 {
			t.Errorf("%s: after the next one it tells %+v, begun are %v", missed, at.Events, w.begun)
		}
	}
}

// TestClockLeaps has the clock of the leader leap by an hour, ahead and back: nothing is begun twice, and what was
// leapt over is told.
func TestClockLeaps(t *testing.T) {
	t.Parallel()
	w, lead := one(t, schedule.Schedule{Service: "spider", Cron: "*/15 * * * *"}, six)
	lead(0, 20*time.Minute)
	at := lead(time.Hour, time.Minute) // 7:21 by the clock
	if len(at.Events) != 1 || at.Events[0].Count != 4 || len(w.begun) != 2 {
		t.Errorf("ahead: tells %+v, begun are %v", at.Events, w.begun)
	}
	lead(-time.Hour, 50*time.Minute) // from 6:21 to 7:11
	if len(w.begun) != 2 {
		t.Errorf("back: begun are %v", w.begun)
	}
	at = lead(0, 20*time.Minute)
	if len(at.Events) != 1 || w.begun["q-20260601-071500"] != 1 || w.begun["q-20260601-073000"] != 1 {
		t.Errorf("later: tells %+v, begun are %v", at.Events, w.begun)
	}
}

// TestReplace has each run stop the one before it.
func TestReplace(t *testing.T) {
	t.Parallel()
	w, lead := one(t, schedule.Schedule{Service: "spider", Cron: "* * * * *", Overlap: schedule.Replace}, six)
	w.last = 24 * time.Hour
	at := lead(0, 5*time.Minute+30*time.Second)
	if len(w.begun) != 5 || w.stopped != 4 || len(at.Events) > 0 {
		t.Errorf("%d stopped of %v, tells %+v", w.stopped, w.begun, at.Events)
	}
}

// TestUnknownService tells why no run begins, and begins again once it can.
func TestUnknownService(t *testing.T) {
	t.Parallel()
	w, lead := one(t, schedule.Schedule{Service: "gone", Cron: "*/30 * * * *"}, six)
	at := lead(0, 31*time.Minute)
	if !strings.Contains(at.Why, `unknown service "gone"`) || len(at.Waiting) != 1 || len(at.Events) > 0 {
		t.Errorf("at first: %+v", at)
	}
	at = lead(0, 10*time.Minute)
	if len(at.Waiting) > 0 || len(at.Events) != 1 || at.Events[0].Kind != schedule.Failed || len(w.begun) > 0 {
		t.Errorf("later: %+v", at)
	}
}

// TestDefined: the config file's schedules come, change and go with it, and stay where it can't be understood.
func TestDefined(t *testing.T) {
	t.Parallel()
	w, lead := one(t, schedule.Schedule{Service: "spider", Cron: "@daily"}, six)
	of := func(name, cron string) schedule.Schedule {
		return schedule.Schedule{Name: name, Service: "spider", Cron: cron, Replicas: 1}
	}
	names := func() (text string) {
		t.Helper()
		l := w.leads(1, 0)
		if err := l.keep.round(t.Context()); err != nil {
			t.Fatal(err)
		}
		list, err := l.store.List()
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range list {
			text += e.Name + " " + e.Cron + ", "
		}
		return text
	}
	lead(0, time.Second)
	w.defined = []schedule.Schedule{of("a", "@hourly"), of("b", "@hourly")}
	if got := names(); got != "a @hourly, b @hourly, q @daily, " {
		t.Errorf("got %q", got)
	}
	files := w.tree.all()
	if names(); !maps.Equal(files, w.tree.all()) {
		t.Error("what is the same is written again")
	}
	w.defined = []schedule.Schedule{of("b", "@weekly")}
	w.unknown = errors.New("of a newer version")
	if got := names(); got != "a @hourly, b @hourly, q @daily, " {
		t.Errorf("not understood: got %q", got)
	}
	w.unknown = nil
	if got := names(); got != "b @weekly, q @daily, " {
		t.Errorf("changed: got %q", got)
	}
}
