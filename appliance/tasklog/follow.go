package tasklog

import (
	"context"
	"errors"
	"sort"
	"sync/atomic"
	"time"

	"github.com/crawlbox/crawlbox/appliance/base/clock"
	"github.com/crawlbox/crawlbox/appliance/swarm"
)

const (
	// window is how long a line waits for older ones of other tasks, and maxWindow how many
	// bytes wait so.
	window    = 100 * time.Millisecond
	maxWindow = 1 << 20

	// lookInterval is how often it is looked for new tasks.
	lookInterval = time.Second
	// lookPatience is how long that may fail.
	lookPatience = time.Minute
	// endedPatience is how long the end of a task may take to come.
	endedPatience = 3 * time.Second
	// reopenInterval lies between two tries to open a log that broke off.
	reopenInterval = 2 * time.Second
)

// follower follows the log of a task.
type follower struct {
	*source
	stop  context.CancelFunc
	ended bool         // it is followed no longer
	heard atomic.Int64 // when a line came last, in Unix nanoseconds
	shown time.Time    // of the last line
}

// arrival is a line that was heard.
type arrival struct {
	*follower
	Line
	at time.Time // for the order: no line of a task overtakes another
}

// following is the second half of a view.
type following struct {
	*reading
	in     chan arrival
	known  map[string]*follower // by the task's ID
	failed time.Time            // since when it is not known which tasks there are; zero: it is
}

// look is what tasks there are, or why that is not known.
type look struct {
	tasks []Task
	err   error
}

// follow shows what is written from now on.
func (r *reading) follow(ctx context.Context, sources []*source) error {
	f := following{reading: r, in: make(chan arrival, 64), known: map[string]*follower{}}
	for _, s := range sources {
		f.add(ctx, s)
	}
	looks := make(chan look)
	r.running.Go(func() { f.look(ctx, looks) })
	tick := time.NewTicker(window)
	defer tick.Stop()
	var waiting []arrival
	size := 0
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case l := <-looks:
			if err := f.take(ctx, l); err != nil {
				return err
			}
			continue
		case a := <-f.in:
			waiting = append(waiting, a.ordered())
			if size += len(a.Text); size < maxWindow {
				continue
			}
		case <-tick.C:
		}
		if err := f.show(waiting); err != nil {
			return err
		}
		waiting, size = nil, 0
	}
}

// ordered says where in the order of time a line stands.
func (a arrival) ordered() arrival {
	a.at = a.Time
	if a.at.Before(a.shown) {
		a.at = a.shown
	}
	a.shown = a.at
	return a
}

func (f *following) show(waiting []arrival) error {
	sort.SliceStable(waiting, func(i, j int) bool { return waiting[i].at.Before(waiting[j].at) })
	for _, a := range waiting {
		if err := f.Show(a.Task, a.Line); err != nil {
			return err
		}
	}
	return nil
}

// look looks for tasks, again and again.
func (f *following) look(ctx context.Context, looks chan<- look) {
	for clock.Sleep(ctx, lookInterval) == nil {
		tasks, err := f.Tasks(ctx)
		select {
		case looks <- look{tasks, err}:
		case <-ctx.Done():
		}
	}
}

// take follows tasks that are new, and no longer those that have ended.
func (f *following) take(ctx context.Context, l look) error {
	if l.err != nil {
		now := time.Now()
		if f.failed.IsZero() {
			f.failed = now
		}
		if now.Sub(f.failed) > lookPatience {
			return l.err
		}
		return nil
	}
	f.failed = time.Time{}
	there := map[string]bool{}
	for _, t := range l.tasks {
		there[t.ID] = true
		known := f.known[t.ID]
		switch {
		case known != nil:
			known.endWith(t)
		case t.Container != "" && t.Away == "" && f.followed() < maxTasks:
			f.add(ctx, f.source(t))
		}
	}
	for id, known := range f.known {
		if !there[id] {
			known.stop() // Swarm has forgotten it
			delete(f.known, id)
		}
	}
	return f.noteAway(l.tasks)
}

// followed counts the logs that are open.
func (f *following) followed() (n int) {
	for _, known := range f.known {
		if !known.ended {
			n++
		}
	}
	return n
}

// endWith stops following a task that has ended, once its last words have come: Swarm does not
// end its log.
func (w *follower) endWith(t Task) {
	quiet := time.Since(time.Unix(0, w.heard.Load()))
	if t.Ended() && quiet > endedPatience {
		w.stop()
		w.ended = true
	}
}

func (f *following) add(ctx context.Context, s *source) {
	own, stop := context.WithCancel(ctx)
	w := &follower{source: s, stop: stop}
	w.heard.Store(time.Now().UnixNano())
	f.known[s.ID] = w
	f.running.Go(func() { w.run(ctx, own, f.Since, f.in) })
}

// run sends the lines of a log until own ends, and then what is left of the last.
func (w *follower) run(ctx, own context.Context, since time.Time, in chan<- arrival) {
	emit := func(line Line) error {
		w.heard.Store(time.Now().UnixNano())
		select {
		case in <- arrival{follower: w, Line: line}:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	for own.Err() == nil {
		err := w.log.pass(own, swarm.LogOptions{Follow: true, Tail: -1, Since: since}, emit)
		if errors.Is(err, swarm.ErrNotFound) {
			break
		}
		_ = clock.Sleep(own, reopenInterval)
	}
	_ = w.log.joiner.flush(emit)
}
