// Package leader says which manager leads the cluster: the one that does what must be done once, and answers what must
// be answered at one place.
//
// It is Swarm's leader, where that has the cluster's state and its crawlbox runs; else the first of those that have the
// state whom Swarm reaches. Each manager looks for itself, every two seconds. Where Swarm can't be asked, as without a
// majority of its managers, nobody leads after a moment. Two may think so for that long, and do no harm: what they
// change is guarded by Swarm's versions, by names that are there once, and by the head of the cluster's state.
package leader

import (
	"context"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/crawlbox/crawlbox/appliance/base/clock"
	"github.com/crawlbox/crawlbox/appliance/cluster/replica"
	"github.com/crawlbox/crawlbox/appliance/fleet"
	"github.com/crawlbox/crawlbox/appliance/lifecycle"
)

const (
	// lookEvery is how often a manager looks who leads, and lookTimeout bounds one look.
	lookEvery   = 2 * time.Second
	lookTimeout = 2 * time.Second
	// blind is how long what was seen counts while Swarm can't be asked.
	blind = 6 * time.Second
)

// Choose returns who leads of those with the state, in their order. gone reports whether the crawlbox at an address is
// known not to run. It is false where Swarm reaches none of them.
func Choose(nodes []fleet.Node, list []replica.Replica, gone func(netip.Addr) bool) (replica.Replica, bool) {
	var reached []replica.Replica // Swarm's leader first
	for _, r := range list {
		i := slices.IndexFunc(nodes, func(n fleet.Node) bool { return n.ID == r.Node })
		switch {
		case i < 0 || !nodes[i].Raft || nodes[i].Away():
		case nodes[i].Leader:
			reached = slices.Insert(reached, 0, r)
		default:
			reached = append(reached, r)
		}
	}
	for _, r := range reached {
		if !gone(r.Addr) {
			return r, true
		}
	}
	return replica.Replica{}, false
}

// Options are what a Watch looks with.
type Options struct {
	Self     netip.Addr                                  // of this manager
	Nodes    func(context.Context) ([]fleet.Node, error) // of the swarm
	Replicas func() []replica.Replica                    // the managers with the state
	// Gone reports whether the crawlbox at an address is known not to run.
	Gone func(netip.Addr) bool
}

// Watch knows who leads. Its methods may be called at the same time.
type Watch struct {
	Options
	seen time.Time // by Run: when Swarm was asked last, or need not be

	mu      sync.Mutex
	leader  netip.Addr // not valid: nobody leads
	changed chan struct{}
}

// New returns a watch that knows of nobody until Run looks.
func New(o Options) *Watch { return &Watch{Options: o, changed: make(chan struct{})} }

// Leader returns the address of the manager that leads, not valid where nobody does, and what is closed when that
// changes.
func (w *Watch) Leader() (addr netip.Addr, changed <-chan struct{}) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.leader, w.changed
}

// Run looks until ctx ends.
func (w *Watch) Run(ctx context.Context) error {
	for {
		w.look(ctx)
		if clock.Sleep(ctx, lookEvery) != nil {
			w.set(netip.Addr{})
			return nil
		}
	}
}

// look looks once.
func (w *Watch) look(ctx context.Context) {
	list := w.Replicas()
	if !slices.ContainsFunc(list, func(r replica.Replica) bool { return r.Addr != w.Self }) {
		w.seen = time.Now()
		w.set(w.Self) // also while its Docker is away
		return
	}
	ctx, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	nodes, err := w.Nodes(ctx)
	if err != nil {
		if time.Since(w.seen) >= blind {
			w.set(netip.Addr{})
		}
		return
	}
	w.seen = time.Now()
	r, _ := Choose(nodes, list, func(addr netip.Addr) bool { return addr != w.Self && w.Gone(addr) })
	w.set(r.Addr)
}

func (w *Watch) set(addr netip.Addr) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.leader == addr {
		return
	}
	w.leader = addr
	close(w.changed)
	w.changed = make(chan struct{})
}

// await waits until this manager leads, or does not, and reports whether ctx still runs.
func (w *Watch) await(ctx context.Context, leads bool) bool {
	for {
		addr, changed := w.Leader()
		if (addr == w.Self) == leads {
			return ctx.Err() == nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return false
		}
	}
}

// Part runs what build makes while this manager leads: made anew each time, and stopped when it leads no longer, one
// part after the other. ended is called when they have stopped. A part that ends by itself, or does not stop in time,
// ends this one.
func (w *Watch) Part(log *slog.Logger, build func() (parts []lifecycle.Part, ended func())) lifecycle.Part {
	return lifecycle.Background("leading", func(ctx context.Context) error {
		for w.await(ctx, true) {
			log.Info("this manager leads the cluster now")
			if err := w.lead(ctx, log, build); err != nil {
				return err
			}
			log.Info("this manager leads the cluster no longer")
		}
		return nil
	})
}

// lead runs the parts until this manager leads no longer, or ctx ends.
func (w *Watch) lead(ctx context.Context, log *slog.Logger, build func() ([]lifecycle.Part, func())) error {
	parts, ended := build()
	defer ended()
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		defer stop()
		w.await(ctx, false)
	}()
	err := lifecycle.Run(ctx, log, nil, parts...)
	stop()
	<-watched
	return err
}
