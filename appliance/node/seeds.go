package node

import (
	"context"
	"net/netip"
	"sync"
	"time"
)

// around are the nodes that Swarm knew at some time.
type around struct {
	mu    sync.Mutex
	until time.Time // when to ask again
	addrs []netip.Addr
	every []netip.Addr // also of nodes that are down; as they were last, where Docker is away
}

func (a *around) all() []netip.Addr {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.every
}

// seeds are where gossip looks for others: every node that Swarm knows. A
// manager that lost all else finds its workers by this.
func (m *Manager) seeds() []netip.AddrPort {
	seeds := []netip.AddrPort{netip.AddrPortFrom(m.addr, m.cfg.Gossip.Port)}
	for _, a := range m.readyNodes() {
		if a != m.addr {
			seeds = append(seeds, netip.AddrPortFrom(a, m.cfg.Gossip.Port))
		}
	}
	return seeds
}

// readyNodes are the addresses of the nodes that are up. Many nodes that join at
// the same time cost one look at Swarm's list, which is long then.
func (m *Manager) readyNodes() []netip.Addr {
	m.around.mu.Lock()
	defer m.around.mu.Unlock()
	if time.Now().Before(m.around.until) {
		return m.around.addrs
	}
	ctx, cancel := context.WithTimeout(context.Background(), watchInterval)
	defer cancel()
	nodes, err := m.engine.Nodes(ctx)
	if err != nil {
		m.log.Debug("nodes for gossip are not known", "error", err)
	}
	all, ready := swarmAddrs(nodes)
	if m.around.addrs = ready; err == nil {
		m.around.every = all
	}
	m.around.until = time.Now().Add(watchInterval)
	return m.around.addrs
}
