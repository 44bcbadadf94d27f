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

// TestTo_Whom: calls go to the manager that has to answer them, if it runs, and never to this node.
func TestTo_Whom(t *testing.T) {
	t.Parallel()
	ca, err := pki.LoadOrCreateCA(statetest.Open(t, t.TempDir()))
	if err != nil {
		t.Fatal(err)
	}
	self, other := netip.MustParseAddr("10.0.0.2"), netip.MustParseAddr("10.0.0.1")
	away := netip.MustParseAddr("10.0.0.3")
	id, err := pki.ManagerIdentity(t.TempDir(), ca, pki.Self{Name: "h2", Addr: self}, pki.Membership{})
	if err != nil {
		t.Fatal(err)
	}
	members := []gossip.Member{
		{Node: gossip.Node{Addr: self}, State: gossip.Alive},
		{Node: gossip.Node{Addr: other}, State: gossip.Alive},
		{Node: gossip.Node{Addr: away}, State: gossip.Failed},
	}
	view := agent.NewView(id, self, 7980, func() []gossip.Member { return members })
	var where netip.Addr
	to := To(view, func() netip.Addr { return where }, agent.NewClient(view.At, id))
	for addr, asked := range map[netip.Addr]bool{{}: false, self: false, other: true, away: false} {
		where = addr
		if got := to(); (got != nil) != asked {
			t.Errorf("where it is %v, calls go to %v", addr, got)
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
