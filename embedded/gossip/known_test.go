package gossip

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/memberlist"
)

func anywhere(netip.AddrPort) bool { return true }

// TestKnown_NothingGoesElsewhere has a member with the key say that it is at the address
// of a stranger that has nothing to do with the cluster. The same with no rule shows that
// the stranger would hear of it.
func TestKnown_NothingGoesElsewhere(t *testing.T) {
	t.Parallel()
	for name, rule := range map[string]bool{"where nodes are known": true, "anywhere": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			heard, victim := bystander(t)
			a, b := newHost(t, "a"), newHost(t, "b")
			if rule {
				nodes := []netip.AddrPort{netip.AddrPortFrom(a.opts.Addr,
					testPort), netip.AddrPortFrom(b.opts.Addr, testPort)}
				known := func(addr netip.AddrPort) bool { return slices.Contains(nodes, addr) }
				a.opts.Known, b.opts.Known = known, known
			}
			a.start()
			b.opts.Seeds = func() []netip.AddrPort { return []netip.AddrPort{a.LocalAddr()} }
			b.start()
			evil := newHost(t, "evil", a)
			evil.opts.Advertise = victim
			evil.start()
			within(t, func() error { return sees(evil, a.opts.Self.ID, b.opts.Self.ID) })
			within(t, func() error { return errors.Join(sees(a, b.opts.Self.ID), sees(b, a.opts.Self.ID)) })
			if !rule {
				within(t, func() error {
					if heard.Load() == 0 {
						return errors.New("the bystander heard nothing")
					}
					return nil
				})
				return
			}
			time.Sleep(10 * 100 * time.Millisecond) // ten rounds of probes
			if heard.Load() != 0 {
				t.Errorf("the bystander was called %d times", heard.Load())
			}
			for _, h := range []*host{a, b} {
				if sees(h, evil.opts.Self.ID) == nil {
					t.Errorf("%s has the liar for a member", h.opts.Self.Name)
				}
			}
		})
	}
}

// TestKnown_NoLonger has a node be known no longer at once, with no probe in between: it is a
// member for nobody soon, also of those whom the others tell of their members.
func TestKnown_NoLonger(t *testing.T) {
	t.Parallel()
	a, b := newHost(t, "a"), newHost(t, "b")
	var removed atomic.Bool
	a.opts.Known = func(addr netip.AddrPort) bool { return addr.Addr() != b.opts.Addr || !removed.Load() }
	a.start()
	b.opts.Seeds = func() []netip.AddrPort { return []netip.AddrPort{a.LocalAddr()} }
	b.start()
	within(t, func() error { return sees(a, b.opts.Self.ID) })
	removed.Store(true)
	within(t, func() error {
		if sees(a, b.opts.Self.ID) == nil {
			return errors.New("it is a member still")
		}
		return nil
	})
}

// bystander counts what comes to an address on the port of gossip.
func bystander(t *testing.T) (heard *atomic.Int64, addr netip.Addr) {
	t.Helper()
	addr = newHost(t, "bystander").opts.Addr
	at := netip.AddrPortFrom(addr, testPort).String()
	stream, err := net.Listen("tcp", at)
	if err != nil {
		t.Fatal(err)
	}
	packets, err := net.ListenPacket("udp", at)
	if err != nil {
		t.Fatal(err)
	}
	heard = new(atomic.Int64)
	done := make(chan struct{}, 2)
	go func() {
		defer func() { done <- struct{}{} }()
		for {
			conn, err := stream.Accept()
			if err != nil {
				return
			}
			heard.Add(1)
			conn.Close()
		}
	}()
	go func() {
		defer func() { done <- struct{}{} }()
		for {
			if _, _, err := packets.ReadFrom(make([]byte, 1<<16)); err != nil {
				return
			}
			heard.Add(1)
		}
	}()
	t.Cleanup(func() { stream.Close(); packets.Close(); <-done; <-done })
	return heard, addr
}

// sees reports whether a host has all of these among its living members.
func sees(h *host, ids ...string) error {
	for _, id := range ids {
		if !slices.ContainsFunc(h.Members(), func(m Member) bool { return m.ID == id && m.State == Alive }) {
			return fmt.Errorf("%s does not see %s", h.opts.Self.Name, id)
		}
	}
	return nil
}

func within(t *testing.T, check func() error) {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for err := check(); err != nil; err = check() {
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// TestKnown_AllWaysOut: whatever way memberlist takes, the transport looks where to.
func TestKnown_AllWaysOut(t *testing.T) {
	t.Parallel()
	tr := &transport{known: func(netip.AddrPort) bool { return false }}
	for _, addr := range []string{"192.0.2.1:7981", "192.0.2.1:22", "[2001:db8::1]:7981", "example.com:80", "", "x"} {
		to := memberlist.Address{Addr: addr}
		_, err1 := tr.DialTimeout(addr, time.Second)
		_, err2 := tr.DialAddressTimeout(to, time.Second)
		_, err3 := tr.WriteTo(nil, addr)
		_, err4 := tr.WriteToAddress(nil, to)
		for i, err := range []error{err1, err2, err3, err4} {
			if !errors.Is(err, errUnknown) {
				t.Errorf("%q, way %d: %v", addr, i+1, err)
			}
		}
	}
}

// TestRoster_MadeUpMembers: a member with the key makes up others without end.
func TestRoster_MadeUpMembers(t *testing.T) {
	t.Parallel()
	r := newRoster("self", 1, anywhere, slog.New(slog.DiscardHandler))
	add := func(n int) error {
		id := fmt.Sprint("made-up-", n)
		meta, err := encodeMeta(Node{ID: id, Name: "x"}, 1)
		if err != nil {
			t.Fatal(err)
		}
		node := &memberlist.Node{Name: id, Addr: net.IPv4(10, 0, byte(n>>8), byte(n)), Port: 7981, Meta: meta}
		if err := r.NotifyAlive(node); err != nil {
			return err
		}
		r.NotifyJoin(node)
		return nil
	}
	for n := range maxAlive {
		if err := add(n); err != nil {
			t.Fatal(err)
		}
	}
	if err := add(maxAlive); !errors.Is(err, errFull) {
		t.Errorf("one more: %v", err)
	}
	if err := add(7); err != nil {
		t.Errorf("one that is a member: %v", err)
	}
	for n := range maxAlive {
		r.NotifyLeave(&memberlist.Node{Name: fmt.Sprint("made-up-", n)})
	}
	for n := range 100 {
		if err := add(maxAlive + n); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(r.members()); n > maxGone+100 {
		t.Errorf("%d members are remembered", n)
	}
}
