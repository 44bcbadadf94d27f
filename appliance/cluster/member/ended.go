package member

import (
	"maps"
	"slices"
	"time"
)

// Removed returns the IDs of removed nodes that may still have a certificate which
// would be good otherwise, sorted.
func (m *List) Removed() []string {
	m.lock()
	defer m.mu.Unlock()
	now, ids := m.clock.now(), []string{}
	for id, n := range m.list {
		if n.gone() && now.Before(n.Until) && n.Epoch >= m.state.Accepted {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids
}

// WasRemoved reports whether a node was removed.
func (m *List) WasRemoved(id string) bool {
	m.lock()
	defer m.mu.Unlock()
	return m.list[id].gone()
}

// RemovedNode reports whether a removed member was the node of Swarm.
func (m *List) RemovedNode(swarmID string) bool {
	m.lock()
	defer m.mu.Unlock()
	for _, n := range m.list {
		if n.gone() && slices.Contains(n.Bound, swarmID) {
			return true
		}
	}
	return false
}

// Remove has it on disk, before it returns, that nodes were removed. One that is not on
// the list gets there, with a certificate as long as any.
func (m *List) Remove(ids ...string) error {
	return m.update(func(next *documents) error {
		next.edited = true
		for _, id := range ids {
			n := next.list[id]
			if n.ID == "" {
				n.ID, n.Until, n.Epoch = id, time.Now().Add(m.life), next.state.Signed
			}
			if !n.gone() {
				n.Removed = time.Now().UTC().Truncate(time.Second)
			}
			next.list[id] = n
		}
		return nil
	})
}

// Epochs returns the epoch of certificates that are signed now, and the first one whose
// certificates are accepted.
func (m *List) Epochs() (signed, accepted int) {
	m.lock()
	defer m.mu.Unlock()
	return m.state.Signed, m.state.Accepted
}

// NextEpoch has certificates signed for another epoch from now on, if those of the last
// are the only ones that are accepted.
func (m *List) NextEpoch() error {
	return m.update(func(next *documents) error {
		if next.state.Signed == next.state.Accepted {
			next.state.Signed++
		}
		return nil
	})
}

// AcceptEpoch has only certificates of the epoch that is signed now be accepted, and
// forgets the nodes that were removed with older ones.
func (m *List) AcceptEpoch() error {
	return m.update(func(next *documents) error {
		next.state.Accepted, next.edited = next.state.Signed, true
		maps.DeleteFunc(next.list, func(_ string, n Member) bool { return n.gone() && n.Epoch < next.state.Accepted })
		return nil
	})
}
