package holder

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/crawlbox/crawlbox/appliance/swarm/containers"
)

// engine is a Docker Engine with containers that do nothing but begin and end, for tests with a simulated
// clock. It tells late.
type engine struct {
	late func() time.Duration // before an event is told, and a question is answered

	mu       sync.Mutex
	away     bool
	all      map[string]*containers.State
	log      []containers.Event
	told     map[chan struct{}]bool // who follows
	restarts int
	begun    int // containers; the last process
	asked    int // questions about one container
}

func newEngine(late func() time.Duration) *engine {
	if late == nil {
		late = func() time.Duration { return 0 }
	}
	return &engine{late: late, all: map[string]*containers.State{}, told: map[chan struct{}]bool{}}
}

var errAway = errors.New("no engine answers")

// id returns that of a container by its number.
func id(n int) string { return fmt.Sprintf("%064x", n) }

func (e *engine) List(ctx context.Context) (list []containers.State, err error) {
	time.Sleep(e.late())
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.away {
		return nil, errAway
	}
	for _, c := range e.all {
		list = append(list, containers.State{Container: c.Container, Running: c.Running})
	}
	return list, ctx.Err()
}

func (e *engine) State(ctx context.Context, id string) (s containers.State, found bool, err error) {
	time.Sleep(e.late())
	e.mu.Lock()
	e.asked++
	c := e.all[id]
	if c != nil {
		s = *c
	}
	away := e.away
	e.mu.Unlock()
	time.Sleep(e.late())
	if away {
		return s, false, errAway
	}
	return s, c != nil, ctx.Err()
}

func (e *engine) Follow(ctx context.Context, following func() error, fn func(containers.Event)) error {
	e.mu.Lock()
	if e.away {
		e.mu.Unlock()
		return errAway
	}
	news := make(chan struct{}, 1)
	e.told[news] = true
	restarts := e.restarts
	next := len(e.log)
	e.mu.Unlock()
	defer func() {
		e.mu.Lock()
		defer e.mu.Unlock()
		delete(e.told, news)
	}()
	if err := following(); err != nil {
		return err
	}
	for {
		e.mu.Lock()
		events, ended := slices.Clone(e.log[min(next, len(e.log)):]), e.away || e.restarts != restarts
		next = len(e.log)
		e.mu.Unlock()
		if ended {
			return errAway // what was not told yet is not
		}
		for _, event := range events {
			time.Sleep(e.late())
			fn(event)
		}
		select {
		case <-news:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// tell is called with the lock held.
func (e *engine) tell(kind string, c containers.Container, code int) {
	e.log = append(e.log, containers.Event{Kind: kind, Container: c, At: time.Now(), Code: code})
	e.wake()
}

func (e *engine) wake() {
	for news := range e.told {
		select {
		case news <- struct{}{}:
		default:
		}
	}
}

// begin starts a container, which may be there, and returns when its run began.
func (e *engine) begin(n int) time.Time {
	e.mu.Lock()
	defer e.mu.Unlock()
	c := e.all[id(n)]
	if c == nil {
		c = &containers.State{Container: containers.Container{ID: id(n), Name: fmt.Sprint("c", n)}}
		e.all[id(n)] = c
		e.tell(containers.Create, c.Container, 0)
	}
	e.begun++
	c.Running, c.PID, c.Started, c.Ended = true, e.begun, time.Now(), time.Time{}
	e.tell(containers.Start, c.Container, 0)
	return c.Started
}

func (e *engine) signal(n int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if c := e.all[id(n)]; c != nil && c.Running {
		e.tell(containers.Signal, c.Container, 0)
	}
}

func (e *engine) outOfMemory(n int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.all[id(n)].OutOfMemory = true
	e.tell(containers.OutOfMemory, e.all[id(n)].Container, 0)
}

func (e *engine) die(n, code int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if c := e.all[id(n)]; c != nil && c.Running {
		e.begun++
		c.Running, c.PID, c.Code, c.Ended = false, 0, code, time.Now()
		e.tell(containers.Die, c.Container, code)
	}
}

func (e *engine) remove(n int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if c := e.all[id(n)]; c != nil && !c.Running {
		delete(e.all, id(n))
		e.tell(containers.Remove, c.Container, 0)
	}
}

// leave stops the engine, which forgets its events; containers that end then are noted, and not told.
func (e *engine) leave() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.away = true
	e.restarts++
	e.wake()
}

func (e *engine) comeBack() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.away, e.log = false, nil
}

// cut ends the connections of those who follow.
func (e *engine) cut() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.restarts++
	e.wake()
}
