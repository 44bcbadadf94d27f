// Package members is the first manager's list of who is a node of the cluster, and who
// was one.
//
// Nothing in it rests on what a node says of itself, but for its name and address, which
// are for people. A certificate and Swarm's ID of its node are bound to each other once,
// when the node first claims the ID and Swarm's own list of nodes fits the claim
// (List.Bind): from then on `node rm` finds the certificate by the ID, and no other
// certificate gets it.
//
// A node that was put out stays out, whatever comes between: a removal is a journal of phases on
// disk (Removal), which the next start goes on with, and which the same command again
// finds.
//
// The list of those who were put out is told to every node, so it is bounded, however
// many leave while certificates live: certificates carry the number of an epoch. When
// the list is long, the next epoch begins: nodes get certificates of it, and when all in
// touch have them the others are refused for their age, and need no place on the list.
// An allow-list would be news for every node at every join; certificates that live for a
// day would end a cluster whose manager is away over a weekend; a "not issued before"
// would trust clocks, and one that was wrong for an hour would lock everybody out.
//
// No entry ends by the machine's clock, which may jump, but by one that runs (clock).
package member

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/crawlbox/crawlbox/appliance/cluster/state"
)

// ErrRemoved is returned for a node that was put out.
var ErrRemoved = errors.New("the node was removed from the cluster")

// ErrFull is returned for a new node where there are Max.
var ErrFull = errors.New("the cluster has as many nodes as it may have")

// Max bounds the nodes with certificates: the holder of a join token can make any number
// of keys.
const Max = 5000

// margin is the time that an entry is kept after its certificate has ended.
const margin = time.Hour

// Member is a node that has a certificate of this cluster, or had.
type Member struct {
	ID      string     `json:"id"`
	Role    string     `json:"role"`            // that its join token was for
	Name    string     `json:"name"`            // as it says: for people only
	Addr    netip.Addr `json:"addr"`            // as it says: for people only
	Remote  netip.Addr `json:"remote"`          // where it asked from
	Bound   []string   `json:"bound,omitempty"` // Swarm's IDs of it, the newest last
	Joined  time.Time  `json:"joined,omitzero"` // when a join token let it in last
	Epoch   int        `json:"epoch,omitempty"` // of its newest certificate
	Until   time.Time  `json:"until"`           // end of its newest certificate
	Removed time.Time  `json:"removed,omitzero"`
	Swarm   string     `json:"swarm,omitempty"` // the newest of Bound, for versions that know no other
}

func (m Member) gone() bool { return !m.Removed.IsZero() }

// List is all nodes with certificates, in two documents of the cluster's state. It
// decides whether a certificate that is good by itself is accepted. Its methods may be
// called at the same time, but only one process may have the files open.
type List struct {
	life     time.Duration // of certificates
	members  *state.Document
	removals *state.Document
	clock    *clock

	mu    sync.Mutex
	list  map[string]Member
	state progress
}

// progress is the content of the document of removals.
type progress struct {
	Clock    time.Time `json:"clock"`              // see clock
	Signed   int       `json:"signed,omitempty"`   // the epoch of certificates that are signed now
	Accepted int       `json:"accepted,omitempty"` // the first epoch whose certificates are accepted
	Managers []string  `json:"managers,omitempty"` // Swarm's IDs of those that have its raft, when last looked at
	Removals []Removal `json:"removals,omitempty"` // that are under way
}

// Open reads the list in the cluster's state, or starts with an empty list. life is how long the
// certificates of nodes are good.
func Open(store state.Store, life time.Duration) (*List, error) {
	m := &List{
		life:     life,
		members:  state.NewDocument(store, state.Members),
		removals: state.NewDocument(store, state.Removals),
		list:     map[string]Member{},
	}
	var list []Member
	listed, err := load(m.members, &list)
	if err != nil {
		return nil, err
	}
	for _, n := range list {
		if len(n.Bound) == 0 { // a version before wrote what the node had said
			n.Swarm = ""
		}
		m.list[n.ID] = n
	}
	known, err := load(m.removals, &m.state)
	if err != nil {
		return nil, err
	}
	if !known {
		m.state.Clock = m.lastSeen(time.Now())
	}
	m.clock = newClock(m.state.Clock)
	if !listed {
		err = write(m.members, []Member{})
	}
	if !known {
		err = errors.Join(err, write(m.removals, m.state))
	}
	return m, err
}

