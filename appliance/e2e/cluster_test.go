// Package e2e runs crawlbox as its users do, on the hosts of the lab: real
// Docker Engines in one swarm, real images, a real Python spider. Each file is
// one scenario.
package e2e

import (
	"crypto/tls"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/crawlbox/crawlbox/appliance/fleet"
	"github.com/crawlbox/crawlbox/appliance/lab"
	"github.com/crawlbox/crawlbox/appliance/lab/artifact"
)

// password of the queue in all scenarios.
const password = "secret-of-the-lab"

// queueConfig is the config of managers that have a queue.
const queueConfig = "queue:\n  password: " + password + "\n"

// patience bounds every wait. Two cores may carry many engines.
const patience = 90 * time.Second

// cluster is a lab whose first host is a manager and whose others are workers.
type cluster struct {
	*testing.T
	lab     *lab.Lab
	hosts   []*lab.Host
	manager *lab.Host
	agents  map[*lab.Host]*lab.Proc // the crawlbox on each host
	secured *tls.Config             // to the queue; nil: it speaks no TLS
}

// newCluster starts a manager with the config given, and workers that have
// joined it.
func newCluster(t *testing.T, config string, workers int) *cluster {
	t.Helper()
	return newClusterOf(t, artifact.Binary(t), config, workers)
}

// newClusterOf does the same with another crawlbox program.
func newClusterOf(t *testing.T, binary, config string, workers int) *cluster {
	t.Helper()
	l := newLab(t)
	l.Install(binary)
	c := &cluster{T: t, lab: l, hosts: l.AddHosts(1 + workers), agents: map[*lab.Host]*lab.Proc{}}
	c.manager = c.hosts[0]
	c.manager.WriteFile("/etc/crawlbox/crawlbox.yaml", config)
	c.startManager()
	for _, h := range c.hosts[1:] {
		c.join(h)
	}
	c.awaitReady(len(c.hosts))
	return c
}

func (c *cluster) startManager(args ...string) {
	c.Helper()
	c.agents[c.manager] = c.manager.Start("crawlbox", append([]string{"crawlbox", "manager"}, args...)...)
	c.awaitAgent(c.manager)
}

// join makes a host a worker.
func (c *cluster) join(h *lab.Host) {
	c.Helper()
	c.startWorker(h, "--join", c.token("worker"))
}

func (c *cluster) startWorker(h *lab.Host, args ...string) {
	c.Helper()
	c.agents[h] = h.Start("crawlbox", append([]string{"crawlbox", "worker"}, args...)...)
	c.awaitAgent(h)
}

// awaitAgent waits until the crawlbox that was started last on a host serves.
func (c *cluster) awaitAgent(h *lab.Host) {
	c.Helper()
	agent := c.agents[h]
	lab.WaitFor(c, patience, "crawlbox on "+h.Name(), func() error {
		select {
		case <-agent.Done():
			c.Fatalf("crawlbox on %s ended:\n%s", h.Name(), agent.Logs())
		default:
		}
		return h.Exec(c.Context(), "crawlbox", "status").Err()
	})
}

func (c *cluster) token(role string) string {
	c.Helper()
	var token struct{ Join string }
	c.read(&token, "token", role)
	return token.Join
}

// run runs crawlbox on the manager and fails the test if that fails.
func (c *cluster) run(args ...string) string {
	c.Helper()
	return c.manager.MustExec(append([]string{"crawlbox"}, args...)...)
}

// fails runs crawlbox on a host and returns the one line that says why it
// failed.
func (c *cluster) fails(h *lab.Host, code int, args ...string) string {
	c.Helper()
	return fails(c.T, h, code, args...)
}

func fails(t *testing.T, h *lab.Host, code int, args ...string) string {
	t.Helper()
	r := h.Exec(t.Context(), append([]string{"crawlbox"}, args...)...)
	if r.Code != code {
		t.Fatalf("crawlbox %s on %s: exit code %d, want %d\n%s%s", strings.Join(args, " "), h.Name(), r.Code, code,
			r.Stdout, r.Stderr)
	}
	msg := strings.TrimSpace(r.Stderr)
	if msg == "" || strings.Contains(msg, "\n") {
		t.Fatalf("crawlbox %s on %s: want one line of error, got %q", strings.Join(args, " "), h.Name(), msg)
	}
	return msg
}

// read runs crawlbox with --json on the manager.
func (c *cluster) read(v any, args ...string) {
	c.Helper()
	out := c.run(append(args, "--json")...)
	if err := json.Unmarshal([]byte(out), v); err != nil {
		c.Fatalf("crawlbox %s: %v in %q", strings.Join(args, " "), err, out)
	}
}

func (c *cluster) nodes() (v []fleet.Node)       { c.Helper(); c.read(&v, "nodes"); return v }
func (c *cluster) services() (v []fleet.Service) { c.Helper(); c.read(&v, "ls"); return v }

// tasks are those of a service that run now.
func (c *cluster) tasks(service string) (running []fleet.Task) {
	c.Helper()
	var all []fleet.Task
	c.read(&all, "ps", service)
	for _, t := range all {
		if t.State == fleet.TaskRunning && t.Lost == "" { // not on a node that is gone
			running = append(running, t)
		}
	}
	return running
}

func (c *cluster) awaitReady(nodes int) {
	c.Helper()
	lab.WaitFor(c, patience, fmt.Sprintf("%d ready nodes", nodes), func() error {
		ready := 0
		for _, n := range c.nodes() {
			if n.State == fleet.StateReady {
				ready++
			}
		}
		return want(ready, nodes)
	})
}

func (c *cluster) awaitRunning(service string, replicas int) {
	c.Helper()
	lab.WaitFor(c, patience, fmt.Sprintf("%d replicas of %s", replicas, service), func() error {
		if err := want(len(c.tasks(service)), replicas); err != nil {
			return fmt.Errorf("%w of\n%s", err, c.run("ps", service, "--all"))
		}
		return nil
	})
}

// push makes the tiny image known to the registry under localhost:8003.
func (c *cluster) push(ref string, options ...artifact.ImageOption) {
	c.Helper()
	c.manager.Load(artifact.TinyImage(c, ref, 0, options...))
	c.manager.Docker("push", "--quiet", ref)
}

func want[T comparable](got, want T) error {
	if got != want {
		return fmt.Errorf("got %v, want %v", got, want)
	}
	return nil
}

// contains fails the test unless text has all parts.
func contains(t *testing.T, text string, parts ...string) {
	t.Helper()
	for _, p := range parts {
		if !strings.Contains(text, p) {
			t.Errorf("%q is not in %q", p, text)
		}
	}
}
