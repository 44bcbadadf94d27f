package e2e

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/crawlbox/crawlbox/appliance/autoscale"
	"github.com/crawlbox/crawlbox/appliance/deploy/history"
	"github.com/crawlbox/crawlbox/appliance/failpoint"
	"github.com/crawlbox/crawlbox/appliance/fleet"
	"github.com/crawlbox/crawlbox/appliance/lab"
	"github.com/crawlbox/crawlbox/appliance/lab/artifact"
	"github.com/crawlbox/crawlbox/appliance/swarm/servicespec"
)

const (
	spiderKey = "example:swarm:spider"
	// scalingShare makes of five minutes below ten seconds, and of thirty seconds for a doubling one.
	scalingShare = "30"
)

// TestAutoscale has the walkthrough's spider follow its queue on three hosts: from 0 to 50 replicas and back to 0, each
// step with its reason in the history, and no replica ended that was at work.
func TestAutoscale(t *testing.T) {
	t.Parallel()
	c := newHastyScaling(t)
	c.manager.LoadPythonBase()
	directory := artifact.Spider(c, servicespec.QueueHost, password)
	c.manager.MustExec("env", "DOCKER_BUILDKIT=0", "docker", "build", "--quiet", "--tag", "localhost:8003/spider:1",
		directory)
	c.manager.Docker("push", "--quiet", "localhost:8003/spider:1")
	c.run("deploy", "localhost:8003/spider:1", "--name", "spider", "--monitor", "1s")

	t.Run("bad input", func(t *testing.T) {
		c := c.sub(t)
		c.manager.Docker("service", "create", "--detach", "--name", "everywhere", "--mode", "global",
			"localhost:8003/spider:1")
		for _, bad := range []struct {
			says string
			args []string
		}{
			{"--queue", []string{"spider", "--per-replica", "200", "--max", "50"}},
			{"more than max", []string{"spider", "--queue", "k", "--per-replica", "2", "--min", "9", "--max", "5"}},
			{"--per-replica is 0", []string{"spider", "--queue", "k", "--per-replica", "0", "--max", "5"}},
			{"excludes", []string{"spider", "--queue", "k", "--per-replica", "2", "--empty-in", "2h", "--max", "5"}},
			{"--max is missing", []string{"spider", "--queue", "k", "--per-replica", "2"}},
			{"name the service", []string{"--queue", "k", "--per-replica", "2", "--max", "5"}},
		} {
			contains(t, c.fails(c.manager, 2, append([]string{"autoscale"}, bad.args...)...), bad.says)
		}
		rule := []string{"--queue", "k", "--per-replica", "2", "--max", "5"}
		contains(t, c.fails(c.manager, 1, append([]string{"autoscale", "everywhere"}, rule...)...), "is global")
		contains(t, c.fails(c.manager, 1, append([]string{"autoscale", "spidr"}, rule...)...), `mean "spider"`)
		contains(t, c.fails(c.manager, 1, "autoscale", "spider", "--off"), "does not follow a queue")
		contains(t, c.fails(c.manager, 1, "scale", "spider=auto"), "follows no queue")
		contains(t, c.fails(c.manager, 1, "autoscale", "spider"), "follows no queue")
		c.run("rm", "everywhere")
	})
	c.run("autoscale", "spider", "--queue", spiderKey, "--per-replica", "4", "--max", "50")
	contains(t, c.run("autoscale"), "spider", spiderKey, "4 a replica")
	t.Run("to none", func(t *testing.T) {
		c := c.sub(t)
		c.awaitAsked("spider", 0)
		contains(t, c.run("ls"), "idle", "autoscale: "+spiderKey+", 4 a replica, 0 to 50")
	})
	t.Run("a queue that can't be read", func(t *testing.T) {
		c := c.sub(t)
		client := queueClient(c.manager, c.manager)
		defer client.Close()
		if err := client.Set(t.Context(), spiderKey, "no list", 0).Err(); err != nil {
			t.Fatal(err)
		}
		lab.WaitFor(t, patience, "the queue to be unreadable", func() error {
			return want(strings.Contains(c.scaling("spider").Now, "is a string, and no list"), true)
		})
		client.Del(t.Context(), spiderKey)
	})
	t.Run("50 and back", func(t *testing.T) { c.sub(t).scalesUpAndDown() })
	t.Run("a person scales", func(t *testing.T) { c.sub(t).scalesByHand() })
}

