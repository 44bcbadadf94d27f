package e2e

import (
	"fmt"
	"strings"
	"testing"

	"github.com/crawlbox/crawlbox/appliance/fleet"
	"github.com/crawlbox/crawlbox/appliance/lab"
)

// TestNodeLost is the walkthrough's row 21: a server goes away, and its tasks
// move to the others.
func TestNodeLost(t *testing.T) {
	t.Parallel()
	c := newCluster(t, "", 2)
	lost := c.hosts[2]
	c.push("localhost:8003/spider:1")
	c.manager.Docker("service", "create", "--detach", "--name", "spider", "--replicas", "6", "--network", "host",
		"localhost:8003/spider:1")
	c.awaitRunning("spider", 6)

	named := fmt.Sprintf("node %s (%s)", lost.Name(), lost.IP())
	for _, way := range []struct {
		name      string
		end, back func()
		says      []string
	}{
		{"its engine is stopped", lost.StopDocker, lost.StartDocker, []string{
			"Docker does not answer on " + named + ", which is down", "systemctl start docker",
		}},
		{"its cable is cut", lost.Cut, lost.Heal, []string{
			named + " is down, and neither Docker nor crawlbox answers there", "crawlbox node rm " + lost.Name(),
		}},
	} {
		t.Run(way.name, func(t *testing.T) {
			c := c.sub(t)
			c.balance("spider", 6)
			way.end()
			c.awaitMoved(lost, "spider", 6)
			contains(t, c.run("nodes"), "down")
			contains(t, strings.Join(strings.Fields(c.run("status")), " "),
				append(way.says, "2/3 ready", "6/6 running")...)
			if lost.Exec(t.Context(), "crawlbox", "status").Err() != nil {
				t.Error("crawlbox on the lost node has ended")
			}

			way.back()
			c.awaitReady(3)
			c.awaitGossip(lost, "crawlbox and Docker back",
				func(a fleet.Agent) bool { return a.State == "alive" && a.Docker == "running" })
			c.awaitContainers(6)
			lab.WaitFor(t, patience, "a status without problems", func() error {
				return want(strings.Contains(c.run("status"), "Problems"), false)
			})
			c.awaitRunning("spider", 6)
		})
	}
}

// balance gives every node some of a service's tasks.
func (c *cluster) balance(service string, replicas int) {
	c.Helper()
	c.run("scale", service+"=0")
	c.run("scale", fmt.Sprintf("%s=%d", service, replicas))
	c.awaitSpread(service, len(c.hosts))
}

// awaitMoved waits until Swarm has given a host up and all replicas run on the
// others.
func (c *cluster) awaitMoved(from *lab.Host, service string, replicas int) {
	c.Helper()
	lab.WaitFor(c, patience, "the tasks of "+from.Name()+" to move", func() error {
		if state := c.node(from).State; state == fleet.StateReady {
			return fmt.Errorf("%s is %s", from.Name(), state)
		}
		n := 0
		for _, t := range c.tasks(service) {
			if t.Node != from.Name() {
				n++
			}
		}
		return want(n, replicas)
	})
}

// awaitContainers waits until so many run on all hosts together.
func (c *cluster) awaitContainers(count int) {
	c.Helper()
	lab.WaitFor(c, patience, fmt.Sprintf("%d containers", count), func() error {
		return want(len(strings.Fields(c.containers()))/2, count)
	})
}
