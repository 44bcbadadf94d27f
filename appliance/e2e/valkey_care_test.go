package e2e

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/crawlbox/crawlbox/appliance/api"
	"github.com/crawlbox/crawlbox/appliance/failpoint"
	"github.com/crawlbox/crawlbox/appliance/lab"
	"github.com/crawlbox/crawlbox/appliance/lab/artifact"
	"github.com/crawlbox/crawlbox/appliance/valkey"
)

const careConfig = valkeyConfig + "  tls: true\n  safe: ['jobs:*']\n  window: 1\n"

// TestValkeyCare has Valkey keep the queue's items on four managers: over another image, and one that will not do;
// while the manager that it is on is drained, and another made a worker; and without the one whose config it is in.
func TestValkeyCare(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.Install(artifact.BinaryWithFailpoints(t))
	c := &cluster{T: t, lab: l, hosts: l.AddHosts(4), agents: map[*lab.Host]*lab.Proc{}}
	c.manager = c.hosts[0]
	c.manager.WriteFile("/etc/crawlbox/crawlbox.yaml", careConfig)
	c.startHasty(c.manager)
	c.push("localhost:8003/tiny:1")
	for _, h := range c.hosts[1:] {
		c.startHasty(h, "--join", c.token("manager"))
	}
	c.awaitState(c.hosts...)
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM([]byte(c.run("ca")))
	c.secured = &tls.Config{RootCAs: roots, ServerName: "127.0.0.1", MinVersion: tls.VersionTLS13}
	c.manager.Load(artifact.ValkeyImage(t, "localhost:8003/valkey:8"))
	c.manager.Docker("push", "--quiet", "localhost:8003/valkey:8")
	c.valkeyOff(c.manager)
	t.Run("another image", func(t *testing.T) { c.sub(t).anotherImage() })
	t.Run("drained", func(t *testing.T) {
		c := c.sub(t)
		c.run("node", "activate", c.handsOver("drain").Name())
	})
	t.Run("demoted", func(t *testing.T) { c.sub(t).handsOver("demote") })
	t.Run("home lost", func(t *testing.T) { c.sub(t).withoutHome() })
}

// startHasty starts crawlbox on a manager, whose services follow queues without much delay.
func (c *cluster) startHasty(h *lab.Host, args ...string) {
	c.Helper()
	all := append([]string{failpoint.EnvScaling + "=" + scalingShare, "crawlbox", "manager"}, args...)
	c.agents[h] = h.Start("crawlbox", all...)
	c.awaitAgent(h)
}

// anotherImage changes the image while one on another manager pushes; an image that is too old changes nothing.
func (c *cluster) anotherImage() {
	c.Helper()
	c.manager.Load(artifact.ValkeyImage(c, "localhost:8003/valkey:9"))
	c.manager.Load(artifact.OldValkeyImage(c, "localhost:8003/valkey:6"))
	for _, image := range []string{"localhost:8003/valkey:6", "localhost:8003/valkey:9"} {
		c.manager.Docker("push", "--quiet", image)
		w := c.pushTo("127.0.0.1:7891", c.hosts[1])
		w.await(c, time.Now())
		c.stop(c.manager)
		config := strings.Replace(careConfig, "localhost:8003/valkey:8", image, 1)
		c.manager.WriteFile("/etc/crawlbox/crawlbox.yaml", config)
		c.startHasty(c.manager)
		old := strings.HasSuffix(image, "6")
		if old {
			lab.WaitFor(c, patience, "a status of the image", func() error {
				return c.queueSays(api.QueueAlone, "goes on as it is: queue.image "+image, "is older than 7.0",
					"name another")
			})
		}
		c.valkeyIs(c.manager, "of another image", func(d valkey.Document) bool {
			return !slices.ContainsFunc(d.Engines, func(e valkey.Engine) bool {
				return strings.HasPrefix(e.Image, image+"@") == old
			})
		})
		w.judge(c, time.Now(), 10*time.Second, 0)
	}
}

