package e2e

import (
	"strings"
	"testing"

	"github.com/crawlbox/crawlbox/appliance/fleet"
	"github.com/crawlbox/crawlbox/appliance/lab"
)

// TestUpdateCutOff kills the manager's crawlbox while an update has stopped
// some replicas and started none: the next start ends the update.
func TestUpdateCutOff(t *testing.T) {
	t.Parallel()
	c := newCluster(t, "", 1)
	const oldImage, newImage = "localhost:8003/tiny:1", "localhost:8003/tiny:2"
	c.push(oldImage)
	c.push(newImage)
	// Its replicas don't hear of the signal, so that stopping them takes long.
	c.manager.Docker("service", "create", "--detach", "--name", "tiny", "--replicas", "4", "--network", "host",
		"--stop-signal", "SIGWINCH", "--stop-grace-period", "15s", oldImage)
	c.awaitRunning("tiny", 4)
	c.awaitSpread("tiny", 2)

	update := c.manager.Start("update", "crawlbox", "update", "tiny", "--image", newImage, "--stop-first-all")
	pending := func() string {
		return c.manager.Docker("service", "inspect", "--format", `{{index .Spec.Labels "`+fleet.LabelPending+`"}}`,
			"tiny")
	}
	lab.WaitFor(t, patience, "the update's journal", func() error {
		return want(strings.HasPrefix(pending(), "4 "+newImage+"@sha256:"), true)
	})
	contains(t, c.fails(c.manager, 1, "update", "tiny", "--image", oldImage), "is being changed already")

	c.agents[c.manager].Kill()
	if code, err := update.Wait(t.Context()); err != nil || code != 1 {
		t.Errorf("the update whose crawlbox was killed ended with %d, %v; want 1", code, err)
	}
	if pending() == "" {
		t.Fatal("the update was over before crawlbox was killed")
	}
	c.startManager()
	c.awaitVersion("tiny", newImage, 4)
	lab.WaitFor(t, patience, "the journal to be gone", func() error { return want(pending(), "") })
	c.awaitHistory("tiny", "1 update done")
}
