package relay

import (
	"net/http"
	"net/netip"
	"testing"

	"github.com/crawlbox/crawlbox/appliance/agent"
	"github.com/crawlbox/crawlbox/appliance/cluster/pki"
	"github.com/crawlbox/crawlbox/appliance/cluster/state/statetest"
	"github.com/crawlbox/crawlbox/embedded/gossip"
)

// TestToPrimary_NoneIsLeft: once the first manager was taken off the swarm, nobody is asked in its place,
// and this node least of all.
func TestToPrimary_NoneIsLeft(t *testing.T) {
	t.Parallel()
	ca, err := pki.LoadOrCreateCA(statetest.Open(t, t.TempDir()))
	if err != nil {
		t.Fatal(err)
	}
	at := func(addr string) netip.AddrPort { return netip.AddrPortFrom(netip.MustParseAddr(addr), 7980) }
	self, first := at("10.0.0.2"), at("10.0.0.1")
	id, err := pki.ManagerIdentity(t.TempDir(), ca, pki.Self{Name: "h2", Addr: self.Addr()}, pki.Membership{})
	if err != nil {
		t.Fatal(err)
	}
	var members []gossip.Member
	for _, at := range []netip.AddrPort{self, at("10.0.0.3"), first} {
		members = append(members, gossip.Member{Node: gossip.Node{Addr: at.Addr()}, State: gossip.Alive})
	}
	view := agent.NewView(id, self.Addr(), 7980, func() []gossip.Member { return members })
	to := ToPrimary(view, agent.NewClient(view.At, id))
	for _, c := range []struct {
		full  []netip.AddrPort
		asked bool
	}{{[]netip.AddrPort{first}, true}, {nil, false}} {
		err := id.Adopt(pki.Membership{
			Managers: []netip.AddrPort{self, at("10.0.0.3")},
			Nodes:    []netip.Addr{self.Addr(), first.Addr()},
			Full:     c.full,
		})
		if err != nil {
			t.Fatal(err)
		}
		if got := to(); (got != nil) != c.asked {
			t.Errorf("where %v have all images, calls go to %v", c.full, got)
		}
		if view.Primary() == self.Addr() {
			t.Errorf("where %v have all images, it is this node", c.full)
		}
	}
}

// TestExplained: who does not answer is told of in plain words.
func TestExplained(t *testing.T) {
	t.Parallel()
	away := explained{http.DefaultTransport, "127.0.0.1:1"}
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://127.0.0.1:1", nil)
	if err != nil {
		t.Fatal(err)
	}
	_, err = away.RoundTrip(r)
	if want := "nothing listens at 127.0.0.1:1; it may be stopped"; err == nil || err.Error() != want {
		t.Errorf("%v, want %s", err, want)
	}
}
