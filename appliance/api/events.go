package api

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/crawlbox/crawlbox/appliance/deploy"
	"github.com/crawlbox/crawlbox/appliance/upgrade"
)

// Lag says what becomes of the events that a client has not read when there are too many:
// a change waits for nobody who looks at it, whether that is stopped, or reads in a pager.
type Lag[T any] struct {
	// Waits reports whether a call waits for its client all the same. nil: none does.
	Waits func(*http.Request) bool
	// Size is how much room an event takes; nil: 1. Most is the room; 0: maxWaiting.
	Size func(T) int
	Most int
	// Same names what an event tells the state of: only the newest of each name counts.
	// Events without a name, all where it is nil, count each.
	Same func(T) string
	// Last reports whether an event is the end of something, which is never left out; nil: none
	// is.
	Last func(T) bool
	// Tell returns the event that says that n were left out. next is the one that follows.
	Tell func(n int, next T) T
}

const (
	// maxWaiting bounds the events that wait for a client, beside those that are the end of
	// something, and maxLines the lines of logs, in bytes.
	maxWaiting = 256
	maxLines   = 8 << 20
)

// Words about what was left out.
func leftOut(n int) string {
	return fmt.Sprintf("%d steps are left out here: they were not read in time", n)
}

// changeLag is of the progress of changes.
var changeLag = Lag[deploy.Progress]{
	Same: func(p deploy.Progress) string { return p.Service + "\n" + string(p.Stage) + "\n" + p.Note },
	Last: func(p deploy.Progress) bool { return p.Done != nil },
	Tell: func(n int, next deploy.Progress) deploy.Progress {
		next.Done, next.Note = nil, leftOut(n)
		return next
	},
}

// buildLag is of the steps of builds.
var buildLag = Lag[BuildEvent]{
	Same: func(e BuildEvent) string {
		switch {
		case e.Push != nil:
			return "push"
		case e.Step != nil && e.Step.Line == "":
			return fmt.Sprint("step ", e.Step.N, e.Step.State)
		}
		return ""
	},
	Last: func(e BuildEvent) bool { return e.Image != "" },
	Tell: func(n int, _ BuildEvent) BuildEvent { return BuildEvent{Line: leftOut(n)} },
}

// upgradeLag is of what happens to nodes in an upgrade.
var upgradeLag = Lag[upgrade.Event]{
	Tell: func(n int, next upgrade.Event) upgrade.Event { return upgrade.Event{Node: next.Node, Text: leftOut(n)} },
}

// logLag is of lines of logs. Those that are there wait for their reader in Docker.
var logLag = Lag[LogLine]{
	Waits: func(r *http.Request) bool { follow, err := flag(r, "follow"); return err != nil || !follow },
	Most:  maxLines,
	Size:  func(l LogLine) int { return len(l.Text) + 256 },
	Tell: func(n int, next LogLine) LogLine {
		return LogLine{Time: next.Time, Text: fmt.Sprintf("%d lines are left out here: they were not read in time", n)}
	},
}

// lag is a Lag of any events: one outbox is for all kinds of them.
type lag struct {
	most  int
	waits func(*http.Request) bool
	size  func(any) int
	same  func(any) string
	last  func(any) bool
	tell  func(n int, next any) any
}

// ofAny returns it with what is not set.
func (l Lag[T]) ofAny() lag {
	is := lag{
		most:  cmp.Or(l.Most, maxWaiting),
		waits: l.Waits,
		size:  func(any) int { return 1 },
		same:  func(any) string { return "" },
		last:  func(any) bool { return false },
		tell:  func(n int, next any) any { return l.Tell(n, next.(T)) },
	}
	if l.Size != nil {
		is.size = func(v any) int { return l.Size(v.(T)) }
	}
	if l.Same != nil {
		is.same = func(v any) string { return l.Same(v.(T)) }
	}
	if l.Last != nil {
		is.last = func(v any) bool { return l.Last(v.(T)) }
	}
	return is
}

// outbox holds the events that wait for a client.
type outbox struct {
	lag
	write func(any) error
	ended chan struct{} // once the last event is written, or none can be

	mu      sync.Mutex
	changed sync.Cond
	waiting []any
	room    int // that they take
	missed  int // left out before the next one
	closed  bool
	err     error // of a write
}

func newOutbox(l lag, write func(any) error) *outbox {
	o := &outbox{lag: l, write: write, ended: make(chan struct{})}
	o.changed.L = &o.mu
	go o.run()
	return o
}

// send takes an event in. It fails when the client is gone.
func (o *outbox) send(v any) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.err != nil {
		return o.err
	}
	o.waiting = append(o.waiting, v)
	o.room += o.size(v)
	if o.room > o.most && len(o.waiting) > 1 {
		all := len(o.waiting)
		o.waiting, o.room = o.shorten(o.waiting)
		o.missed += all - len(o.waiting)
	}
	o.changed.Signal()
	return nil
}

// shorten returns the events that count, and of these the newest, and the room that they take.
// There is some for more then.
func (l lag) shorten(events []any) (kept []any, room int) {
	newest := map[string]bool{}
	ends := 0 // the room of those that are never left out
	for _, v := range slices.Backward(events) {
		name, n := l.same(v), l.size(v)
		if l.last(v) {
			ends += n
		} else if room-ends+n > l.most*3/4 || name != "" && newest[name] {
			continue
		}
		newest[name] = true
		room += n
		kept = append(kept, v)
	}
	slices.Reverse(kept)
	return kept, room
}

// run writes events until the last.
func (o *outbox) run() {
	defer close(o.ended)
	for {
		missed, v := o.next()
		if v == nil {
			return
		}
		var err error
		if missed > 0 {
			err = o.write(o.tell(missed, v))
		}
		if err == nil {
			err = o.write(v)
		}
		if err != nil {
			o.mu.Lock()
			o.err, o.waiting = err, nil
			o.mu.Unlock()
			return
		}
	}
}

// next waits for an event; nil: there will be none.
func (o *outbox) next() (missed int, v any) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for len(o.waiting) == 0 && !o.closed {
		o.changed.Wait()
	}
	if len(o.waiting) == 0 {
		return 0, nil
	}
	missed, v, o.missed = o.missed, o.waiting[0], 0
	o.waiting[0] = nil // nobody holds it any longer
	o.waiting = o.waiting[1:]
	o.room -= o.size(v)
	return missed, v
}

// lastWords is how long a client may take to read them once its call is cancelled.
const lastWords = time.Second

// drain writes what waits, as long as the client is there and the server is not stopped.
func (o *outbox) drain(ctx context.Context, w http.ResponseWriter) {
	o.mu.Lock()
	o.closed = true
	o.changed.Signal()
	o.mu.Unlock()
	defer context.AfterFunc(ctx, func() {
		_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(lastWords))
	})()
	<-o.ended
}
