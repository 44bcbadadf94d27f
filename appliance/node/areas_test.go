package node

import (
	"maps"
	"slices"
	"testing"

	"github.com/crawlbox/crawlbox/appliance/api"
	"github.com/crawlbox/crawlbox/appliance/controller/services"
	"github.com/crawlbox/crawlbox/appliance/node/leading"
)

// TestAreas_OfEveryRole holds that nodes of both roles answer the same calls: what one has
// not, it knows where to find.
func TestAreas_OfEveryRole(t *testing.T) {
	t.Parallel()
	p := openPort(t, unchanged)
	w := &joined{Node: p.m.Node, mirror: aMirror(t)}
	p.m.leading = &leading.Manager{Services: services.NewCurrent(nil)}
	manager, joined := callsOf(t, slices.Concat(p.m.areas())), callsOf(t, w.areas())
	if !slices.Equal(manager, joined) {
		t.Errorf("a manager answers %q, a node without the state %q", manager, joined)
	}
}

func callsOf(t *testing.T, areas []api.Area) []string {
	t.Helper()
	all := api.Area{}
	for _, area := range areas {
		for pattern, route := range area {
			if _, twice := all[pattern]; twice {
				t.Errorf("%s is in two areas", pattern)
			}
			all[pattern] = route
		}
	}
	return slices.Sorted(maps.Keys(all))
}
