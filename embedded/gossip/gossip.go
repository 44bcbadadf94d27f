// Package gossip tells every node of the cluster about every other: name,
// role, version, free disk, state of its Docker Engine. It runs hashicorp's
// memberlist, encrypted with AES-256, on one address and one port.
//
// What it knows is a hint for people and for choosing whom to ask first. It is
// never an authority: whoever holds the key can say anything about anybody. So it
// says who is there, and Options.Known where they are: nothing is sent to another
// address, whatever a member says of itself or of others.
//
// A stranger without a key learns nothing and holds nobody up: packets it sends are dropped,
// and streams, of which memberlist reads some before it can tell, are bounded so
// that one address cannot take those of others. Keys are changed while nodes talk
// (SetKeys), which is what shuts out a node that was removed.
//
// A node starts alone and dials its seeds until they are members. It goes on
// looking at them for as long as it runs, so a manager that lost all memory is
// found again by its workers, and the halves of a split network find together
// without anyone's help. Members that are gone stay known for a day.
//
//	New ──▶ Run: listening (Ready) ──▶ seeking seeds ◀─▶ in touch ──▶ leaving ──▶ stopped
package gossip

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/memberlist"
)

// DefaultPort is the TCP and UDP port. memberlist's usual 7946 belongs to
// Docker Swarm on the same hosts.
const DefaultPort = 7981

// leaveTimeout bounds how long a node tells the others that it goes.
const leaveTimeout = 3 * time.Second

// Options say who this node is and whom it looks for.
type Options struct {
	// Addr is the one address that is listened on.
	Addr netip.Addr
	// Advertise is the address that is told to others; Addr if it is not set.
	Advertise netip.Addr
	// Port is used for TCP and UDP. 0 takes any free one.
	Port uint16
	// Keys of KeySize bytes: the first encrypts everything, all decrypt. SetKeys
	// changes them.
	Keys [][]byte
	// Self holds what others learn about this node. Its ID is unique in the cluster.
	Self Node
	// Seeds returns addresses where other nodes may be found. It is asked again
	// before each try and may be nil.
	Seeds func() []netip.AddrPort
	// Known reports whether a node of the cluster is at an address, by what the caller
	// knows from elsewhere. It must be safe for concurrent use, must not wait, and may
	// change its mind. nil means that every address may be one.
	Known func(netip.AddrPort) bool

	// Tests hurry and cut cables with these.
	tune     func(*memberlist.Config)
	retryMin time.Duration
	retryMax time.Duration
}

// Gossip is one node's part. It is safe for concurrent use, also before and after Run.
type Gossip struct {
	opts   Options
	log    *slog.Logger
	lines  *logWriter
	roster *roster
	queue  *memberlist.TransmitLimitedQueue
	ready  chan struct{}
	change chan struct{} // holds one token when self has news

	keysMu sync.Mutex // for one who changes them at a time
	ring   *memberlist.Keyring

	mu    sync.Mutex
	self  Node   // as last given to Update
	meta  []byte // as the others know it
	local netip.AddrPort
}

// New checks the options. It opens nothing yet.
func New(opts Options, log *slog.Logger) (*Gossip, error) {
	ring, err := newRing(opts.Keys)
	if err != nil {
		return nil, err
	}
	opts.Keys = nil // they change
	if !opts.Addr.IsValid() || opts.Addr.IsUnspecified() {
		return nil, fmt.Errorf("gossip needs one address of this node to listen on, not %q", opts.Addr)
	}
	if !opts.Advertise.IsValid() {
		opts.Advertise = opts.Addr
	}
	if opts.Known == nil {
		opts.Known = func(netip.AddrPort) bool { return true }
	}
	if opts.Seeds == nil {
		opts.Seeds = func() []netip.AddrPort { return nil }
	}
	if opts.retryMin == 0 {
		opts.retryMin, opts.retryMax = 500*time.Millisecond, 15*time.Second
	}
	boot := time.Now().UnixNano()
	meta, err := encodeMeta(opts.Self, boot)
	if err != nil {
		return nil, fmt.Errorf("describe this node to gossip: %w", err)
	}
	g := &Gossip{
		opts:   opts,
		log:    log,
		lines:  newLogWriter(log),
		ready:  make(chan struct{}),
		change: make(chan struct{}, 1),
		ring:   ring,
		self:   opts.Self,
		meta:   meta,
	}
	g.roster = newRoster(opts.Self.ID, boot, g.mayReach, log)
	g.queue = &memberlist.TransmitLimitedQueue{NumNodes: g.roster.alive, RetransmitMult: 4}
	return g, nil
}

