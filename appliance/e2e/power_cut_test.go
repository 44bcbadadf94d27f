package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/crawlbox/crawlbox/appliance/api"
	"github.com/crawlbox/crawlbox/appliance/failpoint"
	"github.com/crawlbox/crawlbox/appliance/fleet"
	"github.com/crawlbox/crawlbox/appliance/lab"
	"github.com/crawlbox/crawlbox/appliance/lab/artifact"
)

// TestPowerCut cuts the power at every point of a join, a grant, a removal and a
// leave, and then runs the same command again: the cluster must be what it would
// have been without.
func TestPowerCut(t *testing.T) {
	t.Parallel()
	c := newClusterOf(t, artifact.BinaryWithFailpoints(t), "", 1)
	worker := c.hosts[1]
	c.reset(worker)
	for _, p := range failpoint.Join {
		t.Run(string(p), func(t *testing.T) {
			c := c.sub(t)
			join := c.limitedToken()
			c.cut(worker, p, "worker", "--join", join)
			c.startWorker(worker, "--join", join)
			c.joinedOnce(worker)
			c.reset(worker)
		})
	}
	for _, p := range failpoint.Grant {
		t.Run(string(p), func(t *testing.T) {
			c := c.sub(t)
			join := c.limitedToken()
			c.restartManagerAt(p)
			c.startFails(worker, "--join", join)
			c.cutOff(c.manager)
			c.startManager()
			c.startWorker(worker, "--join", join)
			c.joinedOnce(worker)
			c.reset(worker)
		})
	}
	for _, p := range failpoint.Remove {
		t.Run(string(p), func(t *testing.T) {
			c := c.sub(t)
			c.join(worker)
			c.joinedOnce(worker)
			c.restartManagerAt(p)
			key, tokens := c.gossipKey(), c.swarmTokens()
			c.manager.Exec(t.Context(), "crawlbox", "node", "rm", "--force", worker.Name())
			c.cutOff(c.manager)
			c.startManager()
			c.removalGoesOn(key, tokens)
			c.refusesKnown(worker)
			c.reset(worker)
		})
	}
	t.Run(string(failpoint.Demoted), func(t *testing.T) {
		c := c.sub(t)
		c.join(worker)
		c.joinedOnce(worker)
		c.run("node", "promote", "--force", worker.Name())
		lab.WaitFor(t, patience, "a second manager",
			func() error { return worker.Exec(t.Context(), "docker", "node", "ls").Err() })
		c.restartManagerAt(failpoint.Demoted)
		c.awaitSeen(worker)
		tokens := c.swarmTokens()
		c.manager.Exec(t.Context(), "crawlbox", "node", "demote", worker.Name())
		c.cutOff(c.manager)
		c.startManager()
		c.awaitTokens(tokens)
		c.reset(worker)
	})
	for _, p := range failpoint.Leave {
		t.Run(string(p), func(t *testing.T) {
			c := c.sub(t)
			c.startWorkerWith(worker, p, "--join", c.token("worker"))
			c.joinedOnce(worker)
			worker.Exec(t.Context(), "crawlbox", "leave")
			c.cutOff(worker)
			worker.MustExec("crawlbox", "leave")
			worker.MustExec("rm", "-r", "/var/lib/crawlbox")
			c.awaitReady(1)
			if n := c.nodes(); len(n) != 1 {
				t.Errorf("after the leave there are %d nodes", len(n))
			}
		})
	}
}

// removalGoesOn waits for the end of a removal that nobody asks for again.
func (c *cluster) removalGoesOn(key string, tokens [2]string) {
	c.Helper()
	lab.WaitFor(c, patience, "the end of the removal", func() error {
		var state struct{ Removals []any }
		if err := json.Unmarshal([]byte(c.manager.ReadFile("/var/lib/crawlbox/ca/removals.json")), &state); err != nil {
			return err
		}
		return want(len(state.Removals), 0)
	})
	c.settledKeys()
	if c.gossipKey() == key {
		c.Error("gossip has the same key")
	}
	c.bothChanged(tokens, "the removal")
}

// awaitTokens waits until both tokens of Swarm are others.
func (c *cluster) awaitTokens(before [2]string) {
	c.Helper()
	lab.WaitFor(c, patience, "other tokens of Swarm", func() error {
		if now := c.swarmTokens(); now[0] == before[0] || now[1] == before[1] {
			return errors.New("they are the same")
		}
		return nil
	})
}

// awaitSeen waits until the first manager has written down that a host is one.
func (c *cluster) awaitSeen(h *lab.Host) {
	c.Helper()
	id := c.nodeID(h)
	lab.WaitFor(c, patience, "the manager to have seen "+h.Name(), func() error {
		if state := c.manager.ReadFile("/var/lib/crawlbox/ca/removals.json"); !strings.Contains(state, id) {
			return errors.New(state)
		}
		return nil
	})
}

// limitedToken lets in one node, once.
func (c *cluster) limitedToken() string {
	c.Helper()
	var token struct{ Join string }
	c.read(&token, "token", "worker", "--uses", "1")
	return token.Join
}

