package gossip

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/memberlist"
)

type State string

const (
	Alive  State = "alive"
	Left   State = "left"   // said goodbye
	Failed State = "failed" // stopped answering
)

type Member struct {
	Node
	State State
	// Seen is when the cluster last had a sign of life. Members probe each other
	// every few seconds, so for one alive it is now; for another, when it was
	// given up.
	Seen time.Time
}

// Members that are gone are forgotten after a day, or earlier when there are
// absurdly many of them.
const (
	keepGone = 24 * time.Hour
	maxGone  = 4096
)

// maxForgotten bounds how many removed nodes are kept out; the oldest go first.
// Long before that no node knows them any longer.
const maxForgotten = 4096

// maxAlive bounds the members that are there: a node with the key can make up as many as it
// likes.
const maxAlive = 4096

// entry is a member with what only this package needs.
type entry struct {
	Member
	port     uint16
	boot     int64
	farewell bool // said goodbye in this life
}

var (
	errRemoved = errors.New("node was removed from the cluster")
	errUnknown = errors.New("no node is known at this address")
	errFull    = errors.New("there are too many members")
)

// roster remembers members beyond the half minute that memberlist keeps those
// that are gone. memberlist calls it with its own lock held, so it calls
// nothing of memberlist's.
type roster struct {
	self string
	boot int64
	log  *slog.Logger
	// known reports whether a node is at an address.
	known func(netip.AddrPort) bool

	mu        sync.Mutex
	closed    bool
	entries   map[string]*entry
	forgotten []string // IDs of removed nodes, the oldest first
}

func newRoster(self string, boot int64, known func(netip.AddrPort) bool, log *slog.Logger) *roster {
	return &roster{
		self:    self,
		boot:    boot,
		known:   known,
		log:     log,
		entries: map[string]*entry{},
	}
}

// close keeps the membership as it is: memberlist's timers fire on for a while
// after its Shutdown.
func (r *roster) close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = true
}

// forget drops a node and keeps it out.
func (r *roster) forget(id string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if id == r.self || r.isForgotten(id) {
		return
	}
	delete(r.entries, id)
	r.forgotten = append(r.forgotten, id)
	if len(r.forgotten) > maxForgotten {
		r.forgotten = slices.Delete(r.forgotten, 0, 1)
	}
}

func (r *roster) isForgotten(id string) bool { return slices.Contains(r.forgotten, id) }

// NotifyAlive implements memberlist.AliveDelegate: a node that does not describe
// itself properly is no member, nor is one that was removed or that says it is where no
// node is known. memberlist may have that one already; it then no longer hears that it
// lives.
func (r *roster) NotifyAlive(n *memberlist.Node) error {
	node, _, err := decodeMeta(n.Meta)
	if err != nil {
		return err
	}
	if node.ID != n.Name {
		return fmt.Errorf("node %q calls itself %q", n.Name, node.ID)
	}
	addr, _ := netip.AddrFromSlice(n.Addr)
	if !r.known(netip.AddrPortFrom(addr.Unmap(), n.Port)) {
		return errUnknown
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	switch _, member := r.entries[node.ID]; {
	case r.isForgotten(node.ID):
		return errRemoved
	case !member && r.count(Alive) >= maxAlive:
		return errFull
	}
	return nil
}

// NotifyJoin implements memberlist.EventDelegate.
func (r *roster) NotifyJoin(n *memberlist.Node) {
	r.mu.Lock()
	defer r.mu.Unlock()
	e := r.put(n)
	if e != nil && e.ID != r.self {
		r.log.Info("node joined gossip", "node", e.Name, "id", e.ID, "addr", e.Addr)
	}
}

// NotifyUpdate implements memberlist.EventDelegate.
func (r *roster) NotifyUpdate(n *memberlist.Node) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.put(n)
}

// NotifyLeave implements memberlist.EventDelegate.
func (r *roster) NotifyLeave(n *memberlist.Node) {
	r.mu.Lock()
	defer r.mu.Unlock()
	e, ok := r.entries[n.Name]
	if !ok || r.closed || e.State != Alive {
		return
	}
	e.State, e.Seen = Failed, time.Now()
	if e.farewell {
		e.State = Left
	}
	r.prune()
	if e.ID != r.self {
		r.log.Info("node left gossip", "node", e.Name, "id", e.ID, "addr", e.Addr, "farewell", e.farewell)
	}
}

func (r *roster) put(n *memberlist.Node) *entry {
	node, boot, err := decodeMeta(n.Meta)
	if err != nil || r.closed || r.isForgotten(node.ID) {
		return nil
	}
	addr, _ := netip.AddrFromSlice(n.Addr)
	node.Addr = addr.Unmap()
	e := &entry{Member: Member{Node: node, State: Alive}, port: n.Port, boot: boot}
	r.entries[node.ID] = e
	return e
}

// farewell notes that a node says goodbye, and reports whether that is news.
// The message and memberlist's own may come in either order, and one from an
// earlier life of the node may come late.
func (r *roster) farewell(id string, boot int64) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	e, ok := r.entries[id]
	if !ok || e.boot != boot || e.farewell || id == r.self {
		return false
	}
	e.farewell = true
	if e.State == Failed {
		e.State = Left
	}
	return true
}

// alive counts the members that are there, this node included.
func (r *roster) alive() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.count(Alive)
}

func (r *roster) count(s State) (n int) {
	for _, e := range r.entries {
		if e.State == s {
			n++
		}
	}
	return n
}

func (r *roster) members() []Member {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.prune()
	now := time.Now()
	list := make([]Member, 0, len(r.entries))
	for _, e := range r.entries {
		m := e.Member
		if m.State == Alive {
			m.Seen = now
		}
		list = append(list, m)
	}
	slices.SortFunc(list, func(a, b Member) int { return strings.Compare(a.ID, b.ID) })
	return list
}

// prune forgets members that are gone for too long.
func (r *roster) prune() {
	var oldest *entry
	gone := 0
	for id, e := range r.entries {
		switch {
		case e.State == Alive:
		case time.Since(e.Seen) > keepGone:
			delete(r.entries, id)
		default:
			gone++
			if oldest == nil || e.Seen.Before(oldest.Seen) {
				oldest = e
			}
		}
	}
	if gone > maxGone {
		delete(r.entries, oldest.ID)
	}
}
