// Package peaks observes how much memory and processor time the containers of tasks take on a node at the highest, so
// that the record of a run can say it when its containers, and with them what the kernel knew, are gone.
//
// Memory is as `docker stats` shows it: what is in use without files that the kernel keeps and can drop at once, since
// that is what a limit has to leave room for. It is looked at 5 times in the first 10 seconds of a container and every
// 10 seconds then. What was higher between two looks counts too, where the kernel knows it (memory.peak of cgroups
// version 2 since Linux 5.19, memory.max_usage_in_bytes of version 1), less the files that are kept at the second: a
// program that has dropped files since then, as by removing them, is said to have taken more than it did, but never
// more than the kernel has seen.
//
// Processor time is the highest average over some 10 seconds, in processors; of a container that ends sooner, that from
// the first look at it to the last. Less than a second says nothing.
//
// Nothing is on disk. A crawlbox that starts anew goes on with the containers that run, of whose memory the kernel
// knows the highest; what those were that have ended meanwhile nobody knows.
package peaks

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"sync"
	"time"

	"github.com/crawlbox/crawlbox/appliance/base/clock"
	"github.com/crawlbox/crawlbox/appliance/fleet"
	"github.com/crawlbox/crawlbox/appliance/swarm/containers"
)

// Docker is the engine of this machine. containers.Engine is one.
type Docker interface {
	List(ctx context.Context) ([]containers.State, error)
	State(ctx context.Context, id string) (s containers.State, found bool, err error)
	Follow(ctx context.Context, following func() error, fn func(containers.Event)) error
}

const (
	// tick is how often it is seen whether there is something to look at.
	tick = 500 * time.Millisecond
	// again is how long after Docker failed it is asked again.
	again = time.Second
	// finders are the containers that Docker is asked about at a time.
	finders = 4
	// maxRunning bounds the containers that are looked at, and those that are to be found: one more is not.
	maxRunning = 4096
)

// Watcher observes the containers of this machine's tasks. Its methods may be called at the same time.
type Watcher struct {
	docker Docker
	kernel kernel
	most   int // containers that are looked at
	log    *slog.Logger
	begun  chan containers.Container // those that are to be found

	mu      sync.Mutex
	running map[string]*use // by ID of the container
	ended   ended
}

// New returns what observes the containers of an engine.
func New(d Docker, log *slog.Logger) *Watcher {
	return newWatcher(d, kernel{"/proc", "/sys/fs/cgroup"}, log)
}

func newWatcher(d Docker, k kernel, log *slog.Logger) *Watcher {
	return &Watcher{
		docker:  d,
		kernel:  k,
		most:    maxRunning,
		log:     log,
		begun:   make(chan containers.Container, maxRunning),
		running: map[string]*use{},
	}
}

// Run observes until ctx ends.
func (w *Watcher) Run(ctx context.Context) {
	var all sync.WaitGroup
	all.Go(func() { w.follow(ctx) })
	for range finders {
		all.Go(func() { w.find(ctx) })
	}
	for clock.Sleep(ctx, tick) == nil {
		w.look()
	}
	all.Wait()
}

// follow hears of containers that begin and end.
func (w *Watcher) follow(ctx context.Context) {
	for ctx.Err() == nil {
		err := w.docker.Follow(ctx, func() error { return w.list(ctx) }, func(event containers.Event) {
			switch event.Kind {
			case containers.Start:
				w.begin(event.Container)
			case containers.Die:
				w.end(event.ID)
			}
		})
		if ctx.Err() == nil {
			w.log.Debug("Docker no longer tells of its containers", "error", err)
		}
		_ = clock.Sleep(ctx, again)
	}
}

// list has those found that run already.
func (w *Watcher) list(ctx context.Context) error {
	list, err := w.docker.List(ctx)
	if err != nil {
		return err
	}
	for _, c := range list {
		if c.Running {
			w.begin(c.Container)
		} else {
			w.end(c.ID)
		}
	}
	return nil
}

func (w *Watcher) begin(c containers.Container) {
	if c.Task == "" {
		return
	}
	select {
	case w.begun <- c:
	default:
		w.log.Debug("too many containers begin; what one takes is not observed", "task", c.Task)
	}
}

// find finds the cgroups of containers that have begun.
func (w *Watcher) find(ctx context.Context) {
	for {
		select {
		case c := <-w.begun:
			if err := w.found(ctx, c); err != nil && ctx.Err() == nil {
				w.log.Debug("failed to find what a container takes", "task", c.Task, "error", err)
			}
		case <-ctx.Done():
			return
		}
	}
}

func (w *Watcher) found(ctx context.Context, c containers.Container) error {
	w.mu.Lock()
	_, known := w.running[c.ID]
	full := len(w.running) >= w.most
	w.mu.Unlock()
	if known || full {
		return nil
	}
	state, there, err := w.docker.State(ctx, c.ID)
	if err != nil || !there || !state.Running {
		return err
	}
	g, ok := w.kernel.find(state.PID, c.ID)
	if !ok {
		return nil
	}
	is, err := g.read()
	if err != nil {
		return err
	}
	u := newUse(g, c.Task, c.Service)
	u.saw(is, time.Now())
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.running) < w.most {
		w.running[c.ID] = u
	}
	return nil
}

// look looks at the containers whose time has come.
func (w *Watcher) look() {
	now := time.Now()
	due := map[string]group{}
	w.mu.Lock()
	for id, u := range w.running {
		if !u.next.After(now) {
			due[id] = u.group
		}
	}
	w.ended.forget(now)
	w.mu.Unlock()
	for id, g := range due {
		is, err := g.read()
		now := time.Now()
		if errors.Is(err, fs.ErrNotExist) { // which Docker tells too, unless it is away
			w.end(id)
			continue
		}
		w.mu.Lock()
		if u, ok := w.running[id]; ok {
			u.saw(is, now)
		}
		w.mu.Unlock()
	}
}

func (w *Watcher) end(id string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if u, ok := w.running[id]; ok {
		delete(w.running, id)
		w.ended.add(u, time.Now())
	}
}

// Of returns what is known of tasks by their IDs, those that run and those that have ended.
func (w *Watcher) Of(tasks []string) map[string]fleet.Peak {
	asked := make(map[string]bool, len(tasks))
	for _, id := range tasks {
		asked[id] = true
	}
	known := map[string]fleet.Peak{}
	add := func(task string, p fleet.Peak) {
		if asked[task] && (p.Memory != nil || p.CPU != nil) {
			known[task] = known[task].Or(p)
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ended.each(add)
	for _, u := range w.running {
		add(u.task, u.peak())
	}
	return known
}
