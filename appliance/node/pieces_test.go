package node

import (
	"net/netip"
	"testing"

	"github.com/crawlbox/crawlbox/appliance/fleet"
	"github.com/crawlbox/crawlbox/configs"
	"github.com/crawlbox/crawlbox/embedded/gossip"
)

// TestOthers_GossipIsAHint: whom gossip names where no node is, nobody asks.
func TestOthers_GossipIsAHint(t *testing.T) {
	t.Parallel()
	n := &Node{addr: netip.MustParseAddr("10.0.0.1"), cfg: configs.Config{}}
	n.cfg.Node.Port = 7980
	at := func(to netip.AddrPort) bool { return to.Addr() == netip.MustParseAddr("10.0.0.2") }
	var members []gossip.Member
	for _, addr := range []string{"10.0.0.1", "10.0.0.2", "10.0.0.3", "169.254.169.254"} {
		members = append(members, gossip.Member{
			Node:  gossip.Node{ID: addr, Name: addr, Role: fleet.RoleWorker, Addr: netip.MustParseAddr(addr)},
			State: gossip.Alive,
		})
	}
	if got := n.alive(members, at); len(got) != 1 || got[0] != "10.0.0.2:7980" {
		t.Errorf("asked are %v", got)
	}
}
