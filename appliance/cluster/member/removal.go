package member

import (
	"slices"
	"time"

	"github.com/crawlbox/crawlbox/appliance/fleet"
)

// Phase is one part of a removal.
type Phase string

// Phases in their order. The certificate goes first: whatever fails after that, the node
// is out. The key of gossip takes its time, and waits for nothing but the certificate.
const (
	PhaseCertificate Phase = "certificate" // is refused
	PhaseTokens      Phase = "tokens"      // of Swarm are others, both: every former manager knows both
	PhaseSwarm       Phase = "swarm"       // has the node no longer
	PhaseKeys        Phase = "keys"        // of gossip are others
)

// Removal holds what is left to do to remove a node, or to take from a demoted
// node what it knew as a manager. It is on disk before its first phase begins, and each
// phase that ended before the next begins. All phases can be done twice.
type Removal struct {
	Members []string  `json:"members,omitempty"` // whose certificates end
	Swarm   []string  `json:"swarm,omitempty"`   // Swarm's IDs of nodes that it is to lose
	Begun   time.Time `json:"begun"`
	Left    []Phase   `json:"left"`
	Keys    []string  `json:"keys,omitempty"` // of gossip, by their hashes, that it may know
}

// Is reports whether two are about the same.
func (r Removal) Is(o Removal) bool {
	return slices.Equal(r.Members, o.Members) && slices.Equal(r.Swarm, o.Swarm)
}

func (r Removal) left(p Phase) bool { return slices.Contains(r.Left, p) }

// Next returns the first phase that is left but that of the keys.
func (r Removal) Next() (Phase, bool) {
	for _, p := range r.Left {
		if p != PhaseKeys {
			return p, true
		}
	}
	return "", false
}

// NewRemoval returns a removal of all phases, of members and of the nodes of Swarm that they are.
func NewRemoval(members, swarm []string) Removal {
	return Removal{Members: members, Swarm: swarm, Begun: time.Now().UTC().Truncate(time.Second),
		Left: []Phase{PhaseCertificate, PhaseTokens, PhaseSwarm, PhaseKeys}}
}

// NewDemotion takes from nodes that were managers what they knew.
func NewDemotion() Removal {
	return Removal{Begun: time.Now().UTC().Truncate(time.Second), Left: []Phase{PhaseTokens}}
}

// Begin writes to disk that a removal is to be done.
func (m *List) Begin(r Removal) error {
	return m.update(func(next *documents) error {
		next.state.Removals = with(next.state.Removals, r)
		return nil
	})
}

// with adds a removal, in the place of one that is about the same.
func with(list []Removal, r Removal) []Removal {
	return append(slices.DeleteFunc(slices.Clone(list), r.Is), r)
}

// Pending returns the removals that are not done.
func (m *List) Pending() []Removal {
	m.lock()
	defer m.mu.Unlock()
	return slices.Clone(m.state.Removals)
}

// Done writes to disk that a phase of a removal has ended. keys are the hashes of the
// keys of gossip now.
func (m *List) Done(r Removal, p Phase, keys []string) error {
	return m.edit(func(o Removal) Removal {
		if !o.Is(r) || !o.left(p) {
			return o
		}
		if p == PhaseCertificate {
			o.Keys = keys // it hears of no other from now on
		}
		o.Left = slices.DeleteFunc(slices.Clone(o.Left), func(l Phase) bool { return l == p })
		return o
	})
}

// AwaitsKeys reports whether a removed node may know one of the keys of gossip,
// which are given by their hashes. Of removals that wait for no more it has that on disk.
func (m *List) AwaitsKeys(keys []string) (bool, error) {
	awaits, changed := false, false
	known := func(key string) func(string) bool { return func(k string) bool { return k == key } }
	check := func(r Removal) Removal {
		if !r.left(PhaseKeys) || r.left(PhaseCertificate) {
			return r
		}
		if slices.ContainsFunc(keys, func(k string) bool { return slices.ContainsFunc(r.Keys, known(k)) }) {
			awaits = true
			return r
		}
		changed = true
		r.Left = slices.DeleteFunc(slices.Clone(r.Left), func(l Phase) bool { return l == PhaseKeys })
		return r
	}
	for _, r := range m.Pending() {
		check(r)
	}
	if !changed {
		return awaits, nil
	}
	if err := m.edit(check); err != nil {
		return true, err
	}
	awaits = false
	for _, r := range m.Pending() {
		check(r)
	}
	return awaits, nil
}

// edit changes removals on disk and drops those that are done.
func (m *List) edit(fn func(Removal) Removal) error {
	return m.update(func(next *documents) error {
		var left []Removal
		for _, r := range next.state.Removals {
			if r = fn(r); len(r.Left) > 0 {
				left = append(left, r)
			}
		}
		next.state.Removals = left
		return nil
	})
}

// NoteManagers notes which nodes have Swarm's raft now. It returns those that had it and
// have not: a removal of what they knew is on disk by then.
func (m *List) NoteManagers(nodes []Node) (demoted []string, err error) {
	var now []string
	for _, n := range nodes {
		if n.Raft || n.Role == fleet.RoleManager {
			now = append(now, n.ID)
		}
	}
	slices.Sort(now)
	m.lock()
	same := slices.Equal(now, m.state.Managers)
	m.mu.Unlock()
	if same || len(now) == 0 {
		return nil, nil
	}
	err = m.update(func(next *documents) error {
		demoted = slices.DeleteFunc(slices.Clone(next.state.Managers),
			func(id string) bool { return slices.Contains(now, id) })
		next.state.Managers = now
		if len(demoted) > 0 {
			next.state.Removals = with(next.state.Removals, NewDemotion())
		}
		return nil
	})
	return demoted, err
}