// scalesUpAndDown fills the queue, has some items come while the replicas become fewer, and waits until all is done and
// nothing runs. An item that is done twice was in the hands of a replica that was ended.
func (c *cluster) scalesUpAndDown() {
	c.Helper()
	const few = 40 // replicas, with which no more items come; nor do they a minute after all are there
	pushed := 0
	push := func(n int) {
		if n == 0 {
			return
		}
		args := []string{"queue", "push", spiderKey}
		for range n {
			args = append(args, fmt.Sprint("n", pushed))
			pushed++
		}
		c.run(args...)
	}
	push(240)
	most, comes, full := 0, true, time.Time{}
	got, began := map[string]map[string]bool{}, time.Now() // by item: the replicas
	lab.WaitFor(c, 5*patience, "50 replicas, and none after that", func() error {
		is := c.scaling("spider")
		if most = max(most, is.Replicas); is.Replicas == 0 && most > 0 {
			return nil
		}
		for line := range strings.Lines(c.run("logs", "--all", "spider", "--tail", "100000")) {
			if replica, item, ok := strings.Cut(line, "got: "); ok {
				item = strings.TrimSpace(item)
				if got[item] == nil {
					got[item] = map[string]bool{}
				}
				got[item][strings.Fields(replica)[0]] = true
			}
		}
		if most >= 50 && full.IsZero() {
			full = time.Now()
		}
		comes = comes && (full.IsZero() || is.Replicas > few && time.Since(full) < time.Minute)
		if comes && most >= 50 {
			push(max(0, 240+int(time.Since(full).Seconds())-pushed)) // one a second has ten replicas at work
		}
		return fmt.Errorf("%+v, %d items of %d done", is, len(got), pushed)
	})
	c.Logf("%d items, up to %d replicas, in %s", pushed, most, time.Since(began).Round(time.Second))
	if most < 50 || len(got) != pushed { // those that have ended may be among more
		c.Errorf("up to %d replicas, %d items of %d", most, len(got), pushed)
	}
	for item, by := range got {
		if len(by) > 1 {
			c.Errorf("%s was in the hands of a replica that was ended: %v", item, slices.Collect(maps.Keys(by)))
		}
	}
	downs := 0 // to some that are at work
	c.eachScaling("spider", func(s history.Scaling) {
		if s.By == "autoscale" && s.Why == "" {
			c.Errorf("no reason: %+v", s)
		}
		if s.To < s.From && s.To > 0 {
			downs++
		}
	})
	if downs == 0 {
		c.Error("replicas never became fewer while items came")
	}
	contains(c.T, c.run("history", "spider"), "autoscale", "wanted", "nothing has waited or been in flight", "-> 0")
}

// scalesByHand has a person scale, by crawlbox and by docker, and give the service back.
func (c *cluster) scalesByHand() {
	c.Helper()
	contains(c.T, c.run("scale", "spider=2", "--detach"))
	contains(c.T, c.run("autoscale", "spider"), "paused: it was scaled to 2 by hand", "crawlbox scale spider=auto")
	contains(c.T, c.run("ls"), "paused")
	c.run("queue", "push", spiderKey, "x")
	contains(c.T, c.run("scale", "spider=auto"), "follows its queue")
	c.awaitAsked("spider", 0)
	c.run("queue", "push", spiderKey, "y")
	c.awaitAsked("spider", 1)
	c.manager.Docker("service", "scale", "--detach", "spider=3")
	lab.WaitFor(c, patience, "a pause", func() error {
		return want(c.scaling("spider").Paused, "scaled to 3 by hand")
	})
	c.run("autoscale", "spider", "--off")
	contains(c.T, c.run("history", "spider"), "by hand", "follows its queue again", "no longer follows a queue")
}

