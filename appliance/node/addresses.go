package node

import (
	"context"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/crawlbox/crawlbox/appliance/fleet"
)

// maxWhere bounds the addresses that nodes are told.
const maxWhere = 5000

// whereabouts are the addresses of all nodes, as the manager knows them.
type whereabouts struct {
	mu    sync.Mutex
	addrs []netip.Addr // sorted
}

func (w *whereabouts) list() []netip.Addr {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.addrs
}

// set reports whether the addresses are others than before. Of too many the first stay.
func (w *whereabouts) set(all []netip.Addr) (changed bool) {
	seen := map[netip.Addr]bool{}
	addrs := make([]netip.Addr, 0, len(all))
	for _, a := range all {
		if !seen[a] && len(addrs) < maxWhere {
			seen[a] = true
			addrs = append(addrs, a)
		}
	}
	slices.SortFunc(addrs, netip.Addr.Compare)
	w.mu.Lock()
	defer w.mu.Unlock()
	changed = !slices.Equal(w.addrs, addrs)
	w.addrs = addrs
	return changed
}

// tellWhere tells nodes where all are, whenever that changes.
func (m *Manager) tellWhere(ctx context.Context) error {
	tick := time.NewTicker(watchInterval)
	defer tick.Stop()
	for {
		_, _ = m.around.nodes(m.engine.Nodes)
		if m.where.set(m.whereNodesAre()) {
			if err := m.joins.Refresh(); err != nil {
				m.log.Warn("tell nodes where the others are", "error", err)
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// whereNodesAre are the addresses at which Swarm sees its nodes, and then those from
// which nodes came when they got their certificates.
func (m *Manager) whereNodesAre() []netip.Addr {
	addrs := append([]netip.Addr{m.addr}, m.around.all()...)
	for _, n := range m.members.All() {
		if n.Remote.IsValid() {
			addrs = append(addrs, n.Remote.Unmap())
		}
	}
	return addrs
}

// swarmAddrs are the addresses of nodes.
func swarmAddrs(nodes []fleet.Node) (addrs []netip.Addr) {
	for _, n := range nodes {
		if a, err := netip.ParseAddr(n.Addr); err == nil && !a.IsUnspecified() {
			addrs = append(addrs, a.Unmap())
		}
	}
	return addrs
}
