package cluster

import (
	"bytes"
	"testing"

	"github.com/crawlbox/crawlbox/appliance/cli/tui"
	"github.com/crawlbox/crawlbox/appliance/fleet"
)

func TestNodeCells(t *testing.T) {
	t.Parallel()
	n := fleet.Node{
		Engine: "29.1.0",
		Agent:  &fleet.Agent{State: "alive", Version: "0.1.0", Docker: "stopped", FreeDisk: 1000},
	}
	disk, docker, agent := agentCells(n)
	if got := disk.Text + " " + docker.Text + " " + agent.Text; got != "1kB stopped 0.1.0" {
		t.Errorf("got %s", got)
	}
}

// TestMakesTwo: one manager becomes two whatever else is named that is one already.
func TestMakesTwo(t *testing.T) {
	t.Parallel()
	h1 := fleet.Node{ID: "h1", Role: fleet.RoleManager}
	h2, h3 := fleet.Node{ID: "h2", Role: fleet.RoleWorker}, fleet.Node{ID: "h3", Role: fleet.RoleWorker}
	all := []fleet.Node{h1, h2, h3}
	for _, tc := range []struct {
		promoted []fleet.Node
		want     bool
	}{
		{[]fleet.Node{h2}, true},
		{[]fleet.Node{h1, h2}, true},
		{[]fleet.Node{h2, h3}, false},
		{[]fleet.Node{h1}, false},
	} {
		if got := makesTwo(all, tc.promoted); got != tc.want {
			t.Errorf("%v: got %t", tc.promoted, got)
		}
	}
}

func TestViews_Empty(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	renderNodes(tui.Screen{W: &out, Width: 80}, nil)
	if got := out.String(); got != "NAME  ROLE  STATE  ADDRESS  DISK  DOCKER  CRAWLBOX  TASKS\n" {
		t.Errorf("got %q", got)
	}
}

// TestLeavesActive wants to know whether a drain leaves nothing that takes tasks.
func TestLeavesActive(t *testing.T) {
	t.Parallel()
	node := func(id, state, availability string) fleet.Node {
		return fleet.Node{ID: id, State: state, Availability: availability}
	}
	up, active := fleet.StateReady, fleet.AvailabilityActive
	one, two := node("1", up, active), node("2", up, active)
	down, paused := node("3", "down", active), node("4", up, fleet.AvailabilityPause)
	for name, tc := range map[string]struct {
		all, drained []fleet.Node
		want         bool
	}{
		"one of two":           {[]fleet.Node{one, two}, []fleet.Node{one}, true},
		"both":                 {[]fleet.Node{one, two}, []fleet.Node{two, one}, false},
		"the only one":         {[]fleet.Node{one}, []fleet.Node{one}, false},
		"the only one that is": {[]fleet.Node{one, down, paused}, []fleet.Node{one}, false},
		"one that is down":     {[]fleet.Node{one, down}, []fleet.Node{down}, true},
	} {
		if got := leavesActive(tc.all, tc.drained); got != tc.want {
			t.Errorf("%s: got %v", name, got)
		}
	}
}
