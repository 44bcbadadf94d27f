// Package lifecycle runs the parts of a node as one thing.
//
//	            start in order                      stop in reverse
//	waiting ──▶ starting ──Ready──▶ running ──▶ stopping ──▶ stopped
//	                 └──────── error of Run ────────▲
//
// A part starts when all before it are ready. When the context ends, or any
// part's Run returns, the parts are stopped one by one, the last first, and
// each is given StopTimeout to come back. The first error is the group's.
package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"
)

// StopTimeout is how long one part may take to stop.
const StopTimeout = 10 * time.Second

// Component is a part of a node. Run blocks until ctx ends or it cannot go on,
// and has released everything when it returns. Ready is closed by Run as soon
// as the part serves. Run is called once.
type Component interface {
	Run(ctx context.Context) error
	Ready() <-chan struct{}
}

// Part is a component and the name it has in logs and errors.
type Part struct {
	Name string
	Component
}

// Run runs the parts until ctx ends, which is no error, or one of them fails.
// It calls ready, if given, when all of them are.
func Run(ctx context.Context, log *slog.Logger, ready func(), parts ...Part) error {
	g := &group{log: log, ended: make(chan result, len(parts))}
	err := g.start(ctx, parts)
	if err == nil {
		if ready != nil {
			ready()
		}
		err = g.wait(ctx)
	}
	return errors.Join(err, g.stop())
}

type result struct {
	name string
	err  error
}

type running struct {
	name   string
	cancel context.CancelFunc
	done   chan struct{}
}

type group struct {
	log   *slog.Logger
	ended chan result
	parts []running
}

func (g *group) start(ctx context.Context, parts []Part) error {
	for _, p := range parts {
		begun := time.Now()
		g.launch(p)
		select {
		case <-p.Ready():
			g.log.Debug("part is ready", "part", p.Name, "took", time.Since(begun))
		case r := <-g.ended:
			return r.failure()
		case <-ctx.Done():
			return nil
		}
	}
	return nil
}

// launch runs a part under a context of its own, so that it ends in its turn
// and not together with all the others.
func (g *group) launch(p Part) {
	ctx, cancel := context.WithCancel(context.Background())
	r := running{name: p.Name, cancel: cancel, done: make(chan struct{})}
	g.parts = append(g.parts, r)
	go func() {
		defer close(r.done)
		g.ended <- result{p.Name, p.Run(ctx)}
	}()
}

func (g *group) wait(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return nil
	case r := <-g.ended:
		return r.failure()
	}
}

// stop ends the parts in reverse order. What they return now is of interest
// only if they don't return at all.
func (g *group) stop() error {
	var errs []error
	for i := len(g.parts) - 1; i >= 0; i-- {
		p := g.parts[i]
		p.cancel()
		select {
		case <-p.done:
		case <-time.After(StopTimeout):
			errs = append(errs, fmt.Errorf("%s did not stop within %s", p.name, StopTimeout))
		}
	}
	return errors.Join(errs...)
}

func (r result) failure() error {
	if r.err == nil || errors.Is(r.err, context.Canceled) {
		return fmt.Errorf("%s ended by itself", r.name)
	}
	return fmt.Errorf("%s: %w", r.name, r.err)
}

// Func makes a component of a function, which calls ready when it serves.
func Func(run func(ctx context.Context, ready func()) error) Component {
	return &funcComponent{run: run, ready: make(chan struct{})}
}

type funcComponent struct {
	run   func(context.Context, func()) error
	ready chan struct{}
}

func (f *funcComponent) Run(ctx context.Context) error {
	return f.run(ctx, func() { close(f.ready) })
}

func (f *funcComponent) Ready() <-chan struct{} { return f.ready }

// Background returns a part that is ready at once.
func Background(name string, run func(ctx context.Context) error) Part {
	return Part{Name: name, Component: Func(func(ctx context.Context, ready func()) error {
		ready()
		return run(ctx)
	})}
}

// Announced returns the parts as such that say their names when they start.
func Announced(parts []Part, say func(name string)) []Part {
	list := make([]Part, len(parts))
	for i, p := range parts {
		list[i] = Part{Name: p.Name, Component: announced{p.Component, func() { say(p.Name) }}}
	}
	return list
}

type announced struct {
	Component
	say func()
}

func (a announced) Run(ctx context.Context) error {
	a.say()
	return a.Component.Run(ctx)
}
