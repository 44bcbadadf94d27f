// Package members is the first manager's list of who is a node of the cluster, and who
// was one.
//
// Nothing in it rests on what a node says of itself, but for its name and address, which
// are for people. A certificate and Swarm's ID of its node are bound to each other once,
// when the node first claims the ID and Swarm's own list of nodes fits the claim
// (List.Bind): from then on `node rm` finds the certificate by the ID, and no other
// certificate gets it.
//
// A node that was removed stays out, whatever comes between: a removal is a journal of phases on
// disk (Removal), which the next start goes on with, and which the same command again
// finds.
//
// The list of removed nodes is told to every node, so it is bounded, however
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
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/crawlbox/crawlbox/appliance/cluster/state"
)

// ErrRemoved is returned for a node that was removed.
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
// called at the same time; those that read do not wait for those that write.
type List struct {
	life  time.Duration // of certificates
	docs  *state.Value[documents]
	clock *clock

	mu    sync.Mutex
	moved map[string]netip.Addr // where nodes ask from, where that is not on disk
	now   *documents            // that list and state are of
	list  members
	state progress
}

// documents are both, in memory.
type documents struct {
	list          members
	state         progress
	listed, known bool // they are there

	edited  bool   // list was changed
	written []byte // list as it is written, nil where that is not known
}

type members map[string]Member

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
	docs, err := state.NewValue(store, state.Format[documents]{
		Names:  []string{state.Members, state.Removals},
		Decode: decode,
		Encode: encode,
	})
	if err != nil {
		return nil, fmt.Errorf("open list of nodes: %w", err)
	}
	m := &List{life: life, docs: docs, moved: map[string]netip.Addr{}}
	m.follow()
	if !m.now.known {
		m.state.Clock = m.lastSeen(time.Now())
	}
	m.clock = newClock(m.state.Clock)
	if m.now.listed && m.now.known {
		return m, nil
	}
	return m, m.update(func(*documents) error { return nil })
}

// decode reads the list from its documents.
func decode(docs state.Contents) (*documents, error) {
	d := &documents{list: members{}}
	var list []Member
	var err error
	if d.listed, err = load(docs, state.Members, &list); err != nil {
		return nil, err
	}
	for _, n := range list {
		if len(n.Bound) == 0 { // a version before wrote what the node had said
			n.Swarm = ""
		}
		d.list[n.ID] = n
	}
	d.known, err = load(docs, state.Removals, &d.state)
	d.written = docs[state.Members]
	return d, err
}

// encode returns the documents of the list. That of the members is long, and made where they change.
func encode(d *documents) (state.Contents, error) {
	if d.written == nil {
		list, err := written(append([]Member{}, slices.SortedFunc(maps.Values(d.list), byID)...))
		if err != nil {
			return nil, err
		}
		d.written = list
	}
	removals, err := written(d.state)
	return state.Contents{state.Members: d.written, state.Removals: removals}, err
}

func written(v any) ([]byte, error) {
	data, err := json.MarshalIndent(v, "", "  ")
	return append(data, '\n'), err
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

// load reads a document, and reports whether it is there.
func load(docs state.Contents, name string, v any) (bool, error) {
	data, ok := docs[name]
	if !ok {
		return false, nil
	}
	if err := json.Unmarshal(data, v); err != nil {
		return false, state.Damaged(name, err)
	}
	return true, nil
}

// Check returns why a document is none of a name: the list of nodes, removals or keys of gossip.
func Check(name string, data []byte) (err error) {
	switch name {
	case state.Members:
		err = json.Unmarshal(data, &[]Member{})
	case state.Removals:
		err = json.Unmarshal(data, &progress{})
	case state.GossipKeys:
		_, err = parseKeys(data)
	}
	return err
}

// lock is for who reads the list, and finds it as the cluster's state has it.
func (m *List) lock() {
	m.mu.Lock()
	m.follow()
}

// follow takes over what the documents say, also by others. The caller holds mu.
func (m *List) follow() {
	d := m.docs.Get()
	if d == m.now {
		return
	}
	m.now, m.list, m.state = d, maps.Clone(d.list), d.state
	m.list.move(m.moved)
}

// move sets where nodes ask from.
func (list members) move(moved map[string]netip.Addr) {
	for id, remote := range moved {
		if n, ok := list[id]; ok && !n.gone() {
			n.Remote = remote
			list[id] = n
		}
	}
}

// All returns the nodes that were not removed, sorted by ID.
func (m *List) All() []Member {
	m.lock()
	defer m.mu.Unlock()
	return m.list.standing()
}

func (list members) standing() []Member {
	all := slices.DeleteFunc(slices.Collect(maps.Values(list)), Member.gone)
	slices.SortFunc(all, byID)
	return all
}

func byID(a, b Member) int { return strings.Compare(a.ID, b.ID) }

// Get returns a node that was not removed.
func (m *List) Get(id string) (n Member, ok bool) {
	m.lock()
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
	return m.update(func(next *documents) error {
		have, n := next.list[n.ID], n
		if have.gone() {
			return ErrRemoved
		}
		if have.ID == "" && len(next.list.standing()) >= Max {
			return ErrFull
		}
		if n.Name == "" {
			n.Name = have.Name
		}
		if n.Joined.IsZero() {
			n.Joined = have.Joined
		}
		n.Bound, n.Swarm = have.Bound, have.Swarm
		next.list[n.ID], next.edited = n, true
		return nil
	})
}

// update changes both documents in one commit, and then what is in memory. fn is called again
// where somebody else has changed them meanwhile. The list that it gets is its own to change, and
// written where it says that it did. Nodes whose certificates have ended are forgotten: a node
// without a certificate needs no refusing.
func (m *List) update(fn func(next *documents) error) error {
	var moved map[string]netip.Addr // and written
	var refused error
	err := m.docs.Update("change the list of nodes", func(was *documents) (*documents, error) {
		m.mu.Lock()
		moved = maps.Clone(m.moved)
		m.mu.Unlock()
		next := &documents{
			list:    maps.Clone(was.list),
			state:   was.state,
			listed:  true,
			known:   true,
			edited:  !was.listed,
			written: was.written,
		}
		next.list.move(moved)
		if refused = fn(next); refused != nil {
			return nil, refused
		}
		now := m.clock.now()
		if next.edited {
			next.written = nil
			maps.DeleteFunc(next.list, func(_ string, n Member) bool { return now.Sub(n.Until) > margin })
		} else {
			moved = nil
		}
		late := now.Sub(was.state.Clock)
		noted := !was.known || late >= margin || !reflect.DeepEqual(next.state, was.state)
		if noted && late > 0 {
			next.state.Clock = now
		}
		if !next.edited && !noted {
			return was, nil
		}
		return next, nil
	})
	m.lock()
	defer m.mu.Unlock()
	if err == nil || refused != nil {
		maps.DeleteFunc(m.moved, func(id string, to netip.Addr) bool { return err == nil && moved[id] == to })
		return err
	}
	return fmt.Errorf("save list of nodes: %w", err)
}