// lastSeen returns the latest time that the certificates prove, for a list without a clock of
// its own; with none it is now.
func (m *List) lastSeen(now time.Time) time.Time {
	var last time.Time
	for _, n := range m.list {
		if t := n.Until.Add(-m.life); t.After(last) {
			last = t
		}
	}
	if last.IsZero() || last.After(now) {
		return now
	}
	return last
}

// load reads a document, and reports whether it was there.
func load(doc *state.Document, v any) (bool, error) {
	data, err := doc.Load()
	if errors.Is(err, state.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("open list of nodes: %w", err)
	}
	if err := json.Unmarshal(data, v); err != nil {
		return false, fmt.Errorf("open list of nodes: %w", doc.Damaged(err))
	}
	return true, nil
}

func write(doc *state.Document, v any) error {
	data, err := json.MarshalIndent(v, "", "  ")
	if err == nil {
		err = doc.Save(append(data, '\n'), "change the list of nodes")
	}
	if err != nil {
		return fmt.Errorf("save list of nodes: %w", err)
	}
	return nil
}

// All returns the nodes that were not removed, sorted by ID.
func (m *List) All() []Member {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.standing()
}

// standing is All for callers that hold mu.
func (m *List) standing() []Member {
	list := slices.DeleteFunc(slices.Collect(maps.Values(m.list)), Member.gone)
	slices.SortFunc(list, byID)
	return list
}

func byID(a, b Member) int { return strings.Compare(a.ID, b.ID) }

// Get returns a node that was not removed.
func (m *List) Get(id string) (n Member, ok bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	n, ok = m.list[id]
	return n, ok && !n.gone()
}

// At returns the nodes that ask from an address.
func (m *List) At(addr netip.Addr) []Member {
	return slices.DeleteFunc(m.All(), func(n Member) bool { return !n.from(addr) })
}

func (m Member) from(addr netip.Addr) bool {
	return addr.IsValid() && m.Remote.Unmap() == addr.Unmap()
}

// Put notes a node that gets a certificate; what it does not say now stays as it
// is known. The error is ErrRemoved for one that was removed, and ErrFull for a new one
// where there are Max.
func (m *List) Put(n Member) error {
	return m.change(n.ID, func(have *Member) error {
		if have.gone() {
			return ErrRemoved
		}
		if have.ID == "" && len(m.standing()) >= Max {
			return ErrFull
		}
		if n.Name == "" {
			n.Name = have.Name
		}
		if n.Joined.IsZero() {
			n.Joined = have.Joined
		}
		n.Bound, n.Swarm = have.Bound, have.Swarm
		*have = n
		return nil
	})
}

// change changes one node on disk and then in memory.
func (m *List) change(id string, fn func(*Member) error) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	n := m.list[id]
	if err := fn(&n); err != nil {
		return err
	}
	n.ID = id
	next := maps.Clone(m.list)
	next[id] = n
	return m.replace(next)
}

// replace puts another list in the place of this one. The caller holds mu. Nodes whose
// certificates have ended are forgotten: a node without a certificate needs no refusing.
func (m *List) replace(next map[string]Member) error {
	now := m.clock.now()
	maps.DeleteFunc(next, func(_ string, n Member) bool { return now.Sub(n.Until) > margin })
	if err := write(m.members, slices.SortedFunc(maps.Values(next), byID)); err != nil {
		return err
	}
	m.list = next
	if now.Sub(m.state.Clock) < margin {
		return nil
	}
	return m.setState(m.state)
}

// setState changes what the document of removals holds. The caller holds mu.
func (m *List) setState(next progress) error {
	next.Clock = m.clock.now()
	if err := write(m.removals, next); err != nil {
		return err
	}
	m.state = next
	return nil
}
