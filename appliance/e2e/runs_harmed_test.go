package e2e

import (
	"slices"
	"strings"
	"testing"

	"github.com/crawlbox/crawlbox/appliance/lab"
	"github.com/crawlbox/crawlbox/appliance/runs"
)

// TestRunsHarmed has harm come to runs and to the machines that they run on: each has one record with what it ended
// by, and goes on elsewhere where it can.
func TestRunsHarmed(t *testing.T) {
	t.Parallel()
	const image, lasts = "localhost:8003/tiny:1", "TINY_LASTS=8s"
	c := newCluster(t, "", 2)
	c.push(image)
	c.run("deploy", image, "--name", "spider", "--replicas", "0", "--monitor", "1s", "--constraint",
		"node.role==worker")
	c.run("deploy", image, "--name", "small", "--replicas", "0", "--monitor", "1s", "--limit-memory", "20MB")
	c.run("node", "label", c.hosts[1].Name(), "zone=eu")
	c.run("deploy", image, "--name", "eu", "--replicas", "0", "--monitor", "1s", "--constraint", "node.labels.zone==eu")
	c.run("node", "label", c.hosts[1].Name(), "--rm", "zone")

	t.Run("by themselves", func(t *testing.T) {
		c := c.sub(t)
		c.run("run", "small", "--name", "eats", "--retries", "1", "-e", "TINY_EAT=100", "-e", "TINY_EXIT=0")
		r := c.manager.Exec(t.Context(), "crawlbox", "run", "eu", "--name", "homeless", "--wait", "--timeout", "5s")
		if r.Code != 124 {
			t.Errorf("no node has room: exit code %d of %s%s", r.Code, r.Stdout, r.Stderr)
		}
		contains(t, r.Stderr, "homeless waits: no suitable node", "not started after 5s: no suitable node")
		if is := c.record("homeless"); is.State != runs.TimedOut || !strings.Contains(is.Why, "no suitable node") {
			t.Errorf("no node has room: %+v", is)
		}
		is := c.record("eats")
		if is.State != runs.Failed || !strings.Contains(is.Why, "memory") || is.ExitCode != 137 {
			t.Errorf("out of memory: %+v", is)
		}
	})
	t.Run("drained", func(t *testing.T) {
		c := c.sub(t)
		at := c.runAt("drained", lasts)
		c.run("node", "drain", at.Name())
		c.goesOn("drained", at, "drained")
		c.run("node", "activate", at.Name())
	})
	t.Run("engine restarted", func(t *testing.T) {
		c := c.sub(t)
		at := c.runAt("restarted", lasts)
		at.StopDocker()
		at.StartDocker()
		c.goesOn("restarted", at, "Docker was restarted")
		c.awaitReady(3)
	})
	t.Run("engine killed", func(t *testing.T) {
		c := c.sub(t)
		at := c.runAt("cut", lasts)
		at.KillDocker()
		at.StartDocker() // what is asked to stop ends with 0, which is complete for Swarm
		c.goesOn("cut", at, "Docker was restarted")
		c.awaitReady(3)
	})
	t.Run("power lost", func(t *testing.T) {
		c := c.sub(t)
		at := c.runAt("dark", lasts)
		at.PowerOff()
		c.goesOn("dark", at, "is down")
	})
}

// runAt begins a run, and returns the worker that its task runs on.
func (c *cluster) runAt(name string, env ...string) *lab.Host {
	c.Helper()
	args := []string{"run", "spider", "--name", name}
	for _, e := range env {
		args = append(args, "-e", e)
	}
	c.run(append(args, "--timeout", "5m")...)
	c.awaitRunning(name, 1)
	node := c.tasks(name)[0].Node
	i := slices.IndexFunc(c.hosts, func(h *lab.Host) bool { return h.Name() == node })
	return c.hosts[i]
}

// goesOn wants a run to be done after a second attempt, and why to be said of the first, which was on a host.
func (c *cluster) goesOn(name string, from *lab.Host, why string) {
	c.Helper()
	is := c.record(name)
	if is.State != runs.Done || is.ExitCode != 0 || is.Attempts != 2 {
		c.Errorf("%s is %+v", name, is)
	}
	first, second := is.Tasks[0], is.Tasks[len(is.Tasks)-1]
	if first.Node != from.Name() || !strings.Contains(first.Cause, why) || second.State != "complete" {
		c.Errorf("%s had the attempts %+v and %+v", name, first, second)
	}
}
