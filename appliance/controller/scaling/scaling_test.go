package scaling_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/crawlbox/crawlbox/appliance/base/scalerule"
	"github.com/crawlbox/crawlbox/appliance/controller/scaling"
	"github.com/crawlbox/crawlbox/appliance/deploy"
	"github.com/crawlbox/crawlbox/appliance/fleet"
	"github.com/crawlbox/crawlbox/appliance/queueproc/backlog"
	"github.com/crawlbox/crawlbox/appliance/queueproc/leases"
	"github.com/crawlbox/crawlbox/appliance/swarm/servicespec"
)

// cluster is a Swarm with one service that has a rule, and a queue.
type cluster struct {
	svc       fleet.Service
	tasks     []fleet.Task
	nodes     int
	queue     backlog.Seen
	queueErr  error
	engineErr error
	refused   error
	written   []string
	looked    int
	leave     map[string]bool // containers that get no more items
	taken     []string        // the containers that have got one when these are asked for
	leaveErr  error
}

func (c *cluster) Services(context.Context) ([]fleet.Service, error) {
	return []fleet.Service{c.svc, {ID: "other", Name: "other", Mode: fleet.ModeReplicated, Desired: 3}}, c.engineErr
}

func (c *cluster) Nodes(context.Context) ([]fleet.Node, error) {
	nodes := make([]fleet.Node, c.nodes)
	for i := range nodes {
		nodes[i] = fleet.Node{ID: fmt.Sprint("n", i), Addr: fmt.Sprint("10.0.0.", i)}
		nodes[i].Availability = fleet.AvailabilityActive
	}
	return nodes, nil
}

func (c *cluster) Tasks(context.Context, string) ([]fleet.Task, error) { return c.tasks, nil }

func (c *cluster) PauseAutoscale(_ context.Context, id, why string) error {
	if id != c.svc.ID {
		return errors.New("another service")
	}
	rule := *c.svc.Autoscale
	rule.Paused = why
	c.svc.Autoscale = &rule
	return nil
}

func (c *cluster) Look(_ context.Context, keys ...string) (backlog.Seen, error) {
	if c.looked++; len(keys) != 1 || keys[0] != "k" {
		return backlog.Seen{}, fmt.Errorf("looked at %q", keys)
	}
	return c.queue, c.queueErr
}

func (c *cluster) Leave(_ context.Context, containers ...string) (leases.Holders, error) {
	holds := c.queue.Holds
	holds.Containers = maps.Clone(holds.Containers)
	for _, id := range c.taken {
		holds.Containers[id] = true
	}
	for _, id := range containers {
		c.leave[id] = true
	}
	return holds, c.leaveErr
}

func (c *cluster) Stay(_ context.Context, containers ...string) error {
	for _, id := range containers {
		delete(c.leave, id)
	}
	return nil
}

func (c *cluster) Autoscale(_ context.Context, svc fleet.Service, to servicespec.Autoscaled) error {
	if c.refused != nil {
		return c.refused
	}
	c.written = append(c.written, fmt.Sprintf("%s %d>%d %t %s", svc.Name, svc.Desired, to.Replicas, to.Again, to.Why))
	rule := *svc.Autoscale
	rule.Set, rule.Why = to.Replicas, to.Why
	c.svc.Autoscale, c.svc.Desired = &rule, to.Replicas
	c.tasks = nil
	for slot := 1; slot <= to.Replicas; slot++ {
		c.tasks = append(c.tasks, task(slot, fleet.TaskRunning))
	}
	return nil
}

func (c *cluster) Scaled(_ context.Context, svc fleet.Service, replicas int, by, why string) error {
	c.written = append(c.written, fmt.Sprintf("%s %d>%d by %q: %s", svc.Name, svc.Desired, replicas, by, why))
	return nil
}

func task(slot int, state string) fleet.Task {
	return fleet.Task{
		ID:        fmt.Sprint("t", slot),
		Slot:      slot,
		NodeID:    "n",
		State:     state,
		Desired:   fleet.TaskRunning,
		Container: fmt.Sprint("c", slot),
	}
}

// begins is a third task whose container Swarm has not heard of, some time after the test begins by its clock.
func begins(after time.Duration) fleet.Task {
	t := task(3, "preparing")
	t.Container, t.Since = "", synctestEpoch.Add(after)
	return t
}

var synctestEpoch = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)

func newCluster(replicas int) *cluster {
	c := &cluster{nodes: 3, leave: map[string]bool{}, svc: fleet.Service{
		ID:        "spider",
		Name:      "spider",
		Mode:      fleet.ModeReplicated,
		Desired:   replicas,
		Autoscale: &fleet.Autoscale{Rule: scalerule.Rule{Queue: "k", PerReplica: 100, Max: 50}, Set: -1},
	}}
	for slot := 1; slot <= replicas; slot++ {
		c.tasks = append(c.tasks, task(slot, fleet.TaskRunning))
	}
	return c
}

