package cluster

import (
	"strings"
	"testing"

	"github.com/crawlbox/crawlbox/appliance/cli/tui"
	"github.com/crawlbox/crawlbox/appliance/fleet"
	"github.com/crawlbox/crawlbox/appliance/upgrade"
)

func TestOlder(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		a, b string
		want bool
	}{
		{"1.2.3", "1.10.0", true}, {"v1.2.3", "1.2.4", true}, {"1.2.3-5-gabcdef0", "2.0.0-dirty", true},
		{"1.2.3", "1.2.3", false}, {"1.2.3", "1.2.3-5-gabcdef0", false}, {"1.10.0", "1.2.3", false},
		{"1234567", "9.9.9", false}, {"dev", "9.9.9", false}, {"1.2.3", "", false}, {"0.0.0", "c4a8430", false},
	} {
		if got := older(c.a, c.b); got != c.want {
			t.Errorf("%s before %s: got %v", c.a, c.b, got)
		}
	}
}

func TestRenderSteps_TellsTheWayBack(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	renderSteps(tui.Screen{W: &out}, []upgrade.Step{
		{Node: fleet.Node{Display: "h1"}, From: "2.0.0"}, {Node: fleet.Node{Display: "h2"}, From: "1.0.0"},
	}, upgrade.Offer{Version: "1.5.0"})
	if lines := strings.Split(out.String(), "\n"); !strings.Contains(lines[1], "  back to 1.5.0") ||
		!strings.Contains(lines[2], "  to 1.5.0") {
		t.Errorf("it shows\n%s", out.String())
	}
}
