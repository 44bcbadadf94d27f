package e2e

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/crawlbox/crawlbox/appliance/api"
	"github.com/crawlbox/crawlbox/appliance/lab"
)

// mostRecovery is how long a recovery may take until all nodes are ready and services run.
const mostRecovery = time.Minute

// TestRecover_Address has the only manager come back from a reboot with another address: it says so, and
// crawlbox recover has all nodes follow it there, with the services, the images and what is in the queue.
func TestRecover_Address(t *testing.T) {
	t.Parallel()
	c := newCluster(t, queueConfig, 2)
	c.push("localhost:8003/s:1")
	c.run("deploy", "localhost:8003/s:1", "--name", "s", "--replicas", "4")
	c.awaitRunning("s", 4)
	c.run("node", "label", "h2", "zone=eu")
	c.run("queue", "push", "urls", "a", "b", "c")
	contains(t, c.run("queue", "len", "urls"), "3")
	contains(t, c.fails(c.manager, 1, "recover", "--yes"), "nothing is to be recovered")
	contains(t, c.fails(c.hosts[1], 1, "recover", "--yes"), "none of the cluster's state")
	ca := c.run("ca")

	other := netip.MustParseAddr("10.99.200.201")
	c.stop(c.manager)
	c.manager.PowerOff()
	c.manager.Renumber(other)
	c.manager.PowerOn()
	started := time.Now()
	c.startManager()
	c.awaitProblem(api.AddressGone, "no longer has the address", "crawlbox recover")
	if took := time.Since(started); took > 10*time.Second {
		t.Errorf("it says what has happened %s after the start", took)
	}
	contains(t, c.fails(c.manager, 2, "recover"), "say --yes to recover the cluster")

	contains(t, c.run("queue", "len", "urls"), "3")
	begun := time.Now()
	said := c.run("recover", "--yes")
	t.Logf("after %s: %s", time.Since(begun), said)
	contains(t, said, "the cluster is back on h1 ("+other.String()+")", "3 of 3 nodes are ready")
	c.awaitReady(3)
	c.awaitRunning("s", 4)
	took := time.Since(begun)
	t.Logf("all is as before %s after crawlbox recover", took)
	if took > mostRecovery {
		t.Errorf("it took %s", took)
	}
	if c.run("ca") != ca {
		t.Error("the CA is another one")
	}
	contains(t, c.run("queue", "len", "urls"), "3")
	contains(t, c.run("history", "s"), "s:1")
	contains(t, c.run("images"), "s:1")
	lab.WaitFor(t, patience, "the label of h2", func() error {
		return want(c.manager.Docker("node", "inspect", "--format", "{{.Spec.Labels.zone}}", "h2"), "eu")
	})
	if spec := c.manager.Docker("service", "inspect", "s"); strings.Contains(spec, "10.99.0.2:") {
		t.Errorf("the service is told of the address before: %s", spec)
	}
	lab.WaitFor(t, patience, "no problem", func() error {
		if status := c.run("status"); strings.Contains(status, "Problems") {
			return fmt.Errorf("its status is %s", status)
		}
		return nil
	})
	contains(t, c.fails(c.manager, 1, "recover", "--yes"), "nothing is to be recovered")
	c.push("localhost:8003/s:2")
	c.run("deploy", "localhost:8003/s:2", "--name", "s", "--monitor", "1s")
	h := c.lab.AddHost()
	c.hosts = append(c.hosts, h)
	c.join(h)
	c.awaitReady(4)
}

// TestRecover_Quorum loses the manager that made the cluster and another one for good, and has the third go on
// alone: what runs on workers runs on, changes go on, and the others stand down when they wake up.
func TestRecover_Quorum(t *testing.T) {
	t.Parallel()
	c := newCluster(t, "", 1)
	for range 2 {
		h := c.lab.AddHost()
		c.hosts = append(c.hosts, h)
		c.agents[h] = h.Start("crawlbox", "crawlbox", "manager", "--join", c.token("manager"))
		c.awaitAgent(h)
	}
	first, survivor, third := c.hosts[0], c.hosts[2], c.hosts[3]
	c.awaitReady(4)
	c.push("localhost:8003/s:1")
	c.run("deploy", "localhost:8003/s:1", "--name", "s", "--replicas", "8", "--monitor", "1s")
	c.awaitRunning("s", 8)
	c.awaitState(first, survivor, third)
	contains(t, c.fails(survivor, 1, "recover", "--yes"), "nothing is to be recovered")

	first.PowerOff()
	c.manager = survivor
	contains(t, c.fails(survivor, 1, "recover", "--yes"), "nothing is to be recovered")
	third.PowerOff()
	lab.WaitFor(t, patience, "a swarm without a leader", func() error {
		said := survivor.Exec(c.Context(), "docker", "node", "ls").Stderr
		return want(strings.Contains(said, "does not have a leader"), true)
	})
	contains(t, c.fails(survivor, 1, "token", "worker", "--uses", "1"), "crawlbox recover")
	begun := time.Now()
	said := c.run("recover", "--yes")
	t.Logf("after %s: %s", time.Since(begun), said)
	contains(t, said, "of 3 managers", first.Name(), third.Name(), "what runs on other nodes runs on")
	c.run("token", "worker", "--uses", "1")
	c.run("scale", "s=6")
	c.awaitRunning("s", 6)
	took := time.Since(begun)
	t.Logf("changes go on %s after crawlbox recover", took)
	if took > mostRecovery {
		t.Errorf("it took %s", took)
	}
	c.awaitReady(2)
	t.Logf("the worker's Docker has found the manager %s after crawlbox recover", time.Since(begun))
	if list := c.run("state", "show", "replicas"); strings.Count(list, `"node"`) != 1 {
		t.Errorf("the managers are %s", list)
	}
	contains(t, c.fails(survivor, 1, "recover", "--yes"), "nothing is to be recovered")

	third.PowerOn()
	c.agents[third] = third.Start("crawlbox", "crawlbox", "manager")
	lab.WaitFor(t, patience, "the third to follow", func() error {
		list := third.Exec(c.Context(), "crawlbox", "nodes").Stdout
		if strings.Contains(list, first.Name()+" ") || !strings.Contains(list, third.Name()) {
			return fmt.Errorf("it has %s\n%s", list, c.agents[third].Logs())
		}
		return nil
	})
	c.awaitReady(3)
	c.standsDown(first)
}
