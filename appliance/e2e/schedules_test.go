package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/crawlbox/crawlbox/appliance/api"
	"github.com/crawlbox/crawlbox/appliance/lab"
	"github.com/crawlbox/crawlbox/appliance/runs"
)

// TestSchedules has three managers begin the runs of ten schedules of ten seconds, while crawlbox of the one that leads
// is killed, and then the leader loses its power: each planned time has one run.
func TestSchedules(t *testing.T) {
	t.Parallel()
	const image, each, period = "localhost:8003/tiny:1", 40 * time.Second, 10 * time.Second
	c := newCluster(t, "", 0)
	for range 2 {
		h := c.lab.AddHost()
		c.hosts = append(c.hosts, h)
		c.agents[h] = h.Start("crawlbox", "crawlbox", "manager", "--join", c.token("manager"))
		c.awaitAgent(h)
	}
	c.awaitReady(3)
	c.awaitState(c.hosts...)
	c.push(image)
	c.run("deploy", image, "--name", "spider", "--monitor", "1s")
	var names []string
	for n := range 10 {
		names = append(names, fmt.Sprint("s", n))
		c.run("schedule", "add", names[n], "spider", "--cron", "@every 10s", "--overlap", "wait", "--at-most", "5",
			"--", "health") // which ends at once
	}
	began := time.Now()
	time.Sleep(each) // the time that schedules have is what is tested

	leader := c.swarmLeader(c.hosts[0], c.hosts...)
	c.agents[leader].Kill()
	time.Sleep(2 * period)
	c.agents[leader] = leader.Start("crawlbox", "crawlbox", "manager")
	c.awaitAgent(leader)
	time.Sleep(each)

	var others []*lab.Host
	for _, h := range c.hosts {
		if h != leader {
			others = append(others, h)
		}
	}
	c.manager = others[0]
	off := time.Now()
	leader.PowerOff()
	lab.WaitFor(c, elects+follows+patience, "a run that another leader has begun", func() error {
		r := c.manager.Exec(c.Context(), "crawlbox", "runs", names[0], "--json")
		if r.Code != 0 {
			return r.Err()
		}
		var list []runs.Record
		if err := json.Unmarshal([]byte(r.Stdout), &list); err != nil {
			return err
		}
		if len(list) == 0 || !list[0].At.After(off) {
			return errors.New("none is new")
		}
		return nil
	})
	t.Logf("another leader has begun a run after %s", time.Since(off).Round(time.Second))
	time.Sleep(each)
	ended := time.Now()
	c.run(append([]string{"schedule", "pause"}, names...)...)
	lab.WaitFor(c, 3*patience, "the end of all runs", func() error {
		for _, line := range strings.Fields(c.manager.Docker("service", "ls", "--format", "{{.Name}}")) {
			if line != "spider" {
				return fmt.Errorf("%s is there", line)
			}
		}
		return nil
	})
	total := 0
	for _, name := range names {
		seen := map[time.Time]int{}
		var first, last time.Time
		for _, is := range c.runsOf(name) { // the newest first
			seen[is.Planned]++
			if is.Planned.After(last) {
				last = is.Planned
			}
			if first.IsZero() || is.Planned.Before(first) {
				first = is.Planned
			}
		}
		for at := first; !at.After(last); at = at.Add(period) {
			if total++; seen[at] != 1 {
				t.Errorf("%s: %d runs of %s", name, seen[at], at)
			}
			delete(seen, at)
		}
		if len(seen) > 0 || first.After(began.Add(period)) || last.Before(ended.Add(-2*period)) {
			t.Errorf("%s: runs from %s to %s, and %v, between %s and %s", name, first, last, seen, began, ended)
		}
	}
	var list []api.Schedule
	c.read(&list, "schedule", "ls")
	for _, s := range list {
		if len(s.Position.Events) > 0 || len(s.Position.Waiting) > 0 {
			t.Errorf("%s tells %+v, and %+v wait", s.Name, s.Position.Events, s.Position.Waiting)
		}
	}
	t.Logf("%d planned times in %s, each with one run", total, ended.Sub(began).Round(time.Second))
}

func (c *cluster) runsOf(name string) (list []runs.Record) {
	c.Helper()
	c.read(&list, "runs", name, "-n", "1000")
	return list
}
