package join

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/crawlbox/crawlbox/appliance/durable"
)

// Member is a node that has a certificate of this cluster, or had.
type Member struct {
	ID      string     `json:"id"`
	Role    string     `json:"role"`
	Name    string     `json:"name"`
	Addr    netip.Addr `json:"addr"`            // as it says
	Remote  netip.Addr `json:"remote"`          // where it asked from
	Swarm   string     `json:"swarm,omitempty"` // Swarm's ID of it, as it says
	Until   time.Time  `json:"until"`           // end of its newest certificate
	Removed time.Time  `json:"removed,omitzero"`
}

// at says whether the node is the one at an address.
func (m Member) at(addr netip.Addr) bool {
	return addr.IsValid() && (m.Addr.Unmap() == addr.Unmap() || m.Remote.Unmap() == addr.Unmap())
}

func byID(a, b Member) int { return strings.Compare(a.ID, b.ID) }

// Members is the manager's list of all nodes with certificates, kept in a file.
// It is what decides whether a certificate that is good by itself is accepted.
// Its methods may be called at the same time, but only one process may have the
// file open.
type Members struct {
	path string

	mu   sync.Mutex
	list map[string]Member
}

// OpenMembers reads the file members.json in dir, or starts with an empty list.
func OpenMembers(dir string) (*Members, error) {
	m := &Members{path: filepath.Join(dir, "members.json"), list: map[string]Member{}}
	data, err := loadOrCreate(m.path, func() ([]byte, error) { return []byte("[]\n"), nil })
	if err != nil {
		return nil, fmt.Errorf("open list of nodes: %w", err)
	}
	var list []Member
	if err := json.Unmarshal(data, &list); err != nil {
		return nil, fmt.Errorf("open list of nodes: %w", damaged(m.path, err))
	}
	for _, n := range list {
		m.list[n.ID] = n
	}
	return m, nil
}

// List returns the nodes that were not removed, sorted by ID.
func (m *Members) List() []Member {
	m.mu.Lock()
	defer m.mu.Unlock()
	list := slices.DeleteFunc(slices.Collect(maps.Values(m.list)), func(n Member) bool { return !n.Removed.IsZero() })
	slices.SortFunc(list, byID)
	return list
}

// Swarm returns what a node says is its ID in the swarm, empty where it did not.
func (m *Members) Swarm(id string) string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.list[id].Swarm
}

// At returns the nodes at an address.
func (m *Members) At(addr netip.Addr) []Member {
	return slices.DeleteFunc(m.List(), func(n Member) bool { return !n.at(addr) })
}

// SwarmNode is a node as Swarm knows it.
type SwarmNode struct {
	ID   string
	Addr netip.Addr
}

// Find returns the nodes that a node of the swarm is: those that say so, and those
// at its address that are no other node. What a node says of itself is believed
// only where its address says the same, so none hides behind another's ID.
func (m *Members) Find(target SwarmNode, all []SwarmNode) []Member {
	return slices.DeleteFunc(m.List(), func(n Member) bool {
		if n.Swarm == target.ID {
			return false
		}
		other := func(o SwarmNode) bool { return o.ID != target.ID && n.Swarm == o.ID && n.at(o.Addr) }
		return !n.at(target.Addr) || slices.ContainsFunc(all, other)
	})
}

// Removed returns the IDs of removed nodes that still have a certificate which
// would be good otherwise, sorted.
func (m *Members) Removed() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	ids := []string{}
	for id, n := range m.list {
		if !n.Removed.IsZero() && time.Now().Before(n.Until) {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids
}

// removed says whether a node was removed.
func (m *Members) removed(id string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return !m.list[id].Removed.IsZero()
}

// put notes a node that gets a certificate; what it does not say now stays as it
// is known. The error is ErrRemoved for one that was removed, and ErrFull for a new one
// where there are maxMembers.
func (m *Members) put(n Member) error {
	return m.change(n.ID, func(have *Member) error {
		if !have.Removed.IsZero() {
			return ErrRemoved
		}
		if have.ID == "" && m.present() >= maxMembers {
			return ErrFull
		}
		if n.Name == "" {
			n.Name = have.Name
		}
		n.Swarm = have.Swarm
		*have = n
		return nil
	})
}

// present counts the nodes that were not removed. The caller holds mu.
func (m *Members) present() (n int) {
	for _, member := range m.list {
		if member.Removed.IsZero() {
			n++
		}
	}
	return n
}

// joinedSwarm notes what Swarm calls a node.
func (m *Members) joinedSwarm(id, swarmID string) error {
	m.mu.Lock()
	known := m.list[id].Swarm == swarmID || m.list[id].ID == ""
	m.mu.Unlock()
	if known {
		return nil
	}
	return m.change(id, func(n *Member) error { n.Swarm = swarmID; return nil })
}

// remove has it on disk, before it returns, that the node was removed. One that
// is not on the list gets there, with a certificate as long as any.
func (m *Members) remove(id string) error {
	return m.change(id, func(n *Member) error {
		if n.Until.IsZero() {
			n.Until = time.Now().Add(nodeLife())
		}
		if n.Removed.IsZero() {
			n.Removed = time.Now().UTC().Truncate(time.Second)
		}
		return nil
	})
}

// change changes one node on disk and then in memory. Nodes whose certificates
// have ended are forgotten: who has no certificate needs no refusing.
func (m *Members) change(id string, fn func(*Member) error) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	n := m.list[id]
	if err := fn(&n); err != nil {
		return err
	}
	n.ID = id
	next := maps.Clone(m.list)
	next[id] = n
	maps.DeleteFunc(next, func(_ string, n Member) bool { return time.Since(n.Until) > skewMargin })
	data, err := json.MarshalIndent(slices.SortedFunc(maps.Values(next), byID), "", "  ")
	if err == nil {
		err = durable.WriteFile(m.path, append(data, '\n'), secretFile)
	}
	if err != nil {
		return fmt.Errorf("save list of nodes: %w", err)
	}
	m.list = next
	return nil
}
