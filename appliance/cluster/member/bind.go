package member

import (
	"errors"
	"net/netip"
	"slices"
	"time"

	"github.com/crawlbox/crawlbox/appliance/fleet"
)

// maxBound bounds how many nodes of Swarm one certificate can have been. After that the
// machine has to join as a new one.
const maxBound = 8

var (
	// ErrTaken is returned where a node claims to be a node of Swarm that another
	// certificate is bound to.
	ErrTaken = errors.New("another certificate is bound to this node of Swarm")
	// ErrUnproven is returned where Swarm's list of nodes does not bear out a claim, which
	// may be because it is late.
	ErrUnproven = errors.New("Swarm does not bear out that this is the node")
)

// Node is a node as Swarm's managers see it. Nothing of it is what the node says of
// itself, but for the address of a manager.
type Node struct {
	ID    string
	Addr  netip.Addr
	Role  string // that it is to have
	Raft  bool   // it has Swarm's raft, with all its secrets; one that is demoted has it for a while
	Ready bool
	First bool // it is the first manager, which is on no list
}

// nodeOf finds the node with an ID.
func nodeOf(id string, nodes []Node) (Node, bool) {
	i := slices.IndexFunc(nodes, func(n Node) bool { return n.ID == id })
	if i < 0 {
		return Node{}, false
	}
	return nodes[i], true
}

func (n Node) at(addr netip.Addr) bool { return addr.IsValid() && n.Addr.Unmap() == addr.Unmap() }

// Bind binds a certificate to the node of Swarm that its holder claims to be, who asks
// from remote. The first claim to a node counts. A certificate may become another node
// later, when its Docker has left Swarm and joined again, and is found by both.
func (m *List) Bind(id, claim string, remote netip.Addr, nodes []Node) error {
	return m.update(func(next *documents) error {
		n := next.list[id]
		if n.gone() {
			return ErrRemoved
		}
		if err := next.list.provable(id, claim, remote, nodes); err != nil {
			return err
		}
		if n.ID == "" { // of a list that was restored from a backup
			n.ID, n.Role, n.Until = id, fleet.RoleWorker, time.Now().Add(m.life)
		}
		n.Bound, n.Swarm, n.Remote = append(slices.Clone(n.Bound), claim), claim, remote
		next.list[id], next.edited = n, true
		return nil
	})
}

// Promote has nodes be managers at the most, with certificates that they get from now on.
func (m *List) Promote(ids ...string) error {
	return m.update(func(next *documents) error {
		for _, id := range ids {
			if n, ok := next.list[id]; ok && !n.gone() && n.Role != fleet.RoleManager {
				n.Role = fleet.RoleManager
				next.list[id], next.edited = n, true
			}
		}
		return nil
	})
}

// Own has a manager be on the list by its own word, with the certificate that it has: it holds the CA's
// key. The error is ErrRemoved for one that was removed.
func (m *List) Own(own Member, swarmID string) error {
	is := func(n Member) bool {
		return len(n.Bound) > 0 && n.Bound[len(n.Bound)-1] == swarmID && n.Role == own.Role && n.Epoch == own.Epoch &&
			n.Until.Equal(own.Until) && n.Remote == own.Remote
	}
	if n, ok := m.Get(own.ID); ok && is(n) {
		return nil
	}
	return m.update(func(next *documents) error {
		n, fresh := next.list[own.ID], own
		if n.gone() {
			return ErrRemoved
		}
		fresh.Bound = slices.DeleteFunc(slices.Clone(n.Bound), func(id string) bool { return id == swarmID })
		fresh.Bound = append(fresh.Bound[max(0, len(fresh.Bound)-maxBound+1):], swarmID)
		fresh.Swarm, fresh.Joined = swarmID, n.Joined
		next.list[own.ID], next.edited = fresh, true
		return nil
	})
}

