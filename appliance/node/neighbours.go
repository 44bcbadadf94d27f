package node

import (
	"context"
	"net/http"
	"net/netip"

	"github.com/crawlbox/crawlbox/appliance/agent"
	"github.com/crawlbox/crawlbox/appliance/agent/reach"
	"github.com/crawlbox/crawlbox/appliance/cluster/pki"
	"github.com/crawlbox/crawlbox/appliance/doctor"
	"github.com/crawlbox/crawlbox/appliance/fleet"
	"github.com/crawlbox/crawlbox/embedded/gossip"
)

func (m *Manager) neighbours(ctx context.Context) []doctor.Neighbour {
	at := agent.AtMembers(m.identity, m.members, m.cfg.Node.Port)
	p := m.prober(m.nodes, at, m.gossip, m.identity)
	return p.Probe(ctx, p.Ports(fleet.RoleManager, true))
}

func (w *Worker) neighbours(ctx context.Context) []doctor.Neighbour {
	at := agent.AtNodes(w.identity, w.cfg.Node.Port)
	p := w.prober(w.nodes, at, w.gossip, w.identity)
	return p.Probe(ctx, p.Ports(w.role, false))
}

func (g *ground) prober(
	c *http.Client, at func(netip.AddrPort) bool, members *gossip.Gossip, id *pki.Identity,
) reach.Prober {
	return reach.Prober{
		Client:   c,
		Self:     g.addr,
		Port:     g.cfg.Node.Port,
		At:       at,
		Members:  members.Members,
		Managers: func() []netip.AddrPort { return id.Membership().Managers },
		Ports:    func(role string, first bool) []uint16 { return doctor.Tried(needsOf(g.cfg, role, first)) },
	}
}
