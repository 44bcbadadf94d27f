package e2e

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/crawlbox/crawlbox/appliance/fleet"
	"github.com/crawlbox/crawlbox/appliance/lab"
)

// TestMembership changes what nodes are, and sees in Docker that it is so.
func TestMembership(t *testing.T) {
	t.Parallel()
	c := newCluster(t, queueConfig, 1)
	h2 := c.hosts[1]
	c.push("localhost:8003/s:1")
	c.manager.Docker("service", "create", "--detach", "--name", "s", "--replicas", "4", "--network", "host",
		"localhost:8003/s:1")
	c.awaitSpread("s", 2)

	t.Run("commands on a worker", func(t *testing.T) { c.sub(t).onWorker(h2) })
	t.Run("drain and activate", func(t *testing.T) { c.sub(t).drain(h2) })
	t.Run("promote and demote", func(t *testing.T) { c.sub(t).promote(h2) })
	t.Run("two nodes with one name", func(t *testing.T) { c.sub(t).twins(h2) })
}

// onWorker shows that a worker says where the manager is, and how it would
// become one.
func (c *cluster) onWorker(h *lab.Host) {
	c.Helper()
	for _, cmd := range []string{
		"nodes", "ls", "ps", "logs s", "scale s=1", "stop s", "rm s", "inspect s", "update s --image s:2",
		"node drain h1",
	} {
		contains(c.T, c.fails(h, 1, strings.Fields(cmd)...), "a worker", "h1 ("+c.manager.IP().String()+")",
			"crawlbox node promote "+h.Name())
	}
	c.onlyOnFirst(h)
	contains(c.T, h.MustExec("crawlbox", "status"), h.Name()+" (worker)")
}

// onlyOnFirst shows that what only the first manager has is asked for there.
func (c *cluster) onlyOnFirst(h *lab.Host) {
	c.Helper()
	for _, cmd := range []string{"queue len", "queue url", "images", "images gc", "token"} {
		contains(c.T, c.fails(h, 1, strings.Fields(cmd)...), "h1 ("+c.manager.IP().String()+")",
			"run the command there")
	}
}

// onOtherManager shows that a manager answers by itself, or has the first one answer, once it has the
// cluster's state.
func (c *cluster) onOtherManager(h *lab.Host) {
	c.Helper()
	for _, cmd := range []string{"queue len", "queue url", "images", "images gc", "token"} {
		lab.WaitFor(c, patience, "crawlbox "+cmd+" on "+h.Name(), func() error {
			return h.Exec(c.Context(), append([]string{"crawlbox"}, strings.Fields(cmd)...)...).Err()
		})
	}
}

func (c *cluster) drain(h *lab.Host) {
	c.Helper()
	c.run("node", "drain", h.Name())
	c.awaitAvailability(h.Name(), "drain")
	c.awaitOn("s", 4, c.manager.Name())
	contains(c.T, c.run("nodes"), "drain")
	lab.WaitFor(c, patience, "no containers", func() error { return want(h.Docker("ps", "--quiet"), "") })

	c.run("node", "activate", h.Name())
	c.awaitAvailability(h.Name(), "active")
	c.run("scale", "s=8")
	c.awaitSpread("s", 2)
	c.run("scale", "s=4")
}

func (c *cluster) awaitAvailability(node, availability string) {
	c.Helper()
	lab.WaitFor(c, patience, node+" is "+availability, func() error {
		return want(c.manager.Docker("node", "inspect", "--format", "{{.Spec.Availability}}", node), availability)
	})
}

// awaitOn waits until all replicas run on one node.
func (c *cluster) awaitOn(service string, replicas int, node string) {
	c.Helper()
	lab.WaitFor(c, patience, fmt.Sprintf("%d replicas of %s on %s", replicas, service, node), func() error {
		tasks := c.tasks(service)
		elsewhere := slices.ContainsFunc(tasks, func(t fleet.Task) bool { return t.Node != node })
		if len(tasks) != replicas || elsewhere {
			return fmt.Errorf("tasks are %v", tasks)
		}
		return nil
	})
}

func (c *cluster) promote(h *lab.Host) {
	c.Helper()
	contains(c.T, c.fails(c.manager, 1, "node", "rm", h.Name()), h.Name()+" is up", "crawlbox leave")
	c.run("node", "promote", "--force", h.Name())
	lab.WaitFor(c, patience, "a second manager", func() error {
		list := c.manager.Docker("node", "ls", "--filter", "name="+h.Name(), "--format", "{{.ManagerStatus}}")
		return want(list, "Reachable")
	})
	lab.WaitFor(c, patience, "the new manager's answer",
		func() error { return h.Exec(c.Context(), "crawlbox", "ls").Err() })
	contains(c.T, h.MustExec("crawlbox", "ls"), "4/4")
	contains(c.T, h.MustExec("crawlbox", "ps", "s"), "localhost:8003/s:1", h.Name())
	contains(c.T, h.MustExec("crawlbox", "nodes"), h.Name()+" *", "leader")
	contains(c.T, h.MustExec("crawlbox", "scale", "s=2"), "2 running")
	c.onOtherManager(h)
	contains(c.T, c.fails(c.manager, 1, "node", "rm", "--force", h.Name()), "is a manager",
		"crawlbox node demote "+h.Name())
	contains(c.T, c.fails(h, 1, "leave"), "is a swarm manager", "crawlbox node demote "+h.Name())

	for _, on := range []*lab.Host{c.manager, h} {
		contains(c.T, c.fails(on, 1, "node", "demote", "h1"), "the cluster's queue")
	}

	c.run("node", "demote", h.Name())
	lab.WaitFor(c, patience, "one manager", func() error {
		return want(c.manager.Docker("info", "--format", "{{.Swarm.Managers}}"), "1")
	})
	contains(c.T, c.fails(c.manager, 1, "node", "demote", "h1"), "h1", "promote another node first")
	contains(c.T, c.fails(h, 1, "ls"), "a worker", c.manager.IP().String())
}

// twins are told apart, and the list is plain again when one of them is gone.
func (c *cluster) twins(h *lab.Host) {
	c.Helper()
	twin := c.lab.AddHost(lab.Hostname(h.Name()))
	c.join(twin)
	c.awaitReady(3)
	var name string
	for _, n := range c.nodes() {
		if n.Addr == twin.IP().String() {
			name = n.Display
		}
	}
	contains(c.T, name, h.Name()+"-")
	contains(c.T, c.run("nodes"), name)
	contains(c.T, c.fails(c.manager, 1, "node", "drain", h.Name()), "2 nodes are called "+h.Name(), name)
	c.run("node", "drain", name)
	id := c.manager.Docker("node", "ls", "--quiet", "--filter", "id="+strings.TrimPrefix(name, h.Name()+"-"))
	c.awaitAvailability(id, "drain")

	twin.PowerOff()
	lab.WaitFor(c, patience, "a node that is gone", func() error {
		return c.manager.Exec(c.Context(), "crawlbox", "node", "rm", name).Err()
	})
	if list := c.manager.Docker("node", "ls", "--quiet"); strings.Contains(list, id) {
		c.Errorf("%s is still one of the nodes %s", id, list)
	}
	if nodes := c.nodes(); len(nodes) != 2 || nodes[1].Display != h.Name() {
		c.Errorf("nodes are %v", nodes)
	}
}
