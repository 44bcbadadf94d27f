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

func TestViews_Empty(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	renderNodes(tui.Screen{W: &out, Width: 80}, nil)
	if got := out.String(); got != "NAME  ROLE  STATE  ADDRESS  DISK  DOCKER  CRAWLBOX  TASKS\n" {
		t.Errorf("got %q", got)
	}
}