// waits says how many items wait, and which containers hold one.
func (c *cluster) waits(n int64, holders ...string) {
	c.queue = backlog.Seen{Keys: map[string]backlog.Key{"k": {Waiting: n, InFlight: int64(len(holders)), Leased: true}}}
	c.queue.Holds.Containers = map[string]bool{}
	for _, h := range holders {
		c.queue.Holds.Containers[h] = true
	}
}

// run has a controller look at a cluster for a time, by a clock of its own.
func (c *cluster) run(t *testing.T, d time.Duration, and ...func(*scaling.Controller)) (is fleet.Scaling) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		loop := scaling.New(c, c, c, slog.New(slog.DiscardHandler))
		ctx, cancel := context.WithTimeout(t.Context(), d)
		defer cancel()
		go func() { _ = loop.Run(ctx) }()
		<-ctx.Done()
		synctest.Wait()
		for _, f := range and {
			f(loop)
		}
		if states := loop.States(); len(states) == 1 {
			is = states[0]
		} else if c.engineErr == nil {
			t.Errorf("%d services follow a queue: %+v", len(states), states)
		}
	})
	return is
}

func TestController(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		replicas int
		lasts    time.Duration
		make     func(*cluster)
		now      string // a part of it
		written  string // a part of each, in lines
		to       int
		leave    string // the containers that get no more items in the end
	}{
		"up, doubling": {
			replicas: 0, lasts: 100 * time.Second, make: func(c *cluster) { c.waits(1000) },
			to:      8,
			written: "0>1 true 1000 waiting, 100 a replica: 10 wanted; 1 at first\n1>2 false\n2>4 false\n4>8 false",
		},
		"no more than nodes bear": {
			replicas: 400, lasts: time.Second, to: 500, written: "400>500 false 90000 waiting",
			make: func(c *cluster) {
				c.nodes = 1
				c.svc.Autoscale.Max = 5000
				c.waits(90000)
			},
		},
		"down, when nobody holds an item": {
			replicas: 3, lasts: 302 * time.Second, make: func(c *cluster) { c.waits(0) }, to: 0, leave: "c1 c2 c3",
			written: "3>0 false nothing has",
		},
		"not what holds one": {
			replicas: 3, lasts: 400 * time.Second, make: func(c *cluster) { c.waits(0, "c3") }, to: 3,
			now: "may end spider.3 first, which is at work",
		},
		"only what Swarm ends later holds one": {
			replicas: 3, lasts: 400 * time.Second, make: func(c *cluster) { c.waits(0, "c1") }, to: 1,
			written: "3>1 false", leave: "c2 c3",
		},
		"somebody on its node holds one, and it is not known who": {
			replicas: 3, lasts: 400 * time.Second, to: 3, now: "may end spider.2 first, which is at work",
			make: func(c *cluster) {
				for i := range c.tasks {
					c.tasks[i].NodeID = fmt.Sprint("n", i)
				}
				c.waits(0)
				c.queue.Holds.Addrs = map[string]bool{"10.0.0.1": true, "10.0.0.7": true}
			},
		},
		"one took an item just now": {
			replicas: 3, lasts: 302 * time.Second, to: 3, now: "spider.3 took one just now",
			make: func(c *cluster) { c.waits(0); c.taken = []string{"c3"} },
		},
		"of several nodes any may end": {
			replicas: 3, lasts: 312 * time.Second, to: 2, written: "3>2 false", leave: "c3",
			make: func(c *cluster) {
				for i := range c.tasks {
					c.tasks[i].NodeID = fmt.Sprint("n", i)
				}
				c.waits(150)
			},
		},
		"one that stays took an item just now": {
			replicas: 3, lasts: 302 * time.Second, to: 2, leave: "c3",
			make:    func(c *cluster) { c.waits(0); c.taken = []string{"c2"} },
			written: "3>2 false",
		},
		"it can't be said who leaves": {
			replicas: 3, lasts: 302 * time.Second, to: 3, now: "0 are wanted, and nothing was changed: no room",
			make: func(c *cluster) { c.waits(0); c.leaveErr = errors.New("no room") },
		},
		"what leaves can't be ended": {
			replicas: 3, lasts: 302 * time.Second, to: 3, now: "0 are wanted, and nothing was changed: busy",
			make: func(c *cluster) { c.waits(0); c.refused = deploy.ConflictError("busy") },
		},
		"one that has only begun may hold one": {
			replicas: 3, lasts: 330 * time.Second, to: 3, now: "may end spider.3 first, which is at work",
			make: func(c *cluster) { c.waits(0); c.tasks[2] = begins(300 * time.Second) },
		},
		"one that can't begin holds none": {
			replicas: 3, lasts: 302 * time.Second, to: 0, leave: "c1 c2",
			make:    func(c *cluster) { c.waits(0); c.tasks[2] = begins(0) },
			written: "3>0 false nothing has",
		},
		"the queue can't be read": {
			replicas: 3, lasts: 20 * time.Minute, make: func(c *cluster) { c.queueErr = errors.New("no queue") }, to: 3,
			now: "can't be read, so it stays as it is: no queue",
		},
		"the key can't be used": {
			replicas: 3, lasts: 20 * time.Minute, to: 3, now: "k is a hash",
			make: func(c *cluster) { c.queue.Errs = map[string]error{"k": errors.New("k is a hash")} },
		},
		"an update is under way": {
			replicas: 3, lasts: time.Minute, to: 3, now: "being updated",
			make: func(c *cluster) { c.svc.Update = fleet.Updating; c.waits(1000) },
		},
		"paused": {
			replicas: 3, lasts: 20 * time.Minute, to: 3, now: "`crawlbox scale spider=auto`",
			make: func(c *cluster) { c.svc.Autoscale.Paused = "scaled to 3 by hand"; c.waits(1000) },
		},
		"scaled with docker": {
			replicas: 3, lasts: time.Minute, to: 3, now: "paused: it was scaled to 3 by hand",
			written: `spider 8>3 by "": by hand; it follows its queue again after`,
			make:    func(c *cluster) { c.svc.Autoscale.Set = 8; c.waits(1000) },
		},
		"another change is under way": {
			replicas: 3, lasts: time.Minute, to: 3, now: "6 are wanted, and nothing was changed: busy",
			make: func(c *cluster) { c.refused = deploy.ConflictError("busy"); c.waits(1000) },
		},
		"all have ended by themselves": {
			replicas: 2, lasts: time.Second, to: 1, written: "2>1 true 1 waiting",
			make: func(c *cluster) {
				c.tasks = []fleet.Task{task(1, fleet.TaskComplete), task(2, fleet.TaskComplete)}
				c.waits(1)
			},
		},
		"what fails has not ended": {
			replicas: 2, lasts: time.Minute, to: 2,
			make: func(c *cluster) {
				c.tasks = []fleet.Task{task(1, fleet.TaskFailed), task(2, fleet.TaskPending)}
				c.waits(200)
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newCluster(tc.replicas)
			tc.make(c)
			is := c.run(t, tc.lasts)
			if !strings.Contains(is.Now, tc.now) || c.svc.Desired != tc.to || is.Replicas != tc.to ||
				is.Service != "spider" {
				t.Errorf("it is %+v, and %d; want %d, %q", is, c.svc.Desired, tc.to, tc.now)
			}
			if leave := strings.Join(slices.Sorted(maps.Keys(c.leave)), " "); leave != tc.leave {
				t.Errorf("no more items get %q, want %q", leave, tc.leave)
			}
			var want []string
			if tc.written != "" {
				want = strings.Split(tc.written, "\n")
			}
			if len(c.written) != len(want) {
				t.Fatalf("written is %q, want %q", c.written, want)
			}
			for i, line := range c.written {
				if !strings.Contains(line, want[i]) {
					t.Errorf("written is %q, want %q", line, want[i])
				}
			}
		})
	}
}

// TestController_Forgets: what is kept of a service goes with its rule, and without rules nobody looks at the queue.
func TestController_Forgets(t *testing.T) {
	t.Parallel()
	c := newCluster(1)
	c.waits(0)
	c.engineErr = errors.New("away")
	c.run(t, time.Minute)
	if c.looked > 0 {
		t.Errorf("looked %d times at the queue without knowing the services", c.looked)
	}
	c.engineErr = nil
	c.run(t, 30*time.Second, func(loop *scaling.Controller) {
		if loop.Policies() != 1 {
			t.Errorf("%d policies are kept", loop.Policies())
		}
		rule, looked := c.svc.Autoscale, c.looked
		c.svc.Autoscale = nil
		if err := loop.Round(t.Context()); err != nil || loop.Policies() != 0 || len(loop.States()) != 0 ||
			c.looked != looked {
			t.Errorf("kept are %d policies, %+v, %v", loop.Policies(), loop.States(), err)
		}
		c.svc.Autoscale = rule
		if err := loop.Round(t.Context()); err != nil {
			t.Error(err)
		}
	})
}
