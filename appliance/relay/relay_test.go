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
	l := New(view, agent.NewClient(view.At, id))
	var where netip.Addr
	is, ready := func() netip.Addr { return where }, false
	to, leader := l.To(is), l.ToLeader(is, func() bool { return ready })
	for _, c := range []struct {
		addr    netip.Addr
		passed  bool // to one that has what others have not
		leading bool // to the one that leads
		known   bool // who leads
	}{
		{netip.Addr{}, false, false, false},
		{self, false, false, false},
		{other, true, true, true},
		{away, false, true, true}, // until another one leads
	} {
		where = c.addr
		if got, known := to(); (got != nil) != c.passed || !known {
			t.Errorf("where it is %v, calls are passed on: %v", c.addr, got != nil)
		}
		if got, known := leader(); (got != nil) != c.leading || known != c.known {
			t.Errorf("where %v leads, calls are passed on: %v, known: %v", c.addr, got != nil, known)
		}
	}
	where, ready = self, true
	if got, known := leader(); got != nil || !known {
		t.Error("the one that leads does not answer itself")
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
