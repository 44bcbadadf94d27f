package holder

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"

	"github.com/crawlbox/crawlbox/appliance/base/clock"
	"github.com/crawlbox/crawlbox/appliance/holder/ask"
	"github.com/crawlbox/crawlbox/appliance/swarm/containers"
)

// Docker is the engine of this machine. containers.Engine is one.
type Docker interface {
	List(ctx context.Context) ([]containers.State, error)
	State(ctx context.Context, id string) (s containers.State, found bool, err error)
	Follow(ctx context.Context, following func() error, fn func(containers.Event)) error
}

const (
	// keptEndings are of containers that ended last: whoever asks does so within moments, or after a
	// restart.
	keptEndings = 4096
	// keptRuns are those of one container, which is started again and again.
	keptRuns = 4
	// looksAtOnce are the questions to the engine about single containers.
	looksAtOnce = 8
	// again is how long after an engine failed it is tried again.
	again = time.Second
	// The list is compared with what events said that often, and once more soon where it is not the same.
	listEvery, listSoon = 30 * time.Second, 5 * time.Second
	// grace is how long a program may take to end by a signal. One that ends within that time after events
	// are told may have got one before.
	grace = time.Minute
)

// table knows the containers of this machine: those that run, and how the last ones ended. What has happened
// since a moment it knows whole, from the engine's events, and of what was before only what the engine says of a
// container that is there.
type table struct {
	docker Docker
	log    *slog.Logger
	looks  singleflight.Group
	places chan struct{} // for looks

	mu      sync.Mutex
	since   time.Time           // when events begin; zero: none come
	listed  time.Time           // the engine was asked last which containers there are
	known   map[string]*history // by ID
	ended   []string            // those of known that have ended once, the oldest first
	changed map[string]*change  // by ID, for those who wait
}

// history is what is known of one container.
type history struct {
	containers.Container
	runs   bool // as events say
	ends   []end
	heard  int  // events
	queued bool // it is in table.ended

	// Of the run that goes on, or was when events began.
	born      bool // its start was an event
	signalled bool
	oom       bool

	// What the engine said, since events began.
	looked  bool
	old     time.Time // start of the run that was when events began, or the last before; zero: not known
	pid     int       // of the first process of a run that goes on; 0: not known
	started time.Time // that run

	listedAs int // heard, when the list had it otherwise than events; -1: it had not
}

// end is that of a run that began between from and at, or at started.
type end struct {
	ask.Ending
	from, at time.Time
	started  time.Time // zero: not known
	early    bool      // it began before events did, at from
}

func (e end) isOf(started time.Time) bool {
	return e.started.Equal(started) || !started.Before(e.from) && !started.After(e.at)
}

// change wakes those who wait for a container.
type change struct {
	happened chan struct{}
	users    int
}

func newTable(d Docker, log *slog.Logger) *table {
	return &table{
		docker:  d,
		log:     log,
		places:  make(chan struct{}, looksAtOnce),
		known:   map[string]*history{},
		changed: map[string]*change{},
	}
}

// follow keeps the table until ctx ends.
func (t *table) follow(ctx context.Context) {
	for ctx.Err() == nil {
		err := t.followOnce(ctx)
		t.mu.Lock()
		followed := !t.since.IsZero()
		t.since = time.Time{}
		t.mu.Unlock()
		if followed && ctx.Err() == nil {
			t.log.Debug("Docker no longer tells of its containers", "error", err)
		}
		_ = clock.Sleep(ctx, again)
	}
}

func (t *table) followOnce(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	var comparing sync.WaitGroup
	defer func() {
		cancel(nil)
		comparing.Wait()
	}()
	err := t.docker.Follow(ctx, func() error {
		asked := time.Now()
		list, err := t.docker.List(ctx)
		if err != nil {
			return err
		}
		t.begin(list, asked)
		comparing.Go(func() { cancel(t.compare(ctx)) })
		return nil
	}, t.take)
	return cmp.Or(context.Cause(ctx), err)
}

// begin takes the list of when events begin. Nothing is known any longer of what was before.
func (t *table) begin(list []containers.State, asked time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.since, t.listed = asked, asked
	for _, h := range t.known {
		h.runs, h.listedAs = false, -1
		h.forget()
	}
	for _, c := range list {
		t.of(c.Container).runs = c.Running
	}
	for id := range t.changed {
		t.wake(id)
	}
}

