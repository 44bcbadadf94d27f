package addressbook

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/crawlbox/crawlbox/appliance/fleet"
)

var self, other, down, away = addr("10.0.0.1"), addr("10.0.0.2"), addr("10.0.0.3"), addr("192.0.2.4")

func addr(text string) netip.Addr { return netip.MustParseAddr(text) }

// swarm is one that has three nodes, or can't be asked.
type swarm struct {
	away  atomic.Bool
	asked int
}

func (s *swarm) Nodes(context.Context) ([]fleet.Node, error) {
	s.asked++
	if s.away.Load() {
		return nil, errors.New("Docker is away")
	}
	return []fleet.Node{
		{Addr: self.String(), State: fleet.StateReady},
		{Addr: other.String(), State: fleet.StateReady},
		{Addr: down.String(), State: "down"},
		{Addr: "0.0.0.0", State: fleet.StateReady},
	}, nil
}

func TestSet(t *testing.T) {
	t.Parallel()
	var b Book
	if !b.set([]netip.Addr{other, self, other}) || b.set([]netip.Addr{self, other}) || !b.set([]netip.Addr{self}) {
		t.Error("it does not know what is new")
	}
	last := addr("255.0.0.1")
	many := []netip.Addr{last}
	for i := range 2 * maxAddrs {
		many = append(many, netip.AddrFrom4([4]byte{10, 1, byte(i >> 8), byte(i)}))
	}
	if b.set(many); len(b.Known()) != maxAddrs || !slices.Contains(b.Known(), last) {
		t.Errorf("%d addresses are told, the first one: %v", len(b.Known()), slices.Contains(b.Known(), last))
	}
}

// TestRun: nodes hear of each change once, and what is known stays while Swarm can't be
// asked.
func TestRun(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &swarm{}
		b := New(s, func() []netip.Addr { return []netip.Addr{away} }, self, slog.New(slog.DiscardHandler))
		knows := func(want ...netip.Addr) {
			t.Helper()
			if got := b.Known(); !slices.Equal(got, want) {
				t.Errorf("it knows %v, want %v", got, want)
			}
		}
		knows(self, away)
		told := 0
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- b.Run(ctx, func() error { told++; return nil }) }()
		time.Sleep(10*maxAge + time.Millisecond)
		knows(self, other, down, away)
		s.away.Store(true)
		time.Sleep(10 * maxAge)
		knows(self, other, down, away)
		cancel()
		if err := <-done; err != nil || told != 1 {
			t.Errorf("nodes were told %d times, want once: %v", told, err)
		}
	})
}

func TestNodes_AskedOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &swarm{}
		b := New(s, func() []netip.Addr { return nil }, self, slog.New(slog.DiscardHandler))
		want := []netip.AddrPort{
			netip.AddrPortFrom(self, 7981),
			netip.AddrPortFrom(other, 7981),
			netip.MustParseAddrPort("0.0.0.0:7981"),
		}
		for range 100 {
			if got := b.Seeds(7981); !slices.Equal(got, want) {
				t.Fatalf("gossip looks at %v, want %v", got, want)
			}
		}
		if s.asked != 1 {
			t.Errorf("Swarm was asked %d times at once", s.asked)
		}
		if b.Forget(); len(b.Seeds(1)) != 3 || s.asked != 2 {
			t.Errorf("Swarm was asked %d times, want once more", s.asked)
		}
		time.Sleep(maxAge)
		if _, err := b.Nodes(); err != nil || s.asked != 3 {
			t.Errorf("Swarm was asked %d times, the last a while ago: %v", s.asked, err)
		}
	})
}
