package e2e

import (
	"fmt"
	"strings"
	"testing"

	"github.com/crawlbox/crawlbox/appliance/lab"
	"github.com/crawlbox/crawlbox/appliance/lab/artifact"
)

// looks is how often a crawlbox has to have looked at a stopped Docker before a
// test believes that it does not start it.
const looks = 3

// TestSystemd shows that crawlbox leaves Docker alone after systemctl stop
// docker, although docker.socket would start it for anyone who connects.
func TestSystemd(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.Install(artifact.Binary(t))
	c := &cluster{T: t, lab: l, hosts: l.AddHosts(2, lab.Systemd()), agents: map[*lab.Host]*lab.Proc{}}
	c.manager = c.hosts[0]
	worker := c.hosts[1]
	for _, h := range c.hosts {
		h.WriteFile("/etc/crawlbox/crawlbox.yaml", "log_level: debug\n")
	}

	t.Run("a first start is refused", func(t *testing.T) {
		c := c.sub(t)
		c.manager.StopDocker()
		contains(t, c.fails(c.manager, 1, "manager"), "docker is stopped on this machine", "systemctl start docker")
		c.asleep(c.manager)
		c.manager.StartDocker()
	})
	c.startManager()
	c.join(worker)
	c.awaitReady(2)

	t.Run("worker", func(t *testing.T) {
		c := c.sub(t)
		worker.StopDocker()
		c.looksOn(worker)
		c.asks(worker)
		c.awaitDockerOf(worker, "stopped")
		contains(t, c.run("nodes"), "stopped")

		c.agents[worker].Kill()
		c.startWorker(worker)
		c.looksOn(worker)
		c.asks(worker)
		if code, err := c.agents[worker].Stop(t.Context()); err != nil || code != 0 {
			t.Errorf("exit code %d, %v; want 0", code, err)
		}
		c.startWorker(worker, "--join", c.token("worker"))
		c.looksOn(worker)

		worker.StartDocker()
		c.awaitDockerOf(worker, "running")
		c.awaitReady(2)
	})

	t.Run("manager", func(t *testing.T) {
		c := c.sub(t)
		before := c.identity()
		c.manager.StopDocker()
		c.looksOn(c.manager)
		c.asks(c.manager)

		c.agents[c.manager].Kill()
		c.startManager()
		c.looksOn(c.manager)
		c.asks(c.manager)

		c.manager.StartDocker()
		c.awaitDocker("running")
		c.awaitReady(2)
		c.awaitAgents("alive")
		if now := c.identity(); now != before {
			t.Errorf("the cluster was\n%s\nand is\n%s", before, now)
		}
	})
}

// asleep checks that Docker is stopped and would start if anyone connected.
func (c *cluster) asleep(h *lab.Host) {
	c.Helper()
	states := strings.Fields(h.Exec(c.Context(), "systemctl", "is-active", "docker.socket", "docker.service").Stdout)
	if fmt.Sprint(states) != "[active inactive]" {
		c.Fatalf("docker.socket and docker.service on %s are %v, want [active inactive]", h.Name(), states)
	}
}

// looksOn waits until crawlbox has looked at a stopped Docker some more times,
// and checks that this did not start it.
func (c *cluster) looksOn(h *lab.Host) {
	c.Helper()
	count := func() int {
		return strings.Count(c.agents[h].Logs(), `"looked at the Docker Engine","state":"stopped"`)
	}
	begun := count()
	lab.WaitFor(c, patience, "crawlbox to look at Docker", func() error {
		if n := count() - begun; n < looks {
			return fmt.Errorf("it looked %d times, want %d", n, looks)
		}
		return nil
	})
	c.asleep(h)
}

// asks runs commands that want to know something of Docker.
func (c *cluster) asks(h *lab.Host) {
	c.Helper()
	status := h.MustExec("crawlbox", "status")
	contains(c.T, status, "stopped")
	contains(c.T, strings.Join(strings.Fields(status), " "),
		"docker is stopped on this machine; start it with `systemctl start docker`")
	for _, command := range []string{"nodes", "ls", "ps"} {
		contains(c.T, c.fails(h, 1, command), "systemctl start docker")
	}
	c.asleep(h)
}
