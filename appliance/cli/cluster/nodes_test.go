package cluster

import (
	"bytes"
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/crawlbox/crawlbox/appliance/cli/command"
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

// TestDemotion decides on all that are named: two managers are left only where who goes is down, or by force.
func TestDemotion(t *testing.T) {
	t.Parallel()
	manager := func(id, state string) fleet.Node {
		return fleet.Node{ID: id, Display: id, Role: fleet.RoleManager, State: state}
	}
	up, down := fleet.StateReady, fleet.StateDown
	h1, h2, h3, h4 := manager("h1", up), manager("h2", up), manager("h3", up), manager("h4", up)
	h1.HasQueue = true
	dead, worker := manager("dead", down), fleet.Node{ID: "w", Role: fleet.RoleWorker, State: up}
	lost := manager("lost", fleet.StateUnreachable)
	lost.HasQueue = true
	for name, tc := range map[string]struct {
		all, demoted []fleet.Node
		force        bool
		means, err   string
	}{
		"three to two":           {[]fleet.Node{h1, h2, h3}, []fleet.Node{h3}, false, "", "worse than with one"},
		"three to two by force":  {[]fleet.Node{h1, h2, h3}, []fleet.Node{h3}, true, "2 managers: if either fails", ""},
		"three to one":           {[]fleet.Node{h1, h2, h3, worker}, []fleet.Node{h2, h3}, false, "", ""},
		"four to two":            {[]fleet.Node{h1, h2, h3, h4}, []fleet.Node{h3, h4}, false, "", "worse than"},
		"four to three":          {[]fleet.Node{h1, h2, h3, h4}, []fleet.Node{h4}, false, "", ""},
		"two to one":             {[]fleet.Node{h1, h2}, []fleet.Node{h2}, false, "", ""},
		"the dead of three":      {[]fleet.Node{h1, h2, dead}, []fleet.Node{dead}, false, "2 managers: if either", ""},
		"a living one beside it": {[]fleet.Node{h1, h2, dead}, []fleet.Node{h2}, false, "", "worse than with one"},
		"the dead of two":        {[]fleet.Node{h1, dead}, []fleet.Node{dead}, false, "", ""},
		"all":                    {[]fleet.Node{h1, h2}, []fleet.Node{h1, h2}, true, "", "h1, h2 are the last"},
		"the queue's, second":    {[]fleet.Node{h1, h2, h3}, []fleet.Node{h2, h1}, true, "", "h1 holds the cluster's"},
		"the queue's, lost":      {[]fleet.Node{lost, h2, h3}, []fleet.Node{lost}, false, "2 managers: if either", ""},
		"a worker":               {[]fleet.Node{h1, h2, worker}, []fleet.Node{worker}, false, "", ""},
	} {
		means, err := demotion(tc.all, tc.demoted, tc.force)
		if !strings.HasPrefix(means, tc.means) || (means == "") != (tc.means == "") ||
			(err == nil) != (tc.err == "") || err != nil && !strings.Contains(err.Error(), tc.err) {
			t.Errorf("%s: %q, %v, want %q, %q", name, means, err, tc.means, tc.err)
		}
	}
}

// TestAwaitState waits until those that were promoted have the state, for a while, and not where nobody knows.
func TestAwaitState(t *testing.T) {
	t.Parallel()
	h2, h3 := fleet.Node{ID: "h2", Display: "h2"}, fleet.Node{ID: "h3", Display: "h3"}
	has := func(n fleet.Node) fleet.Node { n.HasState = true; return n }
	h1 := has(fleet.Node{ID: "h1"})
	for name, tc := range map[string]struct {
		looks [][]fleet.Node // the last one for good
		took  time.Duration
		says  []string
	}{
		"at once": {[][]fleet.Node{{h1, has(h2), has(h3)}}, 0, nil},
		"one by one": {[][]fleet.Node{{h1, h2, h3}, {h1, h2, has(h3)}, {h1, has(h2), has(h3)}}, 2 * stateLook, []string{
			"until h2, h3 get", "Now h2, h3 can do"}},
		"never": {[][]fleet.Node{{h1, h2, has(h3)}}, stateTimeout + stateLook, []string{"until h2 get",
			"state is yet to come to h2"}},
		"nobody knows": {[][]fleet.Node{{h2, h3}}, 0, nil},
	} {
		synctest.Test(t, func(t *testing.T) {
			var out bytes.Buffer
			a := &command.App{Env: command.Env{Stderr: &out}}
			i, begun := 0, time.Now()
			err := awaitState(a, t.Context(), []fleet.Node{h2, h3}, func(context.Context) ([]fleet.Node, error) {
				defer func() { i = min(i+1, len(tc.looks)-1) }()
				return tc.looks[i], nil
			})
			if took := time.Since(begun); err != nil || took != tc.took {
				t.Errorf("%s: %v after %s", name, err, took)
			}
			said := strings.Join(strings.Fields(out.String()), " ")
			for _, want := range tc.says {
				if !strings.Contains(said, want) {
					t.Errorf("%s: said %q, want %q", name, said, want)
				}
			}
			if len(tc.says) == 0 && said != "" {
				t.Errorf("%s: said %q", name, said)
			}
		})
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
