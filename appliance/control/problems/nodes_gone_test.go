package problems

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/crawlbox/crawlbox/appliance/fleet"
)

// TestIfGone names what can be done: the manager with the queue is not taken off the list first, as it has what
// the others have not.
func TestIfGone(t *testing.T) {
	t.Parallel()
	s := Seen{QueueHome: netip.MustParseAddr("10.0.0.1")}
	for want, n := range map[string]fleet.Node{
		"crawlbox install manager --restore": {Display: "h1", Addr: "10.0.0.1", Role: fleet.RoleManager},
		"`crawlbox node demote h2` and":      {Display: "h2", Addr: "10.0.0.2", Role: fleet.RoleManager},
		"`crawlbox node rm h3`":              {Display: "h3", Addr: "10.0.0.3", Role: fleet.RoleWorker},
	} {
		got := s.ifGone(n)
		before, _, ok := strings.Cut(got, want)
		if !ok || strings.Contains(before, "demote") {
			t.Errorf("%s: %s", n.Display, got)
		}
	}
}
