package node

import (
	"context"
	"net/netip"

	"github.com/crawlbox/crawlbox/appliance/failpoint"
	"github.com/crawlbox/crawlbox/appliance/fleet"
	"github.com/crawlbox/crawlbox/appliance/join"
)

// removeNode ends a node's access and takes it off Swarm's list. Its certificate
// goes first: whatever fails after that, the node is out, and the same command
// again does the rest.
func (m *Manager) removeNode(ctx context.Context, n fleet.Node, force bool) error {
	all, err := m.engine.Nodes(ctx)
	if err != nil {
		return err
	}
	known := make([]join.SwarmNode, len(all))
	for i, o := range all {
		known[i] = swarmNode(o)
	}
	found := m.members.Find(swarmNode(n), known)
	ids := make([]string, len(found))
	for i, member := range found {
		ids[i] = member.ID
	}
	if err := m.cutOff(ctx, n.Role, ids...); err != nil {
		return err
	}
	failpoint.Hit(failpoint.RemoveRefused)
	return m.engine.RemoveNode(ctx, n.ID, force)
}

// cutOff ends the access of nodes: their certificates, their key of gossip, and
// Swarm's own token, which they got to join.
func (m *Manager) cutOff(ctx context.Context, role string, ids ...string) error {
	for _, id := range ids {
		if err := m.joins.Remove(id); err != nil {
			return err
		}
	}
	return m.engine.RotateJoinToken(ctx, role)
}

func swarmNode(n fleet.Node) join.SwarmNode {
	addr, _ := netip.ParseAddr(n.Addr)
	return join.SwarmNode{ID: n.ID, Addr: addr}
}