// Run listens, looks for the seeds and keeps the membership until ctx ends;
// then it tells the others that it leaves, and returns after 3 s at the latest.
// An error means that it could not listen. It must be called once.
func (g *Gossip) Run(ctx context.Context) error {
	conf, err := g.config(ctx)
	if err != nil {
		return fmt.Errorf("listen for gossip on %s: %w", netip.AddrPortFrom(g.opts.Addr, g.opts.Port), err)
	}
	select {
	case <-g.change: // it is what the others hear first
	default:
	}
	list, err := memberlist.Create(conf)
	if err != nil {
		return errors.Join(fmt.Errorf("start gossip: %w", err), conf.Transport.Shutdown())
	}
	close(g.ready)

	var loops sync.WaitGroup
	loops.Go(func() { g.seek(ctx, list) })
	loops.Go(func() { g.publish(ctx, list) })
	loops.Wait()
	g.leave(list)
	g.lines.close()
	g.roster.close()
	return list.Shutdown()
}

// mayReach reports whether something may be sent to an address: to where a node is known to
// be, and to this node itself.
func (g *Gossip) mayReach(addr netip.AddrPort) bool {
	addr = netip.AddrPortFrom(addr.Addr().Unmap(), addr.Port())
	own := g.LocalAddr()
	return addr.Port() == own.Port() && (addr == own || addr.Addr() == g.opts.Advertise) || g.opts.Known(addr)
}

// Ready is closed when the node listens. It may still be alone then.
func (g *Gossip) Ready() <-chan struct{} { return g.ready }

// LocalAddr returns the address that is listened on, once Ready is closed.
func (g *Gossip) LocalAddr() netip.AddrPort {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.local
}

// Members returns all nodes known, this one too, sorted by ID: those alive, and
// those that left or failed within the last day.
func (g *Gossip) Members() []Member { return g.roster.members() }

// Answers reports whether a node at an address is alive.
func (g *Gossip) Answers(addr netip.Addr) bool {
	return slices.ContainsFunc(g.Members(), func(m Member) bool { return m.Addr == addr && m.State == Alive })
}

// Forget drops a node that was removed from the cluster, for good: its ID is not
// taken in again, whatever the others still say about it. What keeps it from
// listening are keys that it does not have. This node does not forget itself.
func (g *Gossip) Forget(id string) { g.roster.forget(id) }

// Update says what is new about this node. Others hear of it only where it
// matters: see material. The ID cannot change. It does not block; an error
// means that node cannot be encoded.
func (g *Gossip) Update(node Node) error {
	node.ID = g.opts.Self.ID
	meta, err := encodeMeta(node, g.roster.boot)
	if err != nil {
		return fmt.Errorf("describe this node to gossip: %w", err)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if !material(g.self, node) {
		return nil
	}
	g.self, g.meta = node, meta
	select {
	case g.change <- struct{}{}:
	default: // one token is enough for any number of changes
	}
	return nil
}

// publish hands changes of this node to memberlist, which spreads them.
func (g *Gossip) publish(ctx context.Context, list *memberlist.Memberlist) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-g.change:
		}
		// The update is queued at once; the timeout is only that of waiting
		// until it was sent, which nobody here needs to know.
		_ = list.UpdateNode(time.Nanosecond)
	}
}

// leave lets the others tell a node that went from one that broke.
func (g *Gossip) leave(list *memberlist.Memberlist) {
	if g.roster.alive() < 2 {
		return
	}
	deadline := time.NewTimer(leaveTimeout)
	defer deadline.Stop()
	sent := make(chan struct{})
	g.queue.QueueBroadcast(&broadcast{msg: encodeFarewell(g.opts.Self.ID, g.roster.boot), sent: sent})
	if err := list.Leave(leaveTimeout); err != nil {
		g.log.Debug("leave gossip", "error", err)
		return
	}
	select {
	case <-sent:
	case <-deadline.C:
	}
}
