package e2e

import (
	"fmt"
	"strings"
	"testing"

	"github.com/crawlbox/crawlbox/appliance/lab"
)

// TestLeave takes nodes into the cluster and out of it in all ways there are,
// docker's own among them.
func TestLeave(t *testing.T) {
	t.Parallel()
	c := newCluster(t, "swarm:\n  heartbeat: 2s\n", 1) // a node that left is down sooner
	h2 := c.hosts[1]
	c.push("localhost:8003/s:1")

	t.Run("worker", func(t *testing.T) {
		c := c.sub(t)
		agent := c.agents[h2]
		contains(t, h2.MustExec("crawlbox", "leave"), "has left")
		c.gone(h2)
		if log := agent.Logs(); strings.Contains(log, "was removed from its cluster") {
			t.Errorf("a node that left says that it was removed: %s", log)
		}
		c.join(h2)
		c.awaitReady(2)
	})
	t.Run("worker without crawlbox", func(t *testing.T) {
		c := c.sub(t)
		c.stop(h2)
		contains(t, h2.MustExec("crawlbox", "leave"), "has left")
		c.gone(h2)
		contains(t, c.fails(h2, 1, "leave"), "no crawlbox runs here", "/var/lib/crawlbox")
	})
	t.Run("with docker", func(t *testing.T) { c.sub(t).byHand(h2) })
	t.Run("further manager", func(t *testing.T) { c.sub(t).furtherManager(h2) })
	t.Run("manager is away", func(t *testing.T) {
		c := c.sub(t)
		c.join(h2)
		c.awaitReady(2)
		c.stop(c.manager)
		contains(t, c.fails(h2, 1, "leave"), "does not answer", "--force", "crawlbox node rm "+h2.Name())
		contains(t, h2.Docker("info", "--format", "{{.Swarm.LocalNodeState}}"), "active")
		h2.MustExec("crawlbox", "leave", "--force")
		c.ended(h2)
		c.startManager()
		c.awaitRemoved(h2)
	})
	t.Run("wiped", func(t *testing.T) {
		c := c.sub(t)
		c.join(h2)
		c.awaitReady(2)
		c.agents[h2].Kill()
		h2.MustExec("rm", "-rf", "/var/lib/crawlbox")
		c.run("node", "rm", "--force", h2.Name())
		c.join(h2)
		c.awaitReady(2)
		contains(t, c.agents[h2].Logs(), "it joins as a new one")
		h2.MustExec("crawlbox", "leave")
		c.gone(h2)
	})
	t.Run("damaged identity", func(t *testing.T) {
		c := c.sub(t)
		c.join(h2)
		c.awaitReady(2)
		c.stop(h2)
		h2.WriteFile("/var/lib/crawlbox/node/identity.json", "{bad")
		contains(t, c.fails(h2, 1, "leave"), "damaged", "crawlbox leave --force")
		contains(t, c.fails(h2, 1, "doctor"), "identity would stop this machine")
		h2.MustExec("crawlbox", "leave", "--force")
		c.ended(h2)
		c.awaitRemoved(h2)
	})
	t.Run("manager", func(t *testing.T) { c.sub(t).leaveManager() })
	t.Run("manager with another one", func(t *testing.T) { c.sub(t).leaveHome(h2) })
}

// stop ends the crawlbox on a host in good order.
func (c *cluster) stop(h *lab.Host) {
	c.Helper()
	if code, err := c.agents[h].Stop(c.Context()); err != nil || code != 0 {
		c.Fatalf("crawlbox on %s ended with %d, %v", h.Name(), code, err)
	}
}

// gone fails the test unless a host has left without a trace, there and on the
// manager.
func (c *cluster) gone(h *lab.Host) {
	c.Helper()
	c.ended(h)
	if list := c.hostnames(); strings.Contains(list, h.Name()) {
		c.Errorf("%s has left and is still one of the nodes %s", h.Name(), list)
	}
}

// ended fails the test unless a host's crawlbox has ended well and nothing of
// the cluster is left on it.
func (c *cluster) ended(h *lab.Host) {
	c.Helper()
	if code, err := c.agents[h].Wait(c.Context()); err != nil || code != 0 {
		c.Errorf("crawlbox on %s ended with %d, %v", h.Name(), code, err)
	}
	if state := h.Docker("info", "--format", "{{.Swarm.LocalNodeState}}"); state != "inactive" {
		c.Errorf("the swarm on %s is %s", h.Name(), state)
	}
	left := h.MustExec("sh", "-c",
		"find /etc/docker/certs.d /var/lib/crawlbox/node /var/lib/crawlbox/mirror /var/lib/crawlbox/ca "+
			"/var/lib/crawlbox/*.json /var/lib/crawlbox/queue.before /run/crawlbox.sock -not -type d 2>/dev/null; true")
	if left != "" {
		c.Errorf("%s is left on %s", left, h.Name())
	}
}

