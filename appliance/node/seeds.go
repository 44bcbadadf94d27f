package node

import (
	"context"
	"net/netip"
	"sync"
	"time"

	"github.com/crawlbox/crawlbox/appliance/fleet"
)

// around are the nodes that Swarm knew at some time. Many nodes that join at the same
// time cost one look at Swarm's list, which is long then.
type around struct {
	mu    sync.Mutex
	until time.Time // when to ask again
	list  []fleet.Node
	err   error
	every []netip.Addr // of all, also of nodes that are down; as they were last, where Docker is away
}

func (a *around) all() []netip.Addr {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.every
}

// nodes returns what ask says, or said watchInterval ago at the most.
func (a *around) nodes(ask func(context.Context) ([]fleet.Node, error)) ([]fleet.Node, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if time.Now().Before(a.until) {
		return a.list, a.err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*watchInterval)
	defer cancel()
	a.list, a.err = ask(ctx)
	a.until = time.Now().Add(watchInterval)
	if a.err == nil {
		a.every = swarmAddrs(a.list)
	}
	return a.list, a.err
}

// forget has the next one ask.
func (a *around) forget() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.until = time.Time{}
}

// seeds are where gossip looks for others: every node that Swarm knows. A
// manager that lost all else finds its workers by this.
func (m *Manager) seeds() []netip.AddrPort {
	seeds := []netip.AddrPort{netip.AddrPortFrom(m.addr, m.cfg.Gossip.Port)}
	nodes, err := m.around.nodes(m.engine.Nodes)
	if err != nil {
		m.log.Debug("nodes for gossip are not known", "error", err)
	}
	for _, n := range nodes {
		if a, err := netip.ParseAddr(n.Addr); err == nil && n.State == fleet.StateReady && a != m.addr {
			seeds = append(seeds, netip.AddrPortFrom(a, m.cfg.Gossip.Port))
		}
	}
	return seeds
}
