package node

import (
	"context"
	"net/http"
	"net/netip"

	"github.com/crawlbox/crawlbox/appliance/agent"
	"github.com/crawlbox/crawlbox/appliance/agent/reach"
	"github.com/crawlbox/crawlbox/appliance/doctor"
	"github.com/crawlbox/crawlbox/appliance/fleet"
	"github.com/crawlbox/crawlbox/embedded/gossip"
)

// tryEachOther has this node and others try each other's ports. The number of those
// that stand first among the others have the registry.
func (g *ground) tryEachOther(ctx context.Context, client *http.Client, own []doctor.Need, others []doctor.Neighbour, first int) []doctor.Neighbour {
	theirs := func(i int) []uint16 { return doctor.Tried(needsOf(g.cfg, others[i].Role, i < first)) }
	return reach.Try(ctx, client, g.cfg.Node.Port, doctor.Tried(own), others, theirs)
}

func (m *Manager) neighbours(ctx context.Context) []doctor.Neighbour {
	own := needsOf(m.cfg, fleet.RoleManager, true)
	known := m.known(m.gossip.Members(), agent.AtMembers(m.identity, m.members, m.cfg.Node.Port))
	return m.tryEachOther(ctx, m.nodes, own, known, 0)
}

func (w *Worker) neighbours(ctx context.Context) []doctor.Neighbour {
	var list []doctor.Neighbour
	known := w.known(w.gossip.Members(), agent.AtNodes(w.identity, w.cfg.Node.Port))
	asked := map[netip.Addr]bool{w.addr: true}
	for _, addr := range w.identity.Membership().Managers { // also those that gossip has lost
		n := doctor.Neighbour{Name: addr.Addr().String(), Role: fleet.RoleManager, Addr: addr.Addr()}
		for _, k := range known {
			if k.Addr == n.Addr {
				n.Name = k.Name
			}
		}
		if !asked[n.Addr] {
			list = append(list, n)
		}
		asked[n.Addr] = true
	}
	first := len(list)
	for _, n := range known {
		if !asked[n.Addr] {
			list = append(list, n)
		}
	}
	return w.tryEachOther(ctx, w.nodes, needsOf(w.cfg, w.role, false), list, first)
}

// known are the other nodes that have not left, as far as gossip has them where nodes
// are.
func (g *ground) known(members []gossip.Member, at func(netip.AddrPort) bool) (list []doctor.Neighbour) {
	for _, m := range members {
		if m.State != gossip.Left && m.Addr != g.addr && at(netip.AddrPortFrom(m.Addr, g.cfg.Node.Port)) {
			list = append(list, doctor.Neighbour{Name: m.Name, Role: m.Role, Addr: m.Addr})
		}
	}
	return list
}
