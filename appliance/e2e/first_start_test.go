package e2e

import (
	"fmt"
	"os"
	"path"
	"testing"
	"time"

	"github.com/crawlbox/crawlbox/appliance/lab"
)

// moment is when a crawlbox that starts is killed: after so long, or as soon as
// the file is there.
type moment struct {
	after time.Duration
	file  string
}

func (m moment) String() string {
	if m.file != "" {
		return "at " + path.Base(m.file)
	}
	return "after " + m.after.String()
}

// moments are some that are spread over how long a start takes on this machine
// now, and those at which the files appear.
func moments(whole time.Duration, files ...string) (list []moment) {
	const spread = 6
	for i := range spread {
		list = append(list, moment{after: whole * time.Duration(i) / spread})
	}
	for _, file := range files {
		list = append(list, moment{after: patience, file: "/var/lib/crawlbox/" + file})
	}
	return list
}

// TestManagerKilledAtFirstStart kills a manager twice at some moment of its very
// first start, each time on a machine that never had one. The start after that
// must end in one swarm that everything else works with.
func TestManagerKilledAtFirstStart(t *testing.T) {
	t.Parallel()
	c := newCluster(t, queueConfig, 1)
	worker := c.hosts[1]
	c.push("localhost:8003/spider:1")
	c.reset(worker)
	c.reset(c.manager)
	begun := time.Now()
	c.startManager()
	whole := time.Since(begun)
	c.join(worker)
	for _, m := range moments(whole, "ca/ca.pem", "node/key.pem", "gossip.json") {
		t.Run(m.String(), func(t *testing.T) {
			c := c.sub(t)
			c.reset(worker)
			c.reset(c.manager)
			c.startAndKill(c.manager, m, "manager")
			swarm := c.swarmID()
			c.startAndKill(c.manager, m, "manager")
			c.startManager()
			if now := c.swarmID(); swarm != "" && now != swarm {
				t.Errorf("the swarm was %s and is %s", swarm, now)
			}
			c.join(worker)
			c.awaitReady(2)
			c.run("queue", "push", "list", "item")
			c.manager.Docker("push", "--quiet", "localhost:8003/spider:1")
			worker.Docker("pull", "--quiet", c.manager.At(8003)+"/spider:1")
			worker.Docker("pull", "--quiet", "localhost:8003/spider:1")
		})
	}
}

// TestWorkerKilledWhileJoining does the same to a worker that joins.
func TestWorkerKilledWhileJoining(t *testing.T) {
	t.Parallel()
	c := newCluster(t, "", 1)
	worker, join := c.hosts[1], c.token("worker")
	c.reset(worker)
	begun := time.Now()
	c.startWorker(worker, "--join", join)
	for _, m := range moments(time.Since(begun), "node/key.pem", "node/identity.json", "mirror") {
		t.Run(m.String(), func(t *testing.T) {
			c := c.sub(t)
			c.reset(worker)
			c.startAndKill(worker, m, "worker", "--join", join)
			c.startAndKill(worker, m, "worker", "--join", join)
			c.startWorker(worker, "--join", join)
			c.awaitReady(2)
			if n := len(c.nodes()); n != 2 {
				t.Errorf("it joined %d times", n-1)
			}
			c.awaitAgents("alive")
		})
	}
}

// startAndKill starts a crawlbox and kills it at the moment given.
func (c *cluster) startAndKill(h *lab.Host, m moment, args ...string) {
	c.Helper()
	agent := h.Start("crawlbox", append([]string{"crawlbox"}, args...)...)
	defer agent.Kill()
	deadline, tick := time.After(m.after), time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-agent.Done():
			c.Fatalf("crawlbox ended by itself:\n%s", agent.Logs())
		case <-deadline:
			if m.file != "" {
				c.Errorf("%s was not made", m.file)
			}
			return
		case <-tick.C:
			if _, err := os.Stat(fmt.Sprintf("/proc/%d/root%s", h.PID(), m.file)); m.file != "" && err == nil {
				return
			}
		}
	}
}

// reset makes a host one that never had crawlbox.
func (c *cluster) reset(h *lab.Host) {
	c.Helper()
	h.MustExec("crawlbox", "leave", "--force")
	if code, err := c.agents[h].Wait(c.Context()); err != nil || code != 0 {
		c.Errorf("crawlbox on %s left with exit code %d, %v; want 0", h.Name(), code, err)
	}
	h.MustExec("rm", "-r", "/var/lib/crawlbox")
}

func (c *cluster) swarmID() string {
	c.Helper()
	return c.manager.Docker("info", "--format", "{{with .Swarm.Cluster}}{{.ID}}{{end}}")
}
