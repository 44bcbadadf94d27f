package e2e

import (
	"fmt"
	"strings"
	"testing"

	"github.com/crawlbox/crawlbox/appliance/fleet"
	"github.com/crawlbox/crawlbox/appliance/lab"
)

// TestWorkerRestart shows that a worker started again goes on where it was, and
// what it does while its manager or its Docker is away.
func TestWorkerRestart(t *testing.T) {
	t.Parallel()
	c := newCluster(t, "", 1)
	worker, join := c.hosts[1], c.token("worker")
	for _, name := range []string{"spider", "kept", "late"} {
		c.push("localhost:8003/" + name + ":1")
	}
	c.manager.Docker("service", "create", "--detach", "--name", "spider", "--replicas", "4", "--network", "host",
		"localhost:8003/spider:1")
	c.awaitRunning("spider", 4)
	c.awaitSpread("spider", 2)
	nodes, running := c.nodeIDs(), c.containers()

	for name, again := range map[string][]string{"killed": nil, "killed and joined again": {"--join", join}} {
		t.Run(name, func(t *testing.T) {
			c := c.sub(t)
			c.agents[worker].Kill()
			contains(t, c.fails(worker, 1, "status"), "no crawlbox runs here", "crawlbox worker")
			c.startWorker(worker, again...)
			c.awaitAgents("alive")
			if now := c.nodeIDs(); now != nodes {
				t.Errorf("nodes were %s and are %s", nodes, now)
			}
			if now := c.containers(); now != running {
				t.Errorf("containers were\n%s\nand are\n%s", running, now)
			}
		})
	}

	t.Run("stopped", func(t *testing.T) {
		c := c.sub(t)
		if code, err := c.agents[worker].Stop(t.Context()); err != nil || code != 0 {
			t.Errorf("exit code %d, %v; want 0", code, err)
		}
		c.awaitGossip(worker, "the farewell", func(a fleet.Agent) bool { return a.State == fleet.AgentStopped })
		c.startWorker(worker)
		c.awaitAgents("alive")
	})

	t.Run("manager away", func(t *testing.T) {
		c := c.sub(t)
		worker.Docker("pull", "--quiet", "localhost:8003/kept:1")
		kept := worker.Docker("images", "--digests", "--format", "{{.Repository}}@{{.Digest}}", "localhost:8003/kept")
		worker.Docker("rmi", "localhost:8003/kept:1")
		c.agents[c.manager].Kill()
		if now := c.containers(); now != running {
			t.Errorf("containers were\n%s\nand are\n%s", running, now)
		}
		worker.Docker("pull", "--quiet", kept)
		late := worker.Exec(t.Context(), "docker", "pull", "--quiet", "localhost:8003/late:1")
		if late.Code == 0 {
			t.Error("an image that only the manager has was pulled without it")
		}
		contains(t, late.Stderr, "cannot get this from the registry on", c.manager.IP().String(),
			"see there that crawlbox runs")
		lab.WaitFor(t, patience, "the worker to say that the manager is away", func() error {
			return want(strings.Contains(worker.MustExec("crawlbox", "status"), "does not answer"), true)
		})

		c.agents[worker].Kill()
		c.startWorker(worker)
		worker.Docker("pull", "--quiet", kept)

		c.startManager()
		c.awaitAgents("alive")
		worker.Docker("pull", "--quiet", "localhost:8003/late:1")
		lab.WaitFor(t, patience, "the worker to say nothing more", func() error {
			return want(strings.Contains(worker.MustExec("crawlbox", "status"), "Problems"), false)
		})
		if now := c.containers(); now != running {
			t.Errorf("containers were\n%s\nand are\n%s", running, now)
		}
	})

	t.Run("Docker away", func(t *testing.T) {
		c := c.sub(t)
		for _, end := range []func(){worker.StopDocker, worker.KillDocker} {
			end()
			c.awaitDockerOf(worker, "stopped")
			contains(t, worker.MustExec("crawlbox", "status"), "stopped", "no Docker Engine answers", "start it")
			contains(t, c.run("nodes"), "stopped")
			worker.StartDocker()
			c.awaitDockerOf(worker, "running")
			c.awaitReady(2)
			c.awaitRunning("spider", 4)
			worker.Docker("pull", "--quiet", "localhost:8003/kept:1")
		}
		if now := c.nodeIDs(); now != nodes {
			t.Errorf("nodes were %s and are %s", nodes, now)
		}
	})
}

// nodeIDs are those that Swarm has, by host.
func (c *cluster) nodeIDs() string {
	c.Helper()
	return c.manager.Docker("node", "ls", "--format", "{{.Hostname}} {{.ID}}")
}

// node is what the manager knows of a host.
func (c *cluster) node(h *lab.Host) fleet.Node {
	c.Helper()
	for _, n := range c.nodes() {
		if n.Addr == h.IP().String() || n.Self && h == c.manager {
			return n
		}
	}
	c.Fatalf("%s is no node", h.Name())
	return fleet.Node{}
}

// awaitGossip waits until check likes what gossip says of a host.
func (c *cluster) awaitGossip(h *lab.Host, what string, check func(fleet.Agent) bool) {
	c.Helper()
	lab.WaitFor(c, patience, what+" of "+h.Name(), func() error {
		a := c.node(h).Agent
		if a == nil || !check(*a) {
			return fmt.Errorf("gossip says %+v", a)
		}
		return nil
	})
}

// awaitDockerOf waits until gossip has that to say of the engine of a host.
func (c *cluster) awaitDockerOf(h *lab.Host, state string) {
	c.Helper()
	c.awaitGossip(h, "Docker "+state, func(a fleet.Agent) bool { return a.Docker == state })
}
