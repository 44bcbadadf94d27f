package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/crawlbox/crawlbox/appliance/api"
	"github.com/crawlbox/crawlbox/appliance/lab"
)

// popping is a spider that pops from where its environment says, and says for each item what it is and where. It tries
// again by hand, as the redis-py that the image has knows no retries.
const popping = `
import os, redis, time
queue = redis.Redis.from_url(os.environ['REDIS_URL'])
me = os.environ['ME']
while True:
    try:
        if queue.blpop('urls', timeout=1):
            queue.sadd('popped', me)
        time.sleep(0.05)
    except Exception as e:
        print(e, flush=True)
        time.sleep(0.1)
`

// fronted is a cluster whose spiders get to the queue by their own nodes.
type fronted struct {
	*cluster
	kinds []string // of networks; there is a service of each name
}

// TestQueueFronts has services on all kinds of networks pop by one URL, on each node at its own front, while the home
// of the queue moves, a node joins and is lost, until the queue is turned off.
func TestQueueFronts(t *testing.T) {
	t.Parallel()
	f := &fronted{newCluster(t, queueConfig+"  safe: [urls]\n", 2), []string{"onhost", "onbridge", "onoverlay"}}
	before, to, worker := f.hosts[0], f.hosts[1], f.hosts[2]
	f.awaitFronts()
	f.createSpiders()
	f.wantPops()

	var addr api.QueueAddress
	f.read(&addr, "queue", "url")
	here := strings.Replace(addr.URL, addr.Addr, "127.0.0.1:7891", 1)
	idle := dialQueue(t, worker, api.QueueAddress{URL: here})
	if err := idle.Set(t.Context(), "k", "v", 0).Err(); err != nil {
		t.Fatal(err)
	}
	ran := f.containers()
	f.run("move", to.Name(), "--yes")
	f.manager = to
	lab.WaitFor(t, patience, "the fronts to follow the move", func() error {
		get := []string{"redis-cli", "-p", "7891", "--no-auth-warning", "-a", password, "get", "k"}
		return want(strings.TrimSpace(worker.Exec(t.Context(), get...).Stdout), "v")
	})
	if got, err := idle.Get(t.Context(), "k").Result(); err != nil || got != "v" || idle.PoolStats().Misses != 1 {
		t.Errorf("a client that was idle gets %q, %v, after %d connections", got, err, idle.PoolStats().Misses)
	}
	f.wantPops()
	if now := f.containers(); now != ran {
		t.Errorf("there ran\n%s and run\n%s", ran, now)
	}
	if kinds := f.problems(to); slices.Contains(kinds, api.QueueChanged) || slices.Contains(kinds, api.QueueFront) {
		t.Errorf("the status has %q", kinds)
	}

	h := f.lab.AddHost()
	f.hosts = append(f.hosts, h)
	f.join(h)
	f.wantPops()
	h.PowerOff()
	lab.WaitFor(t, patience, "what was held on a lost node to be back", func() error {
		return want(slices.ContainsFunc(f.held(), func(is api.HeldItem) bool { return is.Node == h.Name() }), false)
	})
	f.hosts = f.hosts[:len(f.hosts)-1]

	f.stop(to)
	f.configure("{}\n")
	f.startManager()
	lab.WaitFor(t, patience, "the fronts to end", func() error {
		for _, h := range f.hosts {
			if conn, err := h.DialContext(t.Context(), "tcp", "127.0.0.1:7891"); err == nil {
				conn.Close()
				return fmt.Errorf("the port of the queue is open on %s", h.Name())
			}
		}
		return nil
	})
	if kinds := f.problems(before); slices.Contains(kinds, api.QueueFront) {
		t.Errorf("the status of a worker has %q", kinds)
	}
}

// createSpiders creates the services as Docker does, and has crawlbox tell them of the queue.
func (f *fronted) createSpiders() {
	f.Helper()
	f.manager.LoadPythonBase()
	f.manager.Docker("tag", "python:3.6", "localhost:8003/py:1")
	f.manager.Docker("push", "--quiet", "localhost:8003/py:1")
	f.manager.Docker("network", "create", "--driver", "overlay", "mesh")
	for name, network := range map[string][]string{
		"onhost": {"--network", "host"}, "onbridge": nil, "onoverlay": {"--network", "mesh"},
	} {
		create := append([]string{
			"service", "create", "--detach", "--mode", "global", "--name", name,
			"--env", "ME=" + name + "-{{.Node.Hostname}}",
		}, network...)
		f.manager.Docker(append(create, "localhost:8003/py:1", "python3", "-c", popping)...)
		f.run("restart", name)
		spec := f.manager.Docker("service", "inspect", "--format", "{{json .Spec.TaskTemplate.ContainerSpec}}", name)
		hosts := `"Hosts":["host-gateway queue.crawlbox.internal"]`
		if name == "onhost" {
			hosts = `"Hosts":["127.0.0.1 queue.crawlbox.internal"]`
		}
		contains(f.T, spec, `"REDIS_URL=redis://default:`+password+`@queue.crawlbox.internal:7891"`, hosts)
	}
}

