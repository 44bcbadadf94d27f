// Package addressbook knows where the nodes of a cluster are, as a manager sees it: where
// Swarm sees them, and where they came from when they got their certificates. Nodes are
// told, and connect to no other address; gossip begins with those that are up.
package addressbook

import (
	"context"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/crawlbox/crawlbox/appliance/base/clock"
	"github.com/crawlbox/crawlbox/appliance/fleet"
)

const (
	// maxAddrs bounds the addresses that nodes are told.
	maxAddrs = 5000
	// maxAge is how old what Swarm said of its nodes may be.
	maxAge = 2 * time.Second
)

type Swarm interface {
	Nodes(ctx context.Context) ([]fleet.Node, error)
}

// Book has the addresses. Its methods may be called at the same time.
type Book struct {
	swarm     Swarm
	certified func() []netip.Addr
	self      netip.Addr
	log       *slog.Logger

	// mu is held while Swarm is asked: many nodes that join at the same time cost one look
	// at its list, which is long then.
	mu    sync.Mutex
	until time.Time // when to ask again
	nodes []fleet.Node
	err   error
	seen  []netip.Addr // also of nodes that are down; as they were last, where Docker is away

	knownMu sync.Mutex
	known   []netip.Addr // sorted
}

// New makes the book of a manager that others reach at self. certified returns where nodes
// came from when they got their certificates. Swarm is not asked yet.
func New(s Swarm, certified func() []netip.Addr, self netip.Addr, log *slog.Logger) *Book {
	b := &Book{swarm: s, certified: certified, self: self, log: log}
	b.update()
	return b
}

// Nodes returns what Swarm says of its nodes, or said a moment ago.
func (b *Book) Nodes() ([]fleet.Node, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if time.Now().Before(b.until) {
		return b.nodes, b.err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*maxAge)
	defer cancel()
	b.nodes, b.err = b.swarm.Nodes(ctx)
	b.until = time.Now().Add(maxAge)
	if b.err == nil {
		b.seen = addrs(b.nodes)
	}
	return b.nodes, b.err
}

// Forget has the next question for nodes go to Swarm.
func (b *Book) Forget() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.until = time.Time{}
}

// Known returns the addresses at which nodes are.
func (b *Book) Known() []netip.Addr {
	b.knownMu.Lock()
	defer b.knownMu.Unlock()
	return b.known
}

// Seeds returns where gossip looks for others, on a port: every node that Swarm knows. A
// manager that lost all else finds its workers by this.
func (b *Book) Seeds(port uint16) []netip.AddrPort {
	nodes, err := b.Nodes()
	if err != nil {
		b.log.Debug("failed to list the nodes for gossip", "error", err)
	}
	seeds := []netip.AddrPort{netip.AddrPortFrom(b.self, port)}
	for _, n := range nodes {
		if a, err := netip.ParseAddr(n.Addr); err == nil && n.State == fleet.StateReady && a != b.self {
			seeds = append(seeds, netip.AddrPortFrom(a, port))
		}
	}
	return seeds
}

// Run keeps the book until ctx ends, and calls changed whenever Known changes.
func (b *Book) Run(ctx context.Context, changed func() error) error {
	for {
		_, _ = b.Nodes()
		if b.update() {
			if err := changed(); err != nil {
				b.log.Warn("failed to tell nodes where the others are", "error", err)
			}
		}
		if clock.Sleep(ctx, maxAge) != nil {
			return nil
		}
	}
}

// update reports whether the addresses are others than before.
func (b *Book) update() (changed bool) {
	b.mu.Lock()
	all := append([]netip.Addr{b.self}, b.seen...)
	b.mu.Unlock()
	return b.set(append(all, b.certified()...))
}

// set takes addresses, of too many the first, and reports whether they are others than
// before.
func (b *Book) set(all []netip.Addr) (changed bool) {
	seen := map[netip.Addr]bool{}
	known := make([]netip.Addr, 0, len(all))
	for _, a := range all {
		if !seen[a] && len(known) < maxAddrs {
			seen[a] = true
			known = append(known, a)
		}
	}
	slices.SortFunc(known, netip.Addr.Compare)
	b.knownMu.Lock()
	defer b.knownMu.Unlock()
	changed = !slices.Equal(b.known, known)
	b.known = known
	return changed
}

func addrs(nodes []fleet.Node) (list []netip.Addr) {
	for _, n := range nodes {
		if a, err := netip.ParseAddr(n.Addr); err == nil && !a.IsUnspecified() {
			list = append(list, a.Unmap())
		}
	}
	return list
}