// handsOver takes the manager with the primary away from the managers in a way, while one on another pushes.
func (c *cluster) handsOver(way string) (from *lab.Host) {
	c.Helper()
	before := c.hostOf(c.valkeyOff(c.manager))
	other := c.hosts[1+slices.IndexFunc(c.hosts[1:], func(h *lab.Host) bool { return h != before })]
	w := c.pushTo("127.0.0.1:7891", other)
	w.await(c, time.Now())
	c.run("node", way, before.Name())
	c.valkeyIs(c.manager, "off "+before.Name(), isOff(before))
	w.await(c, time.Now())
	w.judge(c, time.Now(), 10*time.Second, 0)
	return before
}

// withoutHome loses the manager that leads and is the home of the queue. Others know all of the queue without it, and
// services follow it.
func (c *cluster) withoutHome() {
	c.Helper()
	home := c.manager
	d := c.valkeyOff(home)
	other := c.hostOf(d)
	c.run("queue", "push", "jobs:a", "1", "2", "3")
	c.manager.Docker("service", "create", "--detach", "--name", "tiny", "--replicas", "2", "--network", "host",
		"localhost:8003/tiny:1")
	c.run("autoscale", "tiny", "--queue", "jobs:b", "--per-replica", "1", "--max", "3")
	c.awaitAsked("tiny", 0)

	home.PowerOff()
	c.manager = other // of this copy
	contains(c.T, c.run("queue", "len", "jobs:a"), "3")
	contains(c.T, c.run("queue", "push", "jobs:a", "4"), "4 in the list")
	client := redis.NewClient(&redis.Options{Addr: "127.0.0.1:7891", Password: "hush", Dialer: c.toQueue(other),
		DisableIdentity: true})
	defer client.Close()
	held, err := client.LPop(c.Context(), "jobs:a").Result()
	if err != nil || held != "1" {
		c.Errorf("popped %q, %v", held, err)
	}
	contains(c.T, c.run("queue", "peek", "jobs:a"), "2\n3\n4")
	contains(c.T, c.run("queue", "inflight"), "jobs:a", other.Name())
	contains(c.T, c.run("queue", "len"), "IN FLIGHT", "jobs:a")
	r := other.Exec(c.Context(), "crawlbox", "queue", "dead", "ls")
	contains(c.T, r.Stderr, "no key has dead items")
	r = other.Exec(c.Context(), "timeout", "4", "crawlbox", "queue", "watch", "jobs:a", "--json")
	contains(c.T, r.Stdout, `"key":"jobs:a"`, `"items":3`, `"in_flight":1`)

	lab.WaitFor(c, patience, "a URL that is right", func() error {
		return want(strings.TrimSpace(c.run("queue", "url")), "rediss://default:hush@127.0.0.1:7891")
	})
	other.Start("redis", "redis-server", "--port", "6390", "--bind", "127.0.0.1", "--save", "", "--dir", "/tmp")
	lab.WaitFor(c, patience, "a Redis", func() error {
		return other.Exec(c.Context(), "redis-cli", "-p", "6390", "ping").Err()
	})
	for _, way := range []string{"export", "import"} { // another manager leads by and by, and Valkey makes way
		lab.WaitFor(c, patience, way, func() error {
			return other.Exec(c.Context(), "crawlbox", "queue", way, "redis://127.0.0.1:6390", "--keys", "jobs:a",
				"--replace").Err()
		})
	}
	c.run("queue", "clear", "jobs:a", "--yes")

	c.run("queue", "push", "jobs:b", "1", "2", "3")
	lab.WaitFor(c, election, "3 replicas", func() error {
		r := other.Exec(c.Context(), "docker", "service", "inspect", "tiny", "--format",
			"{{.Spec.Mode.Replicated.Replicas}}")
		if r.Err() != nil {
			return r.Err()
		}
		return want(strings.TrimSpace(r.Stdout), "3")
	})
	lab.WaitFor(c, patience, "a status of the node that is gone", func() error {
		text := c.run("status")
		if !strings.Contains(text, "the queue goes on with Valkey") || strings.Contains(text, "queue is lost") {
			return fmt.Errorf("it is\n%s", text)
		}
		return nil
	})
	home.PowerOn()
	c.startHasty(home)
	c.manager = home
	c.run("rm", "tiny")
}