// provable says why a claim is not to be believed.
func (list members) provable(id, claim string, remote netip.Addr, nodes []Node) error {
	own := list[id].Bound
	for _, n := range list {
		if n.ID != id && slices.Contains(n.Bound, claim) {
			return ErrTaken
		}
	}
	node, ok := nodeOf(claim, nodes)
	if !ok || len(own) >= maxBound || slices.Contains(own, claim) {
		return ErrUnproven
	}
	if len(own) > 0 {
		if before, ok := nodeOf(own[len(own)-1], nodes); ok && before.Ready {
			return ErrUnproven // it is that one, and up
		}
	}
	switch {
	case node.First:
		return ErrUnproven
	case node.at(remote):
		return nil
	case node.Raft && list[id].Role != fleet.RoleManager: // promoted, so bound since it was a worker
		return ErrUnproven
	case list.others(id, node, remote, nodes):
		return ErrUnproven
	}
	return nil
}

// others reports whether somebody else is at one of two addresses that differ: that from
// which a node asks, and that at which Swarm sees the one it claims to be. A machine
// with two ways to the managers has nobody else at either.
func (list members) others(id string, node Node, remote netip.Addr, nodes []Node) bool {
	for _, n := range nodes {
		if n.ID != node.ID && (n.at(remote) || n.at(node.Addr)) {
			return true
		}
	}
	for _, n := range list {
		if n.ID != id && !n.gone() && (n.from(node.Addr) || n.from(remote)) {
			return true
		}
	}
	return false
}

// IsBound reports whether a certificate is bound to a node of Swarm as the newest.
func (m *List) IsBound(id, swarmID string) bool {
	m.lock()
	defer m.mu.Unlock()
	bound := m.list[id].Bound
	return len(bound) > 0 && bound[len(bound)-1] == swarmID
}

// Moved notes where a node asks from now. It gets on disk with the next change: a node
// with two addresses must not have a file written each time that it asks.
func (m *List) Moved(id string, remote netip.Addr) {
	m.lock()
	defer m.mu.Unlock()
	if n, ok := m.list[id]; ok && !n.gone() && n.Remote != remote {
		m.moved[id] = remote
		m.list.move(map[string]netip.Addr{id: remote})
	}
}

// Node returns the node of Swarm that a member is, if it is on Swarm's list.
func (m Member) Node(nodes []Node) (Node, bool) {
	if len(m.Bound) == 0 {
		return Node{}, false
	}
	return nodeOf(m.Bound[len(m.Bound)-1], nodes)
}

// Find returns the nodes whose certificates are those of a node of Swarm: what is bound
// to it, and what is bound to none but asks from its address, where that can be no other
// node.
func (m *List) Find(target Node, all []Node) []Member {
	m.lock()
	defer m.mu.Unlock()
	bound := map[string]bool{}
	for _, n := range m.list {
		for _, id := range n.Bound {
			bound[id] = true
		}
	}
	alone := !slices.ContainsFunc(all,
		func(n Node) bool { return n.ID != target.ID && n.at(target.Addr) && !bound[n.ID] })
	return slices.DeleteFunc(m.list.standing(), func(n Member) bool {
		if len(n.Bound) > 0 {
			return !slices.Contains(n.Bound, target.ID)
		}
		return !alone || !n.from(target.Addr)
	})
}

// Of returns the nodes that may answer for a node of Swarm: those bound to it, or, where
// none is yet, those that ask from its address.
func (m *List) Of(node Node) []Member {
	all := m.All()
	bound := slices.DeleteFunc(slices.Clone(all), func(n Member) bool {
		return len(n.Bound) == 0 || n.Bound[len(n.Bound)-1] != node.ID
	})
	if len(bound) > 0 {
		return bound
	}
	return slices.DeleteFunc(all, func(n Member) bool { return len(n.Bound) > 0 || !n.from(node.Addr) })
}

// Unbound returns the nodes that are bound to no node of Swarm.
func (m *List) Unbound() []Member {
	return slices.DeleteFunc(m.All(), func(n Member) bool { return len(n.Bound) > 0 })
}
