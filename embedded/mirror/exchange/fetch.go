package exchange

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/crawlbox/crawlbox/embedded/mirror/exchange/cut"
)

const (
	// reviewEvery is how often a fetch looks whether something is too slow, and asks
	// again whom it let rest.
	reviewEvery = 100 * time.Millisecond
	// lateAfter is how late a review may come. What comes later is on a machine that is starved,
	// and says nothing of the others.
	lateAfter = 10 * reviewEvery
	// meetEvery is how often it asks a tracker for more nodes.
	meetEvery = 2 * time.Second
	// busyPatience is how many times longer one waits for others that are busy than for
	// those who do not answer.
	busyPatience = 10
)

// fetch brings one blob. All its state but part belongs to the goroutine of run;
// others hand it what they want done.
type fetch struct {
	x      *Exchange
	part   *cut.Partial
	has    string // a tracker that has the blob; empty: none may have
	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup
	do     chan func()
	theirs sync.Map // what each peer has, a Bitmap by address, for those who give news

	peers    map[string]*peer
	known    map[string]struct{} // nodes that are no peers now
	flights  map[*flight]struct{}
	met      time.Time     // when trackers were asked last
	replaced time.Time     // when a peer that had nothing to give made room
	typical  time.Duration // that a piece takes
	reviewed time.Time     // when the last review was
	gained   time.Time     // when the last bytes came
	promised time.Time     // when somebody last had what is missing, and no time for it
	alone    time.Time     // since when nobody but a tracker has what is missing; zero: somebody does
	fatal    error
	tally    tally
	lastFail error // of a node, for the message
}

func newFetch(ctx context.Context, x *Exchange, part *cut.Partial) *fetch {
	ctx, cancel := context.WithCancel(ctx)
	return &fetch{
		x:        x,
		part:     part,
		ctx:      ctx,
		cancel:   cancel,
		do:       make(chan func()),
		peers:    map[string]*peer{},
		known:    map[string]struct{}{},
		flights:  map[*flight]struct{}{},
		gained:   time.Now(),
		reviewed: time.Now(),
	}
}

// end stops all that run has begun, and waits for it.
func (f *fetch) end() {
	f.cancel()
	f.wg.Wait()
	for _, p := range f.peers {
		if !p.tracker {
			f.x.peerUse.remove(p.addr)
		}
	}
}

// later hands do to the goroutine of run. It does not wait for it to be done.
func (f *fetch) later(do func()) {
	select {
	case f.do <- do:
	case <-f.ctx.Done():
	}
}

// introduce tells a fetch of a node that takes part. It may be called by anyone.
func (f *fetch) introduce(node string) { f.later(func() { f.meet(node, true) }) }

func (f *fetch) run() error {
	for _, t := range f.x.o.Trackers() {
		f.peers[t] = &peer{addr: t, tracker: true, have: cut.Full(f.part.Table.Pieces())}
	}
	f.discover()
	review := time.NewTicker(reviewEvery)
	defer review.Stop()
	for {
		_, missing, _ := f.part.State()
		if missing == 0 {
			return f.fatal
		}
		f.assign()
		select {
		case do := <-f.do:
			do()
		case <-review.C:
			f.review()
		case <-f.ctx.Done():
			return f.ctx.Err()
		}
		if f.fatal != nil {
			return f.fatal
		}
	}
}

// review looks after what does not move by itself.
func (f *fetch) review() {
	now := time.Now()
	f.excuse(now.Sub(f.reviewed) - lateAfter)
	f.reviewed = now
	f.reviewFlights(now)
	f.refresh(now)
	if now.Sub(f.met) > meetEvery {
		f.discover()
	}
	if f.hopeless(now) {
		have, missing, _ := f.part.State()
		failed := f.lastFail
		if failed == nil {
			failed = errors.New("no node that has them is known")
		}
		f.fatal = fmt.Errorf("nobody gives the missing %d of %d pieces: %w", missing, have.Count()+missing, failed)
	}
}

// excuse does not count against others by how much this node's own review is late.
func (f *fetch) excuse(late time.Duration) {
	if late <= 0 {
		return
	}
	f.gained, f.promised = f.gained.Add(late), f.promised.Add(late)
	for fl := range f.flights {
		fl.moved = fl.moved.Add(late)
	}
}

// hopeless reports whether no peer gives anything any longer. A busy one makes others wait,
// but not for ever.
func (f *fetch) hopeless(now time.Time) bool {
	patience, waits := f.x.o.Patience, now.Sub(f.gained)
	return waits > patience && (now.Sub(f.promised) > patience || waits > busyPatience*patience)
}

// discover asks who else takes part: a tracker or, where none answers, all nodes.
func (f *fetch) discover() {
	f.met = time.Now()
	f.wg.Go(func() {
		nodes := f.participants()
		f.later(func() { f.meetAll(nodes) })
	})
}

func (f *fetch) participants() []string {
	ctx, cancel := context.WithTimeout(f.ctx, meetEvery)
	defer cancel()
	trackers := f.x.o.Trackers()
	if f.has != "" {
		trackers = append([]string{f.has}, trackers...)
	}
	for _, t := range trackers {
		if nodes, err := f.x.o.Network.Join(ctx, t, f.part.Digest); err == nil {
			return nodes
		}
	}
	return shuffled(f.x.o.Nodes())
}

// tally counts how the flights of a fetch ended, for the log.
type tally struct{ Tracker, Peers, Twice, Busy, Enough, Failed, Slow int }
