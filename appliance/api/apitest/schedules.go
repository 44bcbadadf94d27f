package apitest

import (
	"context"
	"slices"
	"time"

	"github.com/crawlbox/crawlbox/appliance/api"
	"github.com/crawlbox/crawlbox/appliance/schedule"
)

// someSchedules are one that has skipped a time, one that can't begin runs, and one that is paused.
func someSchedules(now time.Time) []schedule.Entry {
	entry := func(name, cron string) schedule.Entry {
		return schedule.Entry{
			Schedule: schedule.Schedule{
				Name: name, Service: "spider", Cron: cron, Zone: "Europe/Paris", Replicas: 1, Retries: 2, By: "root@h1",
			},
			Position: schedule.Position{Through: now},
		}
	}
	bad, nightly, paused := entry("bad", "@every 15m"), entry("nightly", "0 3 * * *"), entry("weekly", "@weekly")
	bad.Position.Failing, bad.Position.Why = now.Add(-time.Minute), `unknown service "spider"`
	nightly.Args, nightly.Timeout, nightly.Jitter = map[string]string{"site": "shop"}, 6*time.Hour, 10*time.Minute
	nightly.Position.Events = []schedule.Event{{
		At: now.Add(-time.Hour), First: now.Add(-time.Hour), Last: now.Add(-time.Hour), Count: 1,
		Kind: schedule.Skipped, Why: "run nightly-1 had not ended",
	}}
	paused.Paused = &schedule.Pause{By: "root@h1", At: now.Add(-time.Hour)}
	return []schedule.Entry{bad, nightly, paused}
}

func (c *Cluster) shown(e schedule.Entry) api.Schedule {
	is := api.Schedule{Entry: e}
	is.Coming, _ = e.Coming(c.now, 10)
	return is
}

func (c *Cluster) Schedules(context.Context) (list []api.Schedule, err error) {
	if err := c.manager(); err != nil {
		return nil, err
	}
	defer c.mu.Unlock()
	for _, e := range c.planned {
		list = append(list, c.shown(e))
	}
	return list, nil
}

func (c *Cluster) AddSchedule(_ context.Context, req api.ScheduleRequest) (api.Schedule, error) {
	if err := c.manager(); err != nil {
		return api.Schedule{}, err
	}
	defer c.mu.Unlock()
	if _, err := c.service(req.Service); err != nil {
		return api.Schedule{}, err
	}
	if schedule.Find(c.planned, req.Name) >= 0 && !req.Replace {
		return api.Schedule{}, fail(api.CodeConflict, "there is a schedule %s already; --replace changes it", req.Name)
	}
	c.planned = schedule.With(c.planned, req.Schedule, false, c.now)
	return c.shown(c.planned[schedule.Find(c.planned, req.Name)]), nil
}

// scheduled calls fn with a schedule.
func (c *Cluster) scheduled(name string, fn func(i int)) error {
	if err := c.manager(); err != nil {
		return err
	}
	defer c.mu.Unlock()
	i := schedule.Find(c.planned, name)
	if i < 0 {
		return fail(api.CodeNotFound, "unknown schedule %q; `crawlbox schedule ls` lists them", name)
	}
	fn(i)
	return nil
}

func (c *Cluster) RemoveSchedule(_ context.Context, name string) error {
	return c.scheduled(name, func(i int) { c.planned = slices.Delete(c.planned, i, i+1) })
}

func (c *Cluster) PauseSchedule(_ context.Context, name string) error {
	return c.scheduled(name, func(i int) { c.planned[i].Paused = &schedule.Pause{By: "root@h1", At: c.now} })
}

func (c *Cluster) ResumeSchedule(_ context.Context, name string) error {
	return c.scheduled(name, func(i int) { c.planned[i].Paused = nil })
}