// cutAt is the start of a command line that ends at a point.
func cutAt(p failpoint.Point, args ...string) []string {
	return append([]string{failpoint.Env + "=" + string(p), "crawlbox"}, args...)
}

// cut runs crawlbox on a host, which must end at the point.
func (c *cluster) cut(h *lab.Host, p failpoint.Point, args ...string) {
	c.Helper()
	c.agents[h] = h.Start("crawlbox", cutAt(p, args...)...)
	c.cutOff(h)
}

// cutOff waits until the crawlbox on a host has ended by a failpoint.
func (c *cluster) cutOff(h *lab.Host) {
	c.Helper()
	code, err := c.agents[h].Wait(c.Context())
	if err != nil || code != -1 {
		c.Fatalf("crawlbox on %s: exit code %d, %v; want it to end at the failpoint\n%s", h.Name(), code, err,
			c.agents[h].Logs())
	}
}

// restartManagerAt starts the manager anew, to end at the point.
func (c *cluster) restartManagerAt(p failpoint.Point) {
	c.Helper()
	if code, err := c.agents[c.manager].Stop(c.Context()); err != nil || code != 0 {
		c.Fatalf("stop the manager: exit code %d, %v", code, err)
	}
	c.agents[c.manager] = c.manager.Start("crawlbox", cutAt(p, "manager")...)
	c.awaitAgent(c.manager)
}

func (c *cluster) startWorkerWith(h *lab.Host, p failpoint.Point, args ...string) {
	c.Helper()
	c.agents[h] = h.Start("crawlbox", cutAt(p, append([]string{"worker"}, args...)...)...)
	c.awaitAgent(h)
}

// startFails starts a worker that must give up by itself.
func (c *cluster) startFails(h *lab.Host, args ...string) {
	c.Helper()
	c.agents[h] = h.Start("crawlbox", append([]string{"crawlbox", "worker"}, args...)...)
	if code, err := c.agents[h].Wait(c.Context()); err != nil || code != 1 {
		c.Fatalf("crawlbox on %s: exit code %d, %v; want 1\n%s", h.Name(), code, err, c.agents[h].Logs())
	}
}

// joinedOnce wants the host in the cluster, and once only, for Swarm, for the
// manager's list and for gossip.
func (c *cluster) joinedOnce(h *lab.Host) {
	c.Helper()
	c.awaitReady(2)
	n := c.nodes()
	if len(n) != 2 {
		c.Errorf("%s joined %d times", h.Name(), len(n)-1)
	}
	c.awaitAgents("alive")
	if m := c.members(); len(m) != 1 || m[0].Name != h.Name() {
		c.Errorf("the manager's list has %+v", m)
	}
}

type member struct {
	ID, Name string
	Removed  string
	Until    time.Time
}

// members are those of the manager's list that were not removed.
func (c *cluster) members() (list []member) {
	c.Helper()
	var all []member
	if err := json.Unmarshal([]byte(c.manager.ReadFile("/var/lib/crawlbox/ca/members.json")), &all); err != nil {
		c.Fatal(err)
	}
	for _, m := range all {
		if m.Removed == "" && m.Name != c.manager.Name() {
			list = append(list, m)
		}
	}
	return list
}

// awaitTrials waits until nodes have exchanged the certificates of their first day, of which
// they renew the first a few seconds after they have joined.
func (c *cluster) awaitTrials() {
	c.Helper()
	lab.WaitFor(c, patience, "all nodes to have lasting certificates", func() error {
		for _, m := range c.members() {
			if time.Until(m.Until) < 48*time.Hour {
				return fmt.Errorf("that of %s ends at %s", m.ID, m.Until)
			}
		}
		return nil
	})
}

// settledKeys waits until no change of the keys of gossip is under way.
func (c *cluster) settledKeys() {
	c.Helper()
	lab.WaitFor(c, patience, "an end of the change of keys", func() error {
		var stored struct{ Keys, Next any }
		if err := json.Unmarshal([]byte(c.manager.ReadFile("/var/lib/crawlbox/gossip.json")), &stored); err != nil {
			return err
		}
		if keys, _ := stored.Keys.([]any); stored.Next != nil || len(keys) != 1 {
			return errors.New("it goes on")
		}
		return nil
	})
}

// refusesKnown wants a node that was removed to know it.
func (c *cluster) refusesKnown(h *lab.Host) {
	c.Helper()
	lab.WaitFor(c, patience, "the removed node to know it", func() error {
		var st api.Status
		r := h.Exec(c.Context(), "crawlbox", "status", "--json")
		if err := json.Unmarshal([]byte(r.Stdout), &st); err != nil {
			return err
		}
		if missing(fmt.Sprint(st.Problems), []string{"was removed"}) != "" {
			return fmt.Errorf("it says %q", st.Problems)
		}
		return nil
	})
	if m := c.members(); len(m) != 0 {
		c.Errorf("the manager's list has %+v", m)
	}
	for _, n := range c.nodes() {
		if n.Role == fleet.RoleWorker {
			c.Errorf("Swarm still has %+v", n)
		}
	}
}
