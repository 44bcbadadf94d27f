package e2e

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/crawlbox/crawlbox/appliance/lab"
	"github.com/crawlbox/crawlbox/appliance/lab/artifact"
)

// TestWalkthrough is the job of the article, from a manager and two workers to
// a spider that is removed, with its own spider.py, Dockerfile and docker
// commands.
func TestWalkthrough(t *testing.T) {
	t.Parallel()
	c := newCluster(t, queueConfig, 2)
	master := c.manager.IP().String()
	directory := artifact.Spider(c, master, password)

	c.manager.LoadPythonBase()
	build := func(version string) {
		t.Helper()
		c.manager.MustExec("env", "DOCKER_BUILDKIT=0", "docker", "build", "--quiet", "--tag",
			"localhost:8003/spider:"+version, directory)
		c.manager.Docker("push", "--quiet", "localhost:8003/spider:"+version)
	}
	build("0.01")
	contains(t, c.run("images"), "spider:0.01")

	// A public address of the registry, as the article writes it. The shell of CMD is process 1 and deaf
	// to the signal: it would take the grace time of 10 s at each of its ends.
	c.manager.Docker("service", "create", "--detach", "--name", "spider", "--network", "host",
		"--stop-grace-period", "2s", "--update-monitor", "1s", master+":8003/spider:0.01")
	c.push1000()
	c.awaitRunning("spider", 1)
	contains(t, c.run("scale", "spider=6"), "6 running in ")
	c.awaitSpread("spider", 3)
	contains(t, c.run("ls"), "spider", "6/6")
	contains(t, c.manager.Docker("service", "ps", "spider"), "spider.6")

	t.Run("logs", func(t *testing.T) { c.sub(t).logs() })
	t.Run("scaled with docker", func(t *testing.T) {
		c := c.sub(t)
		c.manager.Docker("service", "scale", "--detach", "spider=3")
		c.awaitRunning("spider", 3)
	})
	t.Run("updated one by one", func(t *testing.T) {
		c := c.sub(t)
		build("0.02")
		contains(t, c.run("update", "spider", "--image", "localhost:8003/spider:0.02"), "3 running")
		c.awaitVersion("spider", "localhost:8003/spider:0.02", 3)
	})
	t.Run("updated after all were stopped", func(t *testing.T) {
		c := c.sub(t)
		contains(t, c.run("update", "spider", "--image", master+":8003/spider:0.01", "--stop-first-all"), "3 running")
		c.awaitVersion("spider", master+":8003/spider:0.01", 3)
	})
	t.Run("updated with docker", func(t *testing.T) {
		c := c.sub(t)
		c.manager.Docker("service", "update", "--image", master+":8003/spider:0.02", "--update-parallelism", "3",
			"spider")
		c.awaitVersion("spider", master+":8003/spider:0.02", 3)
	})
	t.Run("deployed, and stopped by its signal", func(t *testing.T) {
		c := c.sub(t)
		c.run("deploy", "localhost:8003/spider:0.02", "--name", "deployed", "--monitor", "1s")
		// It would take the grace time if it were deaf, too. Swarm takes some 3 s before it stops a
		// container.
		begun := time.Now()
		contains(t, c.run("stop", "deployed"), "stopped, 1 container gone in ")
		if took := time.Since(begun); took > 8*time.Second {
			t.Errorf("the stop took %s", took)
		}
		c.run("rm", "deployed")
	})
	t.Run("stopped and removed", func(t *testing.T) {
		c := c.sub(t)
		contains(t, c.run("stop", "spider"), "stopped")
		if n := len(c.tasks("spider")); n != 0 {
			t.Errorf("%d replicas still run", n)
		}
		c.run("scale", "spider=1")
		c.run("rm", "spider")
		for _, h := range c.hosts {
			if left := h.Docker("ps", "--quiet"); left != "" {
				t.Errorf("containers on %s: %s", h.Name(), left)
			}
		}
	})
}

// sub is the cluster in a subtest.
func (c *cluster) sub(t *testing.T) *cluster {
	s := *c
	s.T = t
	return &s
}

// push1000 fills the spider's queue.
func (c *cluster) push1000() {
	c.Helper()
	items := make([]string, 1000)
	for i := range items {
		items[i] = fmt.Sprintf("item%d", i)
	}
	c.run(append([]string{"queue", "push", "example:swarm:spider"}, items...)...)
}

func (c *cluster) awaitSpread(service string, nodes int) {
	c.Helper()
	lab.WaitFor(c, patience, fmt.Sprintf("%s on %d nodes", service, nodes), func() error {
		on := map[string]bool{}
		for _, t := range c.tasks(service) {
			on[t.Node] = true
		}
		return want(len(on), nodes)
	})
}

func (c *cluster) awaitVersion(service, image string, replicas int) {
	c.Helper()
	lab.WaitFor(c, patience, fmt.Sprintf("%d of %s", replicas, image), func() error {
		n := 0
		for _, t := range c.tasks(service) {
			if t.Image == image {
				n++
			}
		}
		return want(n, replicas)
	})
}

// logs are asked for as the article does: of the service, of one task, the last
// lines of each.
func (c *cluster) logs() {
	c.Helper()
	lab.WaitFor(c, patience, "each replica's log", func() error {
		out := c.run("logs", "--tail", "20", "spider")
		for i := 1; i <= 6; i++ {
			if !strings.Contains(out, fmt.Sprintf("spider.%d@", i)) {
				return fmt.Errorf("no line of spider.%d in %q", i, out)
			}
		}
		return nil
	})
	one := c.run("logs", "spider.2")
	contains(c.T, one, "spider.2@", "got: item")
	if strings.Contains(one, "spider.1@") {
		c.Errorf("the log of one task has another's lines: %s", one)
	}
	follow := c.manager.Start("logs", "crawlbox", "logs", "-f", "--tail", "0", "spider")
	lab.WaitFor(c, patience, "a new line", func() error {
		if !strings.Contains(follow.Logs(), "got: item") {
			return fmt.Errorf("got %q", follow.Logs())
		}
		return nil
	})
	if code, err := follow.Stop(c.Context()); err != nil || code != 0 {
		c.Errorf("logs -f ended with %d, %v", code, err)
	}
}

// TestSeveralServices shows that services don't disturb each other, whatever
// they run.
func TestSeveralServices(t *testing.T) {
	t.Parallel()
	c := newCluster(t, "", 1)
	c.push("localhost:8003/a:1")
	c.push("localhost:8003/b:1")
	for _, name := range []string{"a", "b"} {
		c.manager.Docker("service", "create", "--detach", "--name", name, "--replicas", "2", "--network", "host",
			"localhost:8003/"+name+":1")
	}
	c.awaitRunning("a", 2)
	c.awaitRunning("b", 2)
	before := c.tasks("a")
	c.run("scale", "b=4")
	c.run("rm", "b")
	after := c.tasks("a")
	for i := range before {
		if len(after) != len(before) || before[i].ID != after[i].ID {
			t.Fatalf("tasks of a were %v and are %v", before, after)
		}
	}
	if name := filepath.Base(c.services()[0].Image); len(c.services()) != 1 || name != "a:1" {
		t.Errorf("services are %v", c.services())
	}
}
