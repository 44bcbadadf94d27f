// Package logkeeper keeps what the tasks of this node write: it follows Docker's log of each container that Swarm has
// started here, and writes it into the node's store, from where it stopped. Docker, which has the logs in files, waits
// for nobody who reads them, and neither does a task that writes: who can't keep up leaves lines out, and says so. It
// does not read those either, which would cost the task more than keeping them.
package logkeeper

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/crawlbox/crawlbox/appliance/base/clock"
	"github.com/crawlbox/crawlbox/appliance/logstore"
	"github.com/crawlbox/crawlbox/appliance/swarm"
	"github.com/crawlbox/crawlbox/appliance/swarm/containers"
	"github.com/crawlbox/crawlbox/appliance/tasklog"
)

const (
	// lookEvery is how often it is looked for containers, beside when Docker says that one began, and lookGap the least
	// between two looks.
	lookEvery = 10 * time.Second
	lookGap   = 300 * time.Millisecond
	// flushEvery is how long lines wait in memory for more.
	flushEvery = 10 * time.Second
	// againAfter lies between two tries to open a log, longer each time up to againMost.
	againAfter = time.Second
	againMost  = 30 * time.Second
	// maxTries is how often the log of a container that has ended is tried to be read.
	maxTries = 3
	// maxFollowed bounds the logs that are followed at a time.
	maxFollowed = 1000

	// maxRate bounds what is kept, in bytes a second of all tasks together with lineCost for each line, and burst what
	// may come at once. 10,000 lines of 300 bytes a second are kept.
	maxRate  = 4 << 20
	burst    = 4 << 20
	lineCost = 64
	// maxLag is how far behind a line may be that waits for its turn, else it goes on with the last lines, so many,
	// after a while. What was written while nobody followed it waits in any case.
	maxLag    = time.Second
	lastLines = 200
)

// Engine is Docker as far as it is needed here. Docker makes one.
type Engine interface {
	tasklog.Engine // of containers, by ID
	List(ctx context.Context) ([]containers.State, error)
	State(ctx context.Context, id string) (s containers.State, found bool, err error)
	Follow(ctx context.Context, following func() error, fn func(containers.Event)) error
}

// Docker is the engine of this machine.
func Docker(e *swarm.Engine) Engine { return docker{containers.New(e.Client()), e} }

type docker struct {
	containers.Engine
	swarm *swarm.Engine
}

// OpenLog implements tasklog.Engine.
func (d docker) OpenLog(ctx context.Context, id string, o swarm.LogOptions) (io.ReadCloser, error) {
	return d.swarm.OpenContainerLog(ctx, id, o)
}

// Keeper keeps logs.
type Keeper struct {
	engine Engine
	store  *logstore.Store
	node   string
	rate   *rate.Limiter
	log    *slog.Logger
	again  chan struct{} // there may be more containers

	running sync.WaitGroup
	mu      sync.Mutex
	known   map[string]*logstore.Writer // by the task's ID
}

// New returns what keeps the logs of a node, by its name.
func New(e Engine, s *logstore.Store, node string, log *slog.Logger) *Keeper {
	return &Keeper{
		engine: e,
		store:  s,
		node:   node,
		rate:   rate.NewLimiter(maxRate, burst),
		log:    log,
		again:  make(chan struct{}, 1),
		known:  map[string]*logstore.Writer{},
	}
}

// Run keeps logs until ctx ends.
func (k *Keeper) Run(ctx context.Context) error {
	defer k.running.Wait()
	k.running.Go(func() { k.hear(ctx) })
	tick := time.NewTicker(flushEvery / 4)
	defer tick.Stop()
	next := time.NewTimer(0)
	defer next.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			k.flush()
			continue
		case <-k.again:
			if clock.Sleep(ctx, lookGap) != nil {
				return nil
			}
		case <-next.C:
		}
		if err := k.look(ctx); err != nil && ctx.Err() == nil {
			k.log.Debug("failed to look for tasks whose logs are to be kept", "error", err)
		}
		next.Reset(lookEvery)
	}
}

// hear looks again when Docker begins a container.
func (k *Keeper) hear(ctx context.Context) {
	following := func() error { k.soon(); return nil }
	for ctx.Err() == nil {
		_ = k.engine.Follow(ctx, following, func(e containers.Event) { // it is looked in any case
			if e.Kind == containers.Start && e.Task != "" {
				k.soon()
			}
		})
		_ = clock.Sleep(ctx, againAfter)
	}
}

func (k *Keeper) soon() {
	select {
	case k.again <- struct{}{}:
	default:
	}
}

func (k *Keeper) flush() {
	k.mu.Lock()
	var all []*logstore.Writer
	for _, w := range k.known {
		if w != nil {
			all = append(all, w)
		}
	}
	k.mu.Unlock()
	for _, w := range all {
		if err := w.Flush(flushEvery); err != nil {
			k.log.Debug("failed to keep lines of a log", "error", err)
		}
	}
}

// look follows the containers that are new, and ends the logs of those that are gone.
func (k *Keeper) look(ctx context.Context) error {
	list, err := k.engine.List(ctx)
	if err != nil {
		return err
	}
	there := map[string]bool{}
	for _, c := range list {
		if !logstore.ValidID(c.Task) {
			continue
		}
		there[c.Task] = true
		t, known := k.store.Get(c.Task)
		if known && !t.Ended.IsZero() || !k.begin(c.Task) {
			continue
		}
		k.running.Go(func() {
			defer k.end(c.Task)
			if err := k.follow(ctx, c.Container); err != nil && ctx.Err() == nil {
				k.log.Debug("failed to keep a log", "task", c.Name, "error", err)
			}
		})
	}
	for _, t := range k.store.Tasks(func(t logstore.Task) bool { return t.Ended.IsZero() && !there[t.ID] }) {
		if k.begin(t.ID) {
			k.lose(t)
			k.end(t.ID)
		}
	}
	return nil
}