// awaitFronts waits until services on all nodes can be told of the queue by its name.
func (f *fronted) awaitFronts() {
	f.Helper()
	for _, h := range f.hosts {
		lab.WaitFor(f, patience, "the queue on "+h.Name(), func() error {
			ping := []string{"redis-cli", "-p", "7891", "--no-auth-warning", "-a", password, "ping"}
			return want(strings.TrimSpace(h.Exec(f.Context(), ping...).Stdout), "PONG")
		})
	}
}

// wantPops wants each spider on each host to pop.
func (f *fronted) wantPops() {
	f.Helper()
	f.run("queue", "clear", "popped", "--yes")
	client := f.atHome()
	lab.WaitFor(f, patience, "all spiders to pop", func() error {
		if err := client.RPush(f.Context(), "urls", slices.Repeat([]any{"x"}, 50)...).Err(); err != nil {
			return err
		}
		popped, err := client.SMembers(f.Context(), "popped").Result()
		held := f.held()
		for _, kind := range f.kinds {
			for _, h := range f.hosts {
				if me := kind + "-" + h.Name(); !slices.Contains(popped, me) {
					err = errors.Join(err, fmt.Errorf("%s has not", me))
				}
				known := func(is api.HeldItem) bool {
					return is.Node == h.Name() && strings.HasPrefix(is.Task, kind+".")
				}
				if !slices.ContainsFunc(held, known) {
					err = errors.Join(err, fmt.Errorf("no container of %s on %s is known", kind, h.Name()))
				}
			}
		}
		return err
	})
}

// held returns what containers hold.
func (f *fronted) held() []api.HeldItem {
	f.Helper()
	var v api.InFlight
	f.read(&v, "queue", "inflight", "-n", "1000")
	return v.Items
}

// atHome returns a client of the queue at its home.
func (f *fronted) atHome() *redis.Client {
	var addr api.QueueAddress
	f.read(&addr, "queue", "url")
	return dialQueue(f.T, f.manager, addr)
}

func (f *fronted) containers() (all string) {
	for _, h := range f.hosts {
		all += h.Docker("ps", "--quiet", "--no-trunc") + "\n"
	}
	return all
}

// problemsOf returns those in the status of a host, but for what is merely to be known.
func (c *cluster) problemsOf(h *lab.Host) []api.Problem {
	c.Helper()
	var st api.Status
	if err := json.Unmarshal([]byte(h.Exec(c.Context(), "crawlbox", "status", "--json").Stdout), &st); err != nil {
		c.Fatal(err)
	}
	return slices.DeleteFunc(st.Problems, func(p api.Problem) bool { return p.Level == api.Note })
}

// problems returns their kinds.
func (c *cluster) problems(h *lab.Host) (kinds []string) {
	c.Helper()
	for _, p := range c.problemsOf(h) {
		kinds = append(kinds, p.Kind)
	}
	return kinds
}

// TestQueueFronts_PortTaken wants a node whose port is another program's to say so, services to be told an address that
// is right there too, and the name once the port is free.
func TestQueueFronts_PortTaken(t *testing.T) {
	t.Parallel()
	c := newCluster(t, "", 1)
	worker := c.hosts[1]
	taker := worker.Start("redis", "redis-server", "--port", "7891", "--bind", "127.0.0.1", "--save", "")
	lab.WaitFor(t, patience, "the port to be taken", func() error {
		conn, err := worker.DialContext(t.Context(), "tcp", "127.0.0.1:7891")
		if err == nil {
			conn.Close()
		}
		return err
	})
	c.stop(c.manager)
	c.configure(queueConfig)
	c.startManager()
	lab.WaitFor(t, patience, "the worker to say that its port is taken", func() error {
		all := c.problemsOf(worker)
		for _, p := range all {
			if p.Kind == api.QueueFront && strings.Contains(p.Text, "127.0.0.1 is in use by redis-server") {
				return nil
			}
		}
		return fmt.Errorf("the status has %v", all)
	})
	lab.WaitFor(t, patience, "the manager to say it too", func() error {
		return want(slices.Contains(c.problems(c.manager), api.QueueFront), true)
	})
	c.push("localhost:8003/s:1")
	told := func(version string) string {
		c.run("deploy", "localhost:8003/s:1", "--name", "s", "--monitor", "1s", "--env", "VERSION="+version)
		return c.manager.Docker("service", "inspect", "--format", "{{.Spec.TaskTemplate.ContainerSpec.Env}}", "s")
	}
	contains(t, told("1"), net.JoinHostPort(c.manager.IP().String(), "7891"))
	taker.Kill()
	lab.WaitFor(t, patience, "the worker to have the queue", func() error {
		return want(len(c.problems(c.manager))+len(c.problems(worker)), 0)
	})
	contains(t, told("2"), "queue.crawlbox.internal")
}