// forget drops what is not of events.
func (h *history) forget() {
	h.born, h.signalled, h.oom, h.looked, h.old, h.pid = false, false, false, false, time.Time{}, 0
}

// of is called with the lock held.
func (t *table) of(c containers.Container) *history {
	h := t.known[c.ID]
	if h == nil {
		h = &history{Container: c, listedAs: -1}
		t.known[c.ID] = h
	}
	return h
}

// errUntold is returned where the engine did not tell what has happened.
var errUntold = errors.New("the list of containers is not what the events say")

// compare compares the list with what events say, until ctx ends. What they do not say yet may be about to come,
// and what they do not say in the end was lost: all begins anew then.
func (t *table) compare(ctx context.Context) error {
	for wait := listEvery; clock.Sleep(ctx, wait) == nil; {
		asked := time.Now()
		list, err := t.docker.List(ctx)
		if err != nil {
			return err
		}
		same, lost := t.isSame(list, asked)
		if lost {
			return errUntold
		}
		if wait = listEvery; !same {
			wait = listSoon
		}
	}
	return nil
}

// isSame compares. What was otherwise the last time too, and of which nothing was heard since, is lost.
func (t *table) isSame(list []containers.State, asked time.Time) (same, lost bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.listed = asked
	running := map[string]bool{}
	for _, c := range list {
		running[c.ID] = c.Running
		if c.Running {
			t.of(c.Container)
		}
	}
	same = true
	for id, h := range t.known {
		if h.runs == running[id] {
			h.listedAs = -1
			continue
		}
		lost = lost || h.listedAs == h.heard
		h.listedAs, same = h.heard, false
	}
	for id := range t.changed {
		t.wake(id)
	}
	return same, lost
}

// take takes an event.
func (t *table) take(e containers.Event) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if e.At.Before(t.since) {
		return
	}
	h := t.of(e.Container)
	h.heard++
	switch e.Kind {
	case containers.Start:
		h.runs, h.born, h.signalled, h.oom = true, true, false, false
	case containers.Signal:
		h.signalled = true
	case containers.OutOfMemory:
		h.oom = true
		if n := len(h.ends); !h.runs && n > 0 {
			h.ends[n-1].OutOfMemory = true // the engine may hear of it late
		}
	case containers.Die:
		t.die(h, e)
	case containers.Remove:
		if h.runs {
			h.runs, h.pid = false, 0
			t.note(h, end{Ending: ask.Ending{Stopped: true}, at: e.At})
		}
		t.keep(h)
	}
}

func (t *table) die(h *history, e containers.Event) {
	h.runs, h.pid = false, 0
	t.note(h, end{
		Ending: ask.Ending{
			Known:       true,
			Code:        e.Code,
			OutOfMemory: h.oom,
			Stopped:     h.signalled || !h.born && e.At.Sub(t.since) < grace,
		},
		at: e.At,
	})
}

// note takes the end of the run that went on. It is called with the lock held.
func (t *table) note(h *history, e end) {
	e.from = t.since
	if n := len(h.ends); n > 0 && h.ends[n-1].at.After(e.from) {
		e.from = h.ends[n-1].at
	}
	if !h.born {
		e.started, e.early = h.old, true
	}
	h.ends = append(h.ends[max(0, len(h.ends)+1-keptRuns):], e)
	t.keep(h)
	t.wake(h.ID)
}

// keep has a container that has ended be forgotten in its turn. It is called with the lock held.
func (t *table) keep(h *history) {
	if !h.queued {
		h.queued = true
		t.ended = append(t.ended, h.ID)
	}
	for len(t.ended) > keptEndings {
		oldest := t.known[t.ended[0]]
		t.ended = t.ended[1:]
		oldest.queued = false
		if !oldest.runs {
			delete(t.known, oldest.ID)
		}
	}
}

