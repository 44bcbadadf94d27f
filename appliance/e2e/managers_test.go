package e2e

import (
	"cmp"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/crawlbox/crawlbox/appliance/lab"
)

// TestManagers has three managers and a worker: each manager has the cluster's state and does what the
// first one does, as long as two of them run.
func TestManagers(t *testing.T) {
	t.Parallel()
	c := newCluster(t, queueConfig, 1)
	for range 2 {
		h := c.lab.AddHost()
		c.hosts = append(c.hosts, h)
		c.agents[h] = h.Start("crawlbox", "crawlbox", "manager", "--join", c.token("manager"))
		c.awaitAgent(h)
	}
	first, worker, second, third := c.hosts[0], c.hosts[1], c.hosts[2], c.hosts[3]
	c.awaitReady(4)
	c.push("localhost:8003/tiny:1")

	t.Run("all have the state", func(t *testing.T) {
		c := c.sub(t)
		c.awaitState(first, second, third)
		second.MustExec("crawlbox", "token", "worker", "--uses", "1")
		c.awaitState(first, second, third)
	})
	t.Run("any of them is asked", func(t *testing.T) {
		c := c.sub(t)
		second.MustExec("crawlbox", "deploy", "localhost:8003/tiny:1", "--replicas", "2", "--monitor", "1s")
		contains(c.T, third.MustExec("crawlbox", "history", "tiny"), "done", "root@"+second.Name())
		third.MustExec("crawlbox", "scale", "tiny=3")
		contains(c.T, second.MustExec("crawlbox", "images"), "tiny:1")
		contains(c.T, third.MustExec("crawlbox", "queue", "len", "none"), "0")
		contains(c.T, second.MustExec("crawlbox", "registry", "ls"), "NAME")
	})
	t.Run("a worker is promoted and demoted", func(t *testing.T) {
		c := c.sub(t)
		second.MustExec("crawlbox", "node", "promote", worker.Name())
		c.awaitState(first, worker, second, third)
		third.MustExec("crawlbox", "node", "demote", worker.Name())
		lab.WaitFor(c, patience, "the state to be gone there", func() error {
			if r := worker.Exec(c.Context(), "crawlbox", "state", "show"); r.Code == 0 {
				return fmt.Errorf("it has %s", r.Stdout)
			}
			return nil
		})
		c.awaitAgent(worker)
		contains(c.T, worker.MustExec("crawlbox", "status"), worker.Name()+" (worker)")
		lab.WaitFor(c, patience, "one less on the list", func() error {
			list := second.MustExec("crawlbox", "state", "show", "replicas")
			return want(strings.Count(list, `"node"`), 3)
		})
	})
	t.Run("two are demoted and promoted at once", func(t *testing.T) {
		c := c.sub(t)
		first.MustExec("crawlbox", "node", "demote", second.Name(), third.Name())
		first.MustExec("crawlbox", "node", "promote", second.Name(), third.Name())
		c.awaitState(first, second, third)
		for _, h := range []*lab.Host{second, third} {
			c.awaitAgent(h)
			contains(c.T, h.MustExec("crawlbox", "status"), h.Name()+" (manager)")
		}
	})
	t.Run("without the first", func(t *testing.T) {
		c := c.sub(t)
		c.run("queue", "push", "kept", "item-a", "item-b", "item-c")
		for _, h := range []*lab.Host{second, third} {
			lab.WaitFor(c, patience, "a copy of the queue on "+h.Name(), func() error {
				return h.Exec(c.Context(), "grep", "-rq", "item-c", "/var/lib/crawlbox/queue.copy").Err()
			})
		}
		first.PowerOff()
		c.manager = second
		h := c.lab.AddHost()
		c.leaderOf([]*lab.Host{second, third}) // nobody is let in before
		var token struct{ Join string }
		lab.WaitFor(c, patience, "a token of the second, which begins anew as the home of the queue", func() error {
			r := second.Exec(c.Context(), "crawlbox", "token", "worker", "--json")
			return cmp.Or(r.Err(), json.Unmarshal([]byte(r.Stdout), &token))
		})
		c.agents[h] = h.Start("crawlbox", "crawlbox", "worker", "--join", token.Join)
		c.awaitAgent(h)
		lab.WaitFor(c, patience, "the new worker to be ready", func() error {
			if list := third.MustExec("crawlbox", "nodes"); !strings.Contains(list, h.Name()) {
				return fmt.Errorf("there are %s", list)
			}
			return nil
		})
		c.awaitState(second, third)
	})
	t.Run("the queue as it was copied", func(t *testing.T) {
		c := c.sub(t)
		for _, h := range []*lab.Host{second, third} {
			lab.WaitFor(c, 2*time.Minute, "another home of the queue, by "+h.Name(), func() error {
				r := h.Exec(c.Context(), "crawlbox", "queue", "peek", "kept")
				return want(strings.TrimSpace(r.Stdout), "item-a\nitem-b\nitem-c")
			})
			contains(c.T, c.fails(h, 1, "recover", "--queue", "--yes"), "has the cluster's queue")
		}
	})
}

// awaitState waits until hosts have the same newest state.
func (c *cluster) awaitState(hosts ...*lab.Host) {
	c.Helper()
	lab.WaitFor(c, patience, "one state on all managers", func() error {
		heads := map[string]bool{}
		for _, h := range hosts {
			shown := h.Exec(c.Context(), "crawlbox", "state", "show")
			if err := shown.Err(); err != nil {
				return err
			}
			heads[shown.Stdout] = true
			list := h.Exec(c.Context(), "crawlbox", "state", "show", "replicas")
			if strings.Count(list.Stdout, `"node"`) < len(hosts) {
				return fmt.Errorf("%s has %s%s", h.Name(), list.Stdout, list.Stderr)
			}
		}
		if len(heads) != 1 {
			return fmt.Errorf("heads %v", heads)
		}
		return nil
	})
}
