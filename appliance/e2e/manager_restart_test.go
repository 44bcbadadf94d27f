package e2e

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/crawlbox/crawlbox/appliance/lab"
)

// spiderService is a service in the config; a person scales it later. Its
// spider ends with exit code 0 when it is asked to, as it is where Docker is
// restarted: with the usual restart policy it would be done then.
const spiderService = `
services:
  spider:
    image: localhost:8003/spider:1
    deploy:
      replicas: 2
      restart_policy:
        condition: any
`

// TestManagerRestart shows that crawlbox down is not the cluster down, and that
// a manager started again goes on where it was, however it ended.
func TestManagerRestart(t *testing.T) {
	t.Parallel()
	c := newCluster(t, queueConfig, 1)
	worker := c.hosts[1]
	c.push("localhost:8003/spider:1")
	c.push("localhost:8003/new:1")
	c.push("localhost:8003/newer:1")
	c.manager.WriteFile("/etc/crawlbox/crawlbox.yaml", queueConfig+spiderService)
	c.awaitServices("spider")
	c.awaitRunning("spider", 2)
	c.manager.Docker("service", "scale", "--detach", "spider=4")
	c.awaitRunning("spider", 4)
	c.awaitSpread("spider", 2)
	before, running := c.identity(), c.containers()

	t.Run("killed in the middle of a crawl", func(t *testing.T) {
		c := c.sub(t)
		crawl := startCrawl(t, worker, c.manager)
		lab.WaitFor(t, patience, "a crawl of two seconds", func() error {
			return want(crawl.lasted() > 2*time.Second, true)
		})
		c.agents[c.manager].Kill()
		killed := time.Now()
		if now := c.containers(); now != running {
			t.Errorf("containers were\n%s\nand without crawlbox are\n%s", running, now)
		}
		contains(t, c.fails(c.manager, 1, "status"), "no crawlbox runs here", "crawlbox manager")
		c.startManager()
		c.awaitSame(before, running)
		list, err := c.crawlItems()
		if err != nil {
			t.Fatal(err)
		}
		if err := crawl.check(list, killed); err != nil {
			t.Errorf("the queue after the kill: %v", err)
		}
		worker.Docker("pull", "--quiet", "localhost:8003/new:1")
	})

	t.Run("stopped with readers waiting", func(t *testing.T) {
		c := c.sub(t)
		follow := c.manager.Start("logs", "crawlbox", "logs", "-f", "spider")
		lab.WaitFor(t, patience, "a log to be followed", func() error {
			return want(strings.Contains(follow.Logs(), "tiny from"), true)
		})
		blocked := make(chan error, 1)
		client := queueClient(worker, c.manager)
		defer client.Close()
		go func() { blocked <- client.BLPop(context.Background(), 0, "empty").Err() }()
		lab.WaitFor(t, patience, "a client that waits for an item", func() error {
			return want(client.Ping(t.Context()).Err() == nil && client.PoolStats().TotalConns == 2, true)
		})
		kept, err := c.crawlItems()
		if err != nil {
			t.Fatal(err)
		}

		begun := time.Now()
		if code, err := c.agents[c.manager].Stop(t.Context()); err != nil || code != 0 {
			t.Errorf("exit code %d, %v; want 0", code, err)
		}
		if took := time.Since(begun); took > 5*time.Second {
			t.Errorf("a clean stop took %s", took)
		}
		if <-blocked == nil {
			t.Error("a client got an item that nobody pushed")
		}
		if now := c.containers(); now != running {
			t.Errorf("containers were\n%s\nand without crawlbox are\n%s", running, now)
		}
		c.startManager()
		c.awaitSame(before, running)
		if list, err := c.crawlItems(); err != nil || len(list) != len(kept) {
			t.Errorf("%d items are queued, %v; want %d", len(list), err, len(kept))
		}
		worker.Docker("pull", "--quiet", c.manager.At(8003)+"/newer:1")
	})

	t.Run("docker restarted under it", func(t *testing.T) {
		c := c.sub(t)
		c.manager.KillDocker()
		c.awaitDocker("stopped")
		c.agents[c.manager].Kill()
		c.startManager()
		contains(t, c.run("status"), "no Docker Engine answers")
		c.manager.StartDocker()
		c.awaitReady(2)
		c.awaitRunning("spider", 4)
		if now := c.identity(); now != before {
			t.Errorf("the cluster was\n%s\nand is\n%s", before, now)
		}
	})
}

// identity is what must not change for as long as a cluster lives.
func (c *cluster) identity() string {
	c.Helper()
	return strings.Join([]string{
		c.manager.Docker("info", "--format", "swarm {{.Swarm.Cluster.ID}}"),
		c.manager.Docker("node", "ls", "--format", "node {{.ID}} {{.Hostname}}"),
		c.token("worker"), c.token("manager"),
		c.manager.MustExec("sha256sum", "/var/lib/crawlbox/ca/ca.pem", "/var/lib/crawlbox/gossip.json",
			"/var/lib/crawlbox/node/key.pem"),
	}, "\n")
}

// containers are those that run on all hosts, and since when.
func (c *cluster) containers() string {
	c.Helper()
	var all []string
	for _, h := range c.hosts {
		all = append(all, h.MustExec("sh", "-c",
			"docker ps -q --no-trunc | sort | xargs -r docker inspect --format '{{.Id}} {{.State.StartedAt}}'"))
	}
	return strings.Join(all, "\n")
}

// awaitSame waits for a manager that was started again to have its nodes, and
// checks that nothing else has changed.
func (c *cluster) awaitSame(identity, containers string) {
	c.Helper()
	c.awaitAgents("alive")
	if now := c.identity(); now != identity {
		c.Errorf("the cluster was\n%s\nand is\n%s", identity, now)
	}
	if now := c.containers(); now != containers {
		c.Errorf("containers were\n%s\nand are\n%s", containers, now)
	}
	for _, s := range c.services() {
		if s.Name != "spider" || s.Desired != 4 || s.Running != 4 {
			c.Errorf("service %s runs %d of %d, want 4 of spider", s.Name, s.Running, s.Desired)
		}
	}
	if !strings.Contains(c.agents[c.manager].Logs(), "manager is ready") {
		c.Error("the manager does not say that it is ready")
	}
}

// awaitAgents waits until gossip has that to say of crawlbox on all nodes.
func (c *cluster) awaitAgents(state string) {
	c.Helper()
	lab.WaitFor(c, patience, "gossip with all nodes", func() error {
		n := 0
		for _, node := range c.nodes() {
			if node.Agent != nil && node.Agent.State == state {
				n++
			}
		}
		return want(n, len(c.hosts))
	})
}

// awaitDocker waits until the manager's status has that state of its Docker.
func (c *cluster) awaitDocker(state string) {
	c.Helper()
	lab.WaitFor(c, patience, "Docker to be "+state, func() error {
		var st struct{ Docker struct{ State string } }
		c.read(&st, "status")
		return want(st.Docker.State, state)
	})
}

func (c *cluster) crawlItems() ([]string, error) {
	client := queueClient(c.hosts[1], c.manager)
	defer client.Close()
	return client.LRange(c.Context(), crawlList, 0, -1).Result()
}