// look asks the engine about a container.
func (t *table) look(ctx context.Context, id string) error {
	done := t.looks.DoChan(id, func() (any, error) {
		t.places <- struct{}{}
		defer func() { <-t.places }()
		asked := time.Now()
		s, found, err := t.docker.State(context.WithoutCancel(ctx), id)
		if err == nil {
			t.learn(id, s, found, asked)
		}
		return nil, err
	})
	select {
	case r := <-done:
		return r.Err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// learn takes what the engine says of a container.
func (t *table) learn(id string, s containers.State, found bool, asked time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	h := t.known[id]
	if h == nil && found {
		h = t.of(s.Container)
	}
	if h == nil {
		return
	}
	if found {
		h.Container = s.Container
	}
	if s.Running {
		h.started, h.pid = s.Started, s.PID
	}
	if t.since.IsZero() || asked.Before(t.since) {
		return
	}
	h.looked = true
	if !found || !s.Started.Before(t.since) {
		return // it is not known any more which run was when events began
	}
	h.old = s.Started
	if i := slices.IndexFunc(h.ends, func(e end) bool { return e.early && e.from.Equal(t.since) }); i >= 0 {
		h.ends[i].started = h.old
	} else if !s.Running && s.Ended.Before(t.since) {
		h.ends = append(h.ends, end{
			Ending: ask.Ending{Known: true, Code: s.Code, OutOfMemory: s.OutOfMemory, Stopped: true},
			from:   s.Started, at: s.Ended,
			started: s.Started,
		})
		t.keep(h)
	}
	t.wake(id)
}

// wake tells those who wait for a container that there is news. It is called with the lock held.
func (t *table) wake(id string) {
	if c := t.changed[id]; c != nil {
		close(c.happened)
		delete(t.changed, id)
	}
}

// What is known of a run whose ending is asked for.
type verdict int

const (
	over    verdict = iota
	runs            // as far as is known
	unclear         // the engine has to be asked
)

// judge is called with the lock held.
func (t *table) judge(id string, started time.Time) (ask.Ending, verdict) {
	unknown := ask.Ending{Stopped: true}
	h := t.known[id]
	if h != nil {
		for _, e := range h.ends {
			if e.isOf(started) {
				return e.Ending, over
			}
		}
	}
	switch {
	case h == nil && started.After(t.listed) && time.Until(started) < grace:
		return unknown, runs // its events are about to come
	case h == nil:
		return unknown, over
	case !started.Before(t.since) && len(h.ends) == keptRuns && started.Before(h.ends[0].from):
		return unknown, over // it is forgotten
	case !started.Before(t.since), h.runs && h.old.Equal(started):
		return unknown, runs
	case !h.looked:
		return unknown, unclear
	}
	return unknown, over
}

// awaitEnd waits until a run has ended. The error is that of ctx.
func (t *table) awaitEnd(ctx context.Context, id string, started time.Time) (ask.Ending, error) {
	for looked := false; ; {
		ending, v, c := t.await(id, started)
		if v == over {
			return ending, nil
		}
		if v == unclear && !looked && t.look(ctx, id) == nil {
			looked = true
			t.release(id, c)
			continue
		}
		var soon <-chan time.Time
		if v == unclear { // the engine has not told yet what it knows
			soon = time.After(again)
		}
		select {
		case <-c.happened:
		case <-soon:
		case <-ctx.Done():
		}
		looked = false
		t.release(id, c)
		if ctx.Err() != nil {
			return ask.Ending{}, ctx.Err()
		}
	}
}

// await judges, and returns what tells of a change; release is to be called then.
func (t *table) await(id string, started time.Time) (e ask.Ending, v verdict, c *change) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if e, v = t.judge(id, started); v == over {
		return e, v, nil
	}
	if c = t.changed[id]; c == nil {
		c = &change{happened: make(chan struct{})}
		t.changed[id] = c
	}
	c.users++
	return e, v, c
}

func (t *table) release(id string, c *change) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if c.users--; c.users == 0 && t.changed[id] == c {
		delete(t.changed, id)
	}
}

// run is one of a container that goes on.
type run struct {
	containers.Container
	started time.Time
	pid     int // of its first process
}

// find returns the run that a process is in, by the IDs in the names of its groups, of which the engine knows
// one, and by its first process, which is among those that were seen in a container of that ID.
func (t *table) find(ctx context.Context, ids []string, first func(id string, pid int) bool) (found run, ok bool,
	err error) {
	for _, id := range ids {
		if found, ok = t.runOf(id, first); ok {
			return found, true, nil
		}
		if err := t.look(ctx, id); err != nil { // what was known may be of a run before
			return found, false, err
		}
		if found, ok = t.runOf(id, first); ok {
			return found, true, nil
		}
	}
	return found, false, nil
}

func (t *table) runOf(id string, first func(id string, pid int) bool) (run, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	h := t.known[id]
	if h == nil || h.pid == 0 || !first(id, h.pid) {
		return run{}, false
	}
	return run{h.Container, h.started, h.pid}, true
}