func (c *cluster) hostnames() string {
	c.Helper()
	return c.manager.Docker("node", "ls", "--format", "{{.Hostname}}")
}

// awaitRemoved removes a node as soon as Swarm knows that it is down.
func (c *cluster) awaitRemoved(h *lab.Host) {
	c.Helper()
	lab.WaitFor(c, patience, h.Name()+" removed", func() error {
		return c.manager.Exec(c.Context(), "crawlbox", "node", "rm", h.Name()).Err()
	})
	if list := c.hostnames(); strings.Contains(list, h.Name()) {
		c.Errorf("%s was removed and is still one of the nodes %s", h.Name(), list)
	}
}

// byHand joins and leaves with docker's commands alone. The node that left stays
// on the list, down, until docker's command removes it.
func (c *cluster) byHand(h *lab.Host) {
	c.Helper()
	contains(c.T, c.run("token"), "crawlbox worker --join CBX1-")
	h.Docker("swarm", "join", "--token", c.manager.Docker("swarm", "join-token", "--quiet", "worker"),
		c.manager.At(2377))
	c.awaitReady(2)
	contains(c.T, c.manager.Docker("info"), "Nodes: 2")
	contains(c.T, c.run("status"), "2/2 ready")
	id := c.nodeID(h)
	h.Docker("swarm", "leave")
	lab.WaitFor(c, patience, h.Name()+" to be down", func() error {
		return c.manager.Exec(c.Context(), "docker", "node", "rm", id).Err()
	})
}

// furtherManager joins with the manager's join token, and goes on as what it is
// when it is killed and started without one.
func (c *cluster) furtherManager(h *lab.Host) {
	c.Helper()
	contains(c.T, c.run("token", "manager"), "crawlbox manager --join CBX1-")
	c.agents[h] = h.Start("crawlbox", "crawlbox", "manager", "--join", c.token("manager"))
	c.awaitAgent(h)
	c.awaitReady(2)
	contains(c.T, c.manager.Docker("node", "ls", "--format", "{{.Hostname}} {{.ManagerStatus}}"), h.Name()+" Reachable")
	contains(c.T, h.MustExec("crawlbox", "nodes"), "leader", h.Name()+" *")

	c.agents[h].Kill()
	c.agents[h] = h.Start("crawlbox", "crawlbox", "worker") // whatever it is started as
	c.awaitAgent(h)
	contains(c.T, h.MustExec("crawlbox", "nodes"), "leader", h.Name()+" *")

	c.run("node", "demote", h.Name())
	lab.WaitFor(c, patience, "leave", func() error { return h.Exec(c.Context(), "crawlbox", "leave").Err() })
	c.gone(h)
}

// leaveManager ends the cluster, and begins another one on the same machine.
func (c *cluster) leaveManager() {
	c.Helper()
	token := c.token("worker")
	contains(c.T, c.fails(c.manager, 1, "leave"), "ends the cluster", "--force")
	c.run("leave", "--force")
	c.ended(c.manager)

	c.startManager()
	if c.token("worker") == token {
		c.Errorf("the new cluster has the join token of the old one")
	}
	contains(c.T, c.run("images"), "s:1")
	contains(c.T, c.fails(c.hosts[1], 1, "worker", "--join", token), "CA fingerprint mismatch")

	c.stop(c.manager)
	contains(c.T, c.fails(c.manager, 1, "leave"), "ends the cluster", "--force")
	c.run("leave", "--force")
	c.ended(c.manager)
	lab.WaitFor(c, patience, "no containers", func() error {
		if left := c.manager.Docker("ps", "--all", "--quiet"); left != "" {
			return fmt.Errorf("containers are left: %s", left)
		}
		return nil
	})
}

// leaveHome has the manager leave that created the cluster, which goes on with another one.
func (c *cluster) leaveHome(h *lab.Host) {
	c.Helper()
	c.startManager()
	c.agents[h] = h.Start("crawlbox", "crawlbox", "manager", "--join", c.token("manager"))
	c.awaitAgent(h)
	c.awaitReady(2)
	home := c.manager
	c.awaitState(home, h)
	contains(c.T, c.fails(home, 1, "leave"), "crawlbox move NODE", "--force")
	home.MustExec("crawlbox", "leave", "--force")
	c.ended(home)
	c.manager = h
	lab.WaitFor(c, patience, "the other manager to be alone", func() error {
		if list := h.MustExec("crawlbox", "state", "show", "replicas"); strings.Contains(list, home.IP().String()) {
			return fmt.Errorf("the managers are %s", list)
		}
		return want(c.hostnames(), h.Name())
	})
	c.run("deploy", "localhost:8003/s:1", "--replicas", "1", "--monitor", "1s")
}
