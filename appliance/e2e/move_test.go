package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/crawlbox/crawlbox/appliance/api"
	"github.com/crawlbox/crawlbox/appliance/fleet"
	"github.com/crawlbox/crawlbox/appliance/lab"
)

// TestMove moves the manager's duties to a worker, with a queue whose items a client counts all the while, over
// TLS: no container stops, no item is lost, and the machine before is a worker that can be switched off once
// services are deployed again.
func TestMove(t *testing.T) {
	t.Parallel()
	c := newCluster(t, queueConfig+"  tls: true\n", 2)
	before, to, worker := c.hosts[0], c.hosts[1], c.hosts[2]
	c.push("localhost:8003/s:1")
	c.run("deploy", "localhost:8003/s:1", "--name", "s", "--replicas", "3", "--monitor", "1s")
	c.awaitRunning("s", 3)
	c.awaitGossip(to, "crawlbox", func(a fleet.Agent) bool { return a.State == fleet.AgentAlive })
	contains(t, c.fails(worker, 1, "move", to.Name(), "--yes"), "does not have the queue")
	contains(t, c.fails(before, 1, "move", before.Name(), "--yes"), "is here already")
	contains(t, c.fails(before, 2, "move", to.Name()), "say --yes to move the manager's duties to "+to.Name())
	const own = "/etc/crawlbox/crawlbox.yaml"
	worker.WriteFile(own, "log_level: warn\n")
	refused := c.fails(before, 1, "move", worker.Name(), "--yes")
	contains(t, refused, "has a config file of its own", "nothing was changed")
	managers := before.Docker("node", "ls", "--filter", "role=manager", "--quiet")
	if strings.Contains(managers, "\n") {
		t.Errorf("there are the managers %s", managers)
	}
	worker.MustExec("rm", own)
	containers := func() (all string) {
		for _, h := range c.hosts {
			all += h.Docker("ps", "--quiet", "--no-trunc") + "\n"
		}
		return all
	}
	ran := containers()
	var addr api.QueueAddress
	c.read(&addr, "queue", "url")
	client := dialQueue(t, worker, addr, c.run("ca"))
	here := api.QueueAddress{URL: strings.Replace(addr.URL, addr.Addr, "127.0.0.1:7891", 1)}
	near := dialQueue(t, worker, here, c.run("ca"))
	if err := near.Set(t.Context(), "near", "yes", 0).Err(); err != nil {
		t.Fatal(err)
	}
	w := startWriter(t.Context(), client, "moved")
	w.await(t)

	begun := time.Now()
	said := c.run("move", to.Name(), "--yes")
	t.Logf("moved after %s: %s", time.Since(begun), said)
	contains(t, said, to.Name()+" has the queue and the manager's duties", "this node is a worker")
	c.manager = to
	<-w.done
	lab.WaitFor(t, patience, "the queue, through the machine before", func() error {
		return client.Ping(t.Context()).Err()
	})
	t.Logf("the queue is back %s after the last write", time.Since(w.acked[len(w.acked)-1]))
	// The last write may have been taken without a word.
	kept := c.sequence(client, "moved")
	if kept < len(w.acked) || kept > len(w.acked)+1 {
		t.Errorf("%d of %d writes were kept", kept, len(w.acked))
	}
	if now := containers(); now != ran {
		t.Errorf("there ran\n%s and run\n%s", ran, now)
	}
	if got, err := near.Get(t.Context(), "near").Result(); err != nil || got != "yes" || near.PoolStats().Misses != 1 {
		t.Errorf("by the worker's front there is %q, %v, after %d connections", got, err, near.PoolStats().Misses)
	}
	contains(t, c.run("queue", "len", "moved"), fmt.Sprint(kept))
	contains(t, c.run("status"), to.Name()+" (manager)")
	lab.WaitFor(t, patience, "the machine before to be a worker", func() error {
		status := before.Exec(t.Context(), "crawlbox", "status").Stdout
		return want(strings.Contains(status, before.Name()+" (worker)"), true)
	})
	contains(t, c.run("history", "s"), "s:1")
	c.run("token", "worker", "--uses", "1")
	contains(t, c.run("deploy", "localhost:8003/s:1", "--name", "s", "--monitor", "1s", "--env", "A=B"), "3 running")
	spec := to.Docker("service", "inspect", "--format", "{{json .Spec}}", "s")
	if strings.Contains(spec, before.At(7891)) {
		t.Errorf("the service is told of the queue before: %s", spec)
	}
	lab.WaitFor(t, patience, "the state to be gone there", func() error {
		return want(before.Exec(t.Context(), "crawlbox", "state", "show").Code, 1)
	})

	c.run("node", "drain", before.Name())
	before.PowerOff()
	h := c.lab.AddHost()
	c.hosts = append(c.hosts, h)
	c.join(h)
	lab.WaitFor(t, patience, "the new node", func() error {
		return want(strings.Contains(c.run("nodes"), h.Name()), true)
	})
	contains(t, c.run("queue", "len", "moved"), fmt.Sprint(kept))
}
