package node

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"github.com/crawlbox/crawlbox/appliance/api"
	"github.com/crawlbox/crawlbox/appliance/cluster/member"
	"github.com/crawlbox/crawlbox/appliance/fleet"
	"github.com/crawlbox/crawlbox/appliance/swarm"
)

// removeNode ends a node's access and takes it off Swarm's list, in the phases of a
// removal: whatever fails or is cut off, is done later. It changes nothing where no
// certificate is found that would end.
func (m *Manager) removeNode(ctx context.Context, n fleet.Node) error {
	all, err := m.engine.Nodes(ctx)
	if err != nil {
		return err
	}
	found := m.members.Find(memberNode(n), memberNodes(all))
	if len(found) == 0 && !m.members.RemovedNode(n.ID) {
		return m.noCertificate(n)
	}
	ids := make([]string, len(found))
	for i, member := range found {
		ids[i] = member.ID
	}
	return m.joins.Remove(ctx, []string{n.ID}, ids...)
}

// removeMember ends the access of a certificate, by its ID, that Swarm has no node of. It
// reports whether there is one of that ID.
func (m *Manager) removeMember(ctx context.Context, id string) (bool, error) {
	member, ok := m.members.Get(id)
	if !ok {
		return false, nil
	}
	nodes, err := m.joins.Swarm.SwarmNodes(ctx)
	if err != nil {
		return true, err
	}
	if node, ok := member.Node(nodes); ok {
		return true, api.Conflict("%s is the certificate of the node %s (%s); remove that", id, node.ID, node.Addr)
	}
	return true, m.joins.Remove(ctx, member.Bound, id)
}

// noCertificate says what to do about a node that the cluster knows no certificate of.
func (m *Manager) noCertificate(n fleet.Node) error {
	text := fmt.Sprintf("no certificate of the cluster is known to be that of %s (%s), so nothing was changed; if crawlbox never ran on it, or its certificate has ended by itself, take it off Swarm's list with `docker node rm %s`", n.Display, n.Addr, n.ID)
	var others []string
	for _, member := range m.members.Unbound() {
		if len(others) == maxOthers {
			others = append(others, "…")
			break
		}
		others = append(others, fmt.Sprintf("%s (calls itself %s, asks from %s)", member.ID, member.Name, member.Remote))
	}
	if len(others) > 0 {
		text += "; if it has one of these, which Swarm has no node of, end it first with `crawlbox node rm ID`: " + strings.Join(others, ", ")
	}
	return api.Conflict("%s", text)
}

// maxOthers bounds how many certificates a message names.
const maxOthers = 10

func memberNode(n fleet.Node) member.Node {
	addr, _ := netip.ParseAddr(n.Addr)
	return member.Node{ID: n.ID, Addr: addr, Role: n.Role, Raft: n.Raft, Ready: n.State == fleet.StateReady}
}

func memberNodes(list []fleet.Node) []member.Node {
	nodes := make([]member.Node, len(list))
	for i, n := range list {
		nodes[i] = memberNode(n)
	}
	return nodes
}

// SwarmJoinToken implements enroll.Swarm.
func (m *Manager) SwarmJoinToken(ctx context.Context, role string) (token string, managers []string, err error) {
	token, err = m.engine.JoinToken(ctx, role)
	return token, []string{netip.AddrPortFrom(m.addr, swarm.Port).String()}, err
}

// SwarmNodes implements enroll.Swarm.
func (m *Manager) SwarmNodes(context.Context) ([]member.Node, error) {
	nodes, err := m.book.Nodes()
	list := memberNodes(nodes)
	for i := range list {
		list[i].First = list[i].Addr == m.addr
	}
	return list, err
}

// RotateJoinTokens implements enroll.Swarm.
func (m *Manager) RotateJoinTokens(ctx context.Context) error {
	return m.engine.RotateJoinTokens(ctx, fleet.RoleWorker, fleet.RoleManager)
}

// RemoveNode implements enroll.Swarm. Swarm keeps a manager until it is demoted.
func (m *Manager) RemoveNode(ctx context.Context, id string) error {
	m.book.Forget()
	err := m.engine.RemoveNode(ctx, id, true)
	if errors.Is(err, swarm.ErrNotFound) {
		return nil
	}
	return err
}

// demoted changes what a demoted node knew as a manager, and tells the nodes that it is
// none.
func (m *Manager) demoted(ctx context.Context) error {
	m.book.Forget()
	return m.joins.Demoted(ctx)
}
