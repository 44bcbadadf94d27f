package agent

import (
	"net/netip"
	"testing"

	"github.com/crawlbox/crawlbox/appliance/cluster/pki"
	"github.com/crawlbox/crawlbox/appliance/cluster/state/statetest"
	"github.com/crawlbox/crawlbox/appliance/fleet"
	"github.com/crawlbox/crawlbox/embedded/gossip"
)

// TestView_GossipIsAHint: whom gossip names where no node is, nobody asks.
func TestView_GossipIsAHint(t *testing.T) {
	t.Parallel()
	ca, err := pki.LoadOrCreateCA(statetest.Open(t, t.TempDir()))
	if err != nil {
		t.Fatal(err)
	}
	self := netip.MustParseAddr("10.0.0.1")
	id, err := pki.ManagerIdentity(t.TempDir(), ca, pki.Self{Name: "h1", Addr: self}, pki.Membership{
		Nodes: []netip.Addr{self, netip.MustParseAddr("10.0.0.2")},
	})
	if err != nil {
		t.Fatal(err)
	}
	var members []gossip.Member
	for _, addr := range []string{"10.0.0.1", "10.0.0.2", "10.0.0.3", "169.254.169.254"} {
		members = append(members, gossip.Member{
			Node:  gossip.Node{ID: addr, Name: addr, Role: fleet.RoleWorker, Addr: netip.MustParseAddr(addr)},
			State: gossip.Alive,
		})
	}
	v := NewView(id, self, 7980, func() []gossip.Member { return members })
	if got := v.Alive(); len(got) != 1 || got[0] != "10.0.0.2:7980" {
		t.Errorf("asked are %v", got)
	}
}

// TestView_Manager: of the managers one that runs is asked, as far as gossip has heard, and never this node.
func TestView_Manager(t *testing.T) {
	t.Parallel()
	ca, err := pki.LoadOrCreateCA(statetest.Open(t, t.TempDir()))
	if err != nil {
		t.Fatal(err)
	}
	self := netip.MustParseAddr("10.0.0.1")
	at := func(addr string) netip.AddrPort { return netip.AddrPortFrom(netip.MustParseAddr(addr), 7980) }
	id, err := pki.ManagerIdentity(t.TempDir(), ca, pki.Self{Name: "h1", Addr: self}, pki.Membership{
		Managers: []netip.AddrPort{at("10.0.0.1"), at("10.0.0.2"), at("10.0.0.3")},
	})
	if err != nil {
		t.Fatal(err)
	}
	members := []gossip.Member{{Node: gossip.Node{Name: "h1", Addr: self}, State: gossip.Alive}}
	v := NewView(id, self, 7980, func() []gossip.Member { return members })
	if got := v.ManagerName(); got != "10.0.0.2" {
		t.Errorf("where none runs it is %s", got)
	}
	other := gossip.Node{Name: "h3", Addr: at("10.0.0.3").Addr()}
	members = append(members, gossip.Member{Node: other, State: gossip.Alive})
	if got := v.ManagerName(); got != "h3 (10.0.0.3)" {
		t.Errorf("where one runs it is %s", got)
	}
}