// begin reports whether a task's log is to be followed from now on.
func (k *Keeper) begin(task string) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	if _, known := k.known[task]; known || len(k.known) >= maxFollowed {
		return false
	}
	k.known[task] = nil
	return true
}

func (k *Keeper) end(task string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.known, task)
}

// lose ends the log of a task whose container went while nobody looked. What it ended by is not known.
func (k *Keeper) lose(t logstore.Task) {
	w, after, err := k.store.Write(t)
	if err != nil {
		return
	}
	if err := w.End(firstOf(after.Last, time.Unix(0, t.Changed).UTC()), -1, true); err != nil {
		k.log.Debug("failed to end the log of a task", "task", t.Name, "error", err)
	}
}

func firstOf(times ...time.Time) (t time.Time) {
	for _, t = range times {
		if !t.IsZero() {
			break
		}
	}
	return t
}

// followed is a log that is kept.
type followed struct {
	*Keeper
	w      *logstore.Writer
	from   tasklog.Position
	opened time.Time
	tail   int // lines to go on with; negative: all
}

// errBehind ends the reading of a log that can't be kept as fast as it is written.
var errBehind = errors.New("it is written faster than it can be kept")

// follow keeps the log of a container until that has ended.
func (k *Keeper) follow(ctx context.Context, c containers.Container) error {
	is, found, err := k.engine.State(ctx, c.ID)
	if err != nil || !found {
		return err
	}
	w, from, err := k.store.Write(taskOf(c, k.node, firstOf(is.Started, time.Now().UTC())))
	if err != nil {
		return err
	}
	k.mu.Lock()
	k.known[c.Task] = w
	k.mu.Unlock()
	f := followed{Keeper: k, w: w, from: from, tail: -1}
	wait := againAfter
	for tries := 0; ; {
		f.opened = time.Now()
		had := f.from
		take := func(line tasklog.Line, after tasklog.Position) error { return f.take(ctx, line, after) }
		err := tasklog.Keep(ctx, k.engine, c.ID, f.from, f.tail, f.missed, take)
		f.tail = -1
		if ctx.Err() != nil {
			return w.Close()
		}
		if f.from != had {
			tries, wait = 0, againAfter
		}
		if errors.Is(err, errBehind) {
			if f.tail = lastLines; clock.Sleep(ctx, againAfter) != nil {
				return w.Close()
			}
			continue
		}
		tries++
		is, found, failed := k.engine.State(ctx, c.ID)
		switch {
		case failed != nil: // Docker is away
		case !found:
			return w.End(firstOf(f.from.Last, time.Now().UTC()), -1, true)
		case is.Running, is.Ended.IsZero(): // or it has not begun
		case err == nil, tries >= maxTries:
			return w.End(is.Ended, is.Code, hasFailed(is))
		}
		if err != nil {
			k.log.Debug("failed to follow a log", "task", c.Name, "error", err)
			wait = min(2*wait, againMost)
		}
		if clock.Sleep(ctx, wait) != nil {
			return w.Close()
		}
	}
}

// hasFailed reports whether a container ended by itself and badly: what Docker sends a signal was to end.
func hasFailed(s containers.State) bool {
	const terminated = 128 + 15
	return s.OutOfMemory || s.Code != 0 && s.Code != terminated && s.Code != swarm.ExitKilled
}

// taskOf returns what a container says of its task.
func taskOf(c containers.Container, node string, began time.Time) logstore.Task {
	name := strings.TrimSuffix(c.Name, "."+c.Task)
	if !strings.HasPrefix(name, c.Service+".") {
		name = c.Service
	}
	return logstore.Task{
		ID:        c.Task,
		Service:   c.Service,
		Name:      name,
		Container: c.ID,
		Node:      node,
		Began:     began,
	}
}

// take keeps a line, unless there are too many.
func (f *followed) take(ctx context.Context, line tasklog.Line, after tasklog.Position) error {
	if cost := len(line.Text) + lineCost; !f.rate.AllowN(time.Now(), cost) {
		if line.Time.After(f.opened) && time.Since(line.Time) > maxLag {
			if f.from.Latest.IsZero() { // that this one is left out has to be said too
				before := line.Time.Add(-1)
				f.from = tasklog.Position{Latest: before, Same: 1, Last: before}
			}
			return errBehind
		}
		if err := f.rate.WaitN(ctx, cost); err != nil {
			return err
		}
	}
	f.from = after
	return f.keep(f.w.Add(line, after))
}

// keep goes on where there is no room: that is said in the log once there is some.
func (f *followed) keep(err error) error {
	if err != nil {
		f.log.Debug("failed to keep lines of a log", "error", err)
	}
	return nil
}

func (f *followed) missed(next time.Time) {
	why := "Docker dropped them before they could be kept"
	if f.tail >= 0 {
		why = "this node's tasks write more than it can keep"
	}
	span := next.Sub(f.from.Last).Round(time.Millisecond)
	text := fmt.Sprintf("the lines of %s before this were dropped: %s", span, why)
	_ = f.keep(f.w.Say(text, f.from.Last))
}