// newHastyScaling is a manager and two workers with a queue, whose services follow queues without much delay.
func newHastyScaling(t *testing.T) *cluster {
	l := newLab(t)
	l.Install(artifact.BinaryWithFailpoints(t))
	c := &cluster{T: t, lab: l, hosts: l.AddHosts(3), agents: map[*lab.Host]*lab.Proc{}}
	c.manager = c.hosts[0]
	c.manager.WriteFile("/etc/crawlbox/crawlbox.yaml", queueConfig+"  safe: ['example:*']\n  window: 1\n")
	c.agents[c.manager] = c.manager.Start("crawlbox", failpoint.EnvScaling+"="+scalingShare, "crawlbox", "manager")
	c.awaitAgent(c.manager)
	for _, h := range c.hosts[1:] {
		c.join(h)
	}
	c.awaitReady(3)
	return c
}

// scaling is what a service does that follows a queue.
func (c *cluster) scaling(service string) fleet.Scaling {
	c.Helper()
	var list []fleet.Scaling
	c.read(&list, "autoscale", service)
	if len(list) != 1 {
		c.Fatalf("%s follows no queue", service)
	}
	return list[0]
}

func (c *cluster) awaitAsked(service string, replicas int) {
	c.Helper()
	lab.WaitFor(c, patience, fmt.Sprintf("%s to have %d replicas", service, replicas), func() error {
		is := c.scaling(service)
		if is.Replicas != replicas {
			return fmt.Errorf("%+v", is)
		}
		return nil
	})
}

func (c *cluster) eachScaling(service string, see func(history.Scaling)) {
	c.Helper()
	var entries []history.Entry
	c.read(&entries, "history", service)
	n := 0
	for _, e := range entries {
		for _, s := range e.Scaled {
			see(s)
			n++
		}
	}
	if n == 0 {
		c.Errorf("%s was never scaled", service)
	}
}

// TestAutoscale_Victims compares which replicas Swarm ends with those that it may end as autoscale sees it, evenly
// spread and not.
func TestAutoscale_Victims(t *testing.T) {
	t.Parallel()
	c := newCluster(t, "", 2)
	c.push("localhost:8003/tiny:1")
	c.manager.Docker("service", "create", "--detach", "--name", "tiny", "--network", "host", "localhost:8003/tiny:1")
	steps := func(counts ...int) {
		t.Helper()
		for _, n := range counts {
			before := c.tasks("tiny")
			c.manager.Docker("service", "scale", "--detach", "tiny="+strconv.Itoa(n))
			c.awaitRunning("tiny", n)
			after := c.tasks("tiny")
			var slots []autoscale.Slot
			for _, task := range before {
				slots = append(slots, autoscale.Slot{Number: task.Slot, Node: task.NodeID, Running: true})
			}
			may := autoscale.Victims(slots, n)
			var ended []int
			for _, slot := range slots {
				stays := slices.ContainsFunc(after, func(t fleet.Task) bool { return t.Slot == slot.Number })
				if !stays {
					ended = append(ended, slot.Number)
					if !slices.Contains(may, slot) {
						t.Errorf("to %d: slot %d on %s ended, which is none of %+v", n, slot.Number, slot.Node, may)
					}
				}
			}
			t.Logf("to %d: %v ended, of %d that might", n, ended, len(may))
		}
	}
	steps(12, 11, 9, 6, 5, 2)
	// One node has none of the first ones, and most are on the others.
	c.manager.Docker("node", "update", "--availability", "drain", c.hosts[2].Name())
	lab.WaitFor(t, patience, "2 replicas, none of them on the drained node", func() error {
		running := c.tasks("tiny")
		if slices.ContainsFunc(running, func(t fleet.Task) bool { return t.Node == c.hosts[2].Name() }) {
			return fmt.Errorf("%+v", running)
		}
		return want(len(running), 2)
	})
	steps(9)
	c.manager.Docker("node", "update", "--availability", "active", c.hosts[2].Name())
	steps(11, 10, 8, 7, 4, 1)
}
