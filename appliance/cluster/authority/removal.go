package authority

import (
	"context"
	"fmt"
	"net/netip"
	"strings"

	"github.com/crawlbox/crawlbox/appliance/api"
	"github.com/crawlbox/crawlbox/appliance/cluster/member"
	"github.com/crawlbox/crawlbox/appliance/fleet"
)

// Remove ends a node's access and takes it off Swarm's list, in the phases of a
// removal: whatever fails or is cut off, is done later. It changes nothing where no
// certificate is found that would end.
func (a *Authority) Remove(ctx context.Context, n fleet.Node) error {
	all, err := a.engine.Nodes(ctx)
	if err != nil {
		return err
	}
	found := a.Members.Find(memberNode(n), memberNodes(all))
	if len(found) == 0 && !a.Members.RemovedNode(n.ID) {
		return a.noCertificate(n)
	}
	ids := make([]string, len(found))
	for i, member := range found {
		ids[i] = member.ID
	}
	return a.Joins.Remove(ctx, []string{n.ID}, ids...)
}

// RemoveMember ends the access of a certificate, by its ID, that Swarm has no node of. It
// reports whether there is one of that ID.
func (a *Authority) RemoveMember(ctx context.Context, id string) (bool, error) {
	member, ok := a.Members.Get(id)
	if !ok {
		return false, nil
	}
	nodes, err := a.Joins.Swarm.SwarmNodes(ctx)
	if err != nil {
		return true, err
	}
	if node, ok := member.Node(nodes); ok {
		return true, api.Conflict("%s is the certificate of the node %s (%s); remove that", id, node.ID, node.Addr)
	}
	return true, a.Joins.Remove(ctx, member.Bound, id)
}

// noCertificate says what to do about a node that the cluster knows no certificate of.
func (a *Authority) noCertificate(n fleet.Node) error {
	text := fmt.Sprintf("no certificate of the cluster is known to be that of %s (%s), so nothing was changed; if "+
		"crawlbox never ran on it, or its certificate has ended by itself, take it off Swarm's list with `docker "+
		"node rm %s`", n.Display, n.Addr, n.ID)
	var others []string
	for _, member := range a.Members.Unbound() {
		if len(others) == maxOthers {
			others = append(others, "…")
			break
		}
		others = append(others, fmt.Sprintf("%s (calls itself %s, asks from %s)", member.ID, member.Name,
			member.Remote))
	}
	if len(others) > 0 {
		text += "; if it has one of these, which Swarm has no node of, end it first with `crawlbox node rm ID`: " +
			strings.Join(others, ", ")
	}
	return api.Conflict("%s", text)
}

// maxOthers bounds how many certificates a message names.
const maxOthers = 10

func memberNode(n fleet.Node) member.Node {
	addr, _ := netip.ParseAddr(n.Addr)
	return member.Node{
		ID:    n.ID,
		Addr:  addr,
		Role:  n.Role,
		Raft:  n.Raft,
		Ready: n.State == fleet.StateReady,
	}
}

func memberNodes(list []fleet.Node) []member.Node {
	nodes := make([]member.Node, len(list))
	for i, n := range list {
		nodes[i] = memberNode(n)
	}
	return nodes
}
