package problems

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/crawlbox/crawlbox/appliance/fleet"
)

// TestIfGone names what can be done: a restore, which begins everything anew, only where nothing can be changed.
func TestIfGone(t *testing.T) {
	t.Parallel()
	home := fleet.Node{Display: "h1", Addr: "10.0.0.1", Role: fleet.RoleManager}
	manager := fleet.Node{Display: "h2", Addr: "10.0.0.2", Role: fleet.RoleManager, State: fleet.StateReady}
	worker := fleet.Node{Display: "h3", Addr: "10.0.0.3", Role: fleet.RoleWorker}
	const restore = "crawlbox install manager --restore"
	for _, tc := range []struct {
		gone   fleet.Node
		apart  bool
		others []fleet.Node
		says   []string
		not    string
	}{
		{home, false, []fleet.Node{manager}, []string{restore, "empty queue"}, "demote"},
		{
			home, false, []fleet.Node{manager, manager},
			[]string{"`crawlbox node rm h1`, and then `crawlbox recover"}, restore,
		},
		{
			home, true, []fleet.Node{manager, manager},
			[]string{"goes on with Valkey", "engine: valkey", "--queue` there"}, "lost",
		},
		{manager, false, []fleet.Node{home}, []string{"`crawlbox node demote h2` and"}, restore},
		{worker, false, []fleet.Node{home}, []string{"`crawlbox node rm h3`"}, restore},
	} {
		s := Seen{QueueHome: netip.MustParseAddr("10.0.0.1"), QueueApart: tc.apart,
			Cluster: &fleet.Snapshot{Nodes: append(tc.others, tc.gone)}}
		got := s.ifGone(tc.gone)
		for _, part := range tc.says {
			if !strings.Contains(got, part) || strings.Contains(got, tc.not) {
				t.Errorf("%s: %s", tc.gone.Display, got)
			}
		}
	}
}
