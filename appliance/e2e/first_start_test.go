package e2e

import (
	"fmt"
	"testing"
	"time"

	"github.com/crawlbox/crawlbox/appliance/lab"
)

// moments is at how many points of a first start or a join a kill comes.
const moments = 10

// TestManagerKilledAtFirstStart kills a manager twice at moments spread over
// its very first start, each time on a machine that never had one. The start
// after that must end in one swarm, that everything else works with.
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
	for i, after := range killMoments(whole) {
		t.Run(fmt.Sprintf("%d of %d", i, moments), func(t *testing.T) {
			c := c.sub(t)
			c.reset(worker)
			c.reset(c.manager)
			c.startAndKill(c.manager, after, "manager")
			swarm := c.swarmID()
			t.Logf("after %s swarm %q %s", after, swarm, c.manager.Exec(t.Context(), "ls", "-R", "/var/lib/crawlbox").Stdout)
			c.startAndKill(c.manager, after, "manager")
			c.startManager()
			if now := c.swarmID(); swarm != "" && now != swarm {
				t.Errorf("killed after %s: the swarm was %s and is %s", after, swarm, now)
			}
			c.join(worker)
			c.awaitReady(2)
			c.run("queue", "push", "list", "item")
			c.manager.Docker("push", "--quiet", "localhost:8003/spider:1")
			worker.Docker("pull", "--quiet", c.manager.IP().String()+":8003/spider:1")
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
	for i, after := range killMoments(time.Since(begun)) {
		t.Run(fmt.Sprintf("%d of %d", i, moments), func(t *testing.T) {
			c := c.sub(t)
			c.reset(worker)
			c.startAndKill(worker, after, "worker", "--join", join)
			c.startAndKill(worker, after, "worker", "--join", join)
			c.startWorker(worker, "--join", join)
			c.awaitReady(2)
			if n := len(c.nodes()); n != 2 {
				t.Errorf("killed after %s: it joined %d times", after, n-1)
			}
			c.awaitAgents("alive")
		})
	}
}

// killMoments are spread over how long the whole takes on this machine now.
func killMoments(whole time.Duration) (list []time.Duration) {
	for i := range moments {
		list = append(list, whole*time.Duration(i)/moments)
	}
	return list
}

// startAndKill starts a crawlbox and kills it after so long, if it has not ended
// before.
func (c *cluster) startAndKill(h *lab.Host, after time.Duration, args ...string) {
	c.Helper()
	agent := h.Start("crawlbox", append([]string{"crawlbox"}, args...)...)
	select {
	case <-agent.Done():
		c.Errorf("crawlbox ended by itself:\n%s", agent.Logs())
	case <-time.After(after):
		agent.Kill()
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
