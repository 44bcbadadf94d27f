package node

import (
	"crypto/tls"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"testing"

	"github.com/crawlbox/crawlbox/appliance/cluster/pki"
	"github.com/crawlbox/crawlbox/appliance/fleet"
	"github.com/crawlbox/crawlbox/configs"
	"github.com/crawlbox/crawlbox/embedded/gossip"
)

func identity(t *testing.T) (*pki.Identity, error) {
	t.Helper()
	ca, err := pki.LoadOrCreateCA(t.TempDir())
	if err != nil {
		return nil, err
	}
	return pki.ManagerIdentity(t.TempDir(), ca, pki.Self{Name: "h1", Addr: netip.MustParseAddr("10.0.0.1")}, pki.Membership{})
}

// TestOthers_GossipIsAHint: whom gossip names where no node is, nobody asks.
func TestOthers_GossipIsAHint(t *testing.T) {
	t.Parallel()
	g := &ground{addr: netip.MustParseAddr("10.0.0.1"), cfg: configs.Config{}}
	g.cfg.Node.Port = 7980
	at := func(to netip.AddrPort) bool { return to.Addr() == netip.MustParseAddr("10.0.0.2") }
	var members []gossip.Member
	for _, addr := range []string{"10.0.0.1", "10.0.0.2", "10.0.0.3", "169.254.169.254"} {
		members = append(members, gossip.Member{Node: gossip.Node{ID: addr, Name: addr, Role: fleet.RoleWorker, Addr: netip.MustParseAddr(addr)}, State: gossip.Alive})
	}
	if got := g.others(members, at); len(got) != 1 || got[0] != "10.0.0.2:7980" {
		t.Errorf("asked are %v", got)
	}
	if got := g.known(members, at); len(got) != 1 || got[0].Name != "10.0.0.2" {
		t.Errorf("tried are %v", got)
	}
}

// TestAsker_ByItsCertificate: a node is named to others by what its certificate says or
// where it comes from, whatever gossip has of it.
func TestAsker_ByItsCertificate(t *testing.T) {
	t.Parallel()
	g := &ground{}
	g.cfg.Node.Port = 7980
	id, err := identity(t)
	if err != nil {
		t.Fatal(err)
	}
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	r.RemoteAddr = "[::ffff:192.0.2.7]:4000"
	if got := g.asker(r); got != "192.0.2.7:7980" {
		t.Errorf("without an address in its certificate: %s", got)
	}
	r.TLS = &tls.ConnectionState{}
	r.TLS.PeerCertificates = append(r.TLS.PeerCertificates, id.Certificate().Leaf)
	if got := g.asker(r); got != "10.0.0.1:7980" {
		t.Errorf("with one: %s", got)
	}
}
