package apitest

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"time"

	"github.com/crawlbox/crawlbox/appliance/api"
	"github.com/crawlbox/crawlbox/appliance/fleet"
	"github.com/crawlbox/crawlbox/appliance/runs"
)

// someRuns are one that is done, one that failed, and one that runs.
func someRuns(now time.Time) []runs.Record {
	spec := func(id string, ago time.Duration) runs.Spec {
		return runs.Spec{
			ID: id, Service: "spider", By: "root@h1", At: now.Add(-ago), Image: "localhost:8003/spider:0.02",
			Digest: "sha256:" + strings.Repeat("ab", 32), Replicas: 1, Retries: 2,
		}
	}
	task := func(state string, from, to time.Duration, code int, cause string) []runs.Task {
		t := runs.Task{ID: "t1", Slot: 1, Node: "h2", State: state, Began: now.Add(-from), ExitCode: code, Cause: cause}
		if to > 0 {
			t.Ended = now.Add(-to)
		}
		return []runs.Task{t}
	}
	live := runs.Record{Spec: spec("spider-3", time.Minute), State: runs.Running, Attempts: 1}
	live.Began = live.At
	live.Tasks = task(fleet.TaskRunning, time.Minute, 0, 0, "")
	bad := runs.Record{
		Spec: spec("spider-2", 3*time.Hour), State: runs.Failed, ExitCode: 3,
		Why:   "exit code 3 on h2, after 3 attempts",
		Began: now.Add(-3 * time.Hour), Ended: now.Add(-2 * time.Hour), Attempts: 3,
		Variables: map[string]string{"API_TOKEN": "hush", "DEPTH": "2"},
	}
	bad.Args, bad.Timeout = map[string]string{"site": "shop"}, 6*time.Hour
	bad.Log = runs.NewExcerpt([]string{"spider opened"}, []string{"GET /about", "Traceback (most recent call last):"})
	bad.Log.Slot, bad.Log.Node = 1, "h2"
	bad.Usual = &runs.Usual{Runs: 1, Took: 2 * time.Hour, Counts: runs.Counts{Items: new(int64(12400))}}
	bad.Tasks = task(fleet.TaskFailed, 3*time.Hour, 2*time.Hour, 3, "exit code 3")
	good := runs.Record{
		Spec: spec("spider-1", 26*time.Hour), State: runs.Done,
		Began: now.Add(-26 * time.Hour), Ended: now.Add(-24 * time.Hour), Attempts: 1,
		Counts: runs.Counts{Items: new(int64(12400)), Pages: new(int64(20000)), Errors: new(int64(31))},
	}
	good.Tasks = task(fleet.TaskComplete, 26*time.Hour, 24*time.Hour, 0, "")
	good.Tasks[0].Peak = fleet.Peak{Memory: new(int64(412_000_000)), CPU: new(0.97)}
	return []runs.Record{live, bad, good}
}

func (c *Cluster) run(id string) (int, error) {
	i := slices.IndexFunc(c.runs, func(r runs.Record) bool { return r.ID == id })
	if i < 0 {
		return i, fail(api.CodeNotFound, "unknown run %q; `crawlbox runs` lists them", id)
	}
	return i, nil
}

// Begin implements Backend. What it begins is done at once.
func (c *Cluster) Begin(_ context.Context, req api.RunRequest) (runs.Record, error) {
	if err := c.manager(); err != nil {
		return runs.Record{}, err
	}
	defer c.mu.Unlock()
	if req.Service != "" {
		if _, err := c.service(req.Service); err != nil {
			return runs.Record{}, err
		}
	}
	r := runs.Record{Spec: runs.Spec{
		ID: cmp.Or(req.Name, "begun"), Service: req.Service, Image: req.Image, Args: req.Args, Command: req.Command,
		Replicas: req.Replicas, Retries: req.Retries, Timeout: req.Timeout, At: c.now, By: "root@h1",
	}, State: runs.Done, Began: c.now, Ended: c.now, Variables: req.Env}
	c.runs = append([]runs.Record{r}, c.runs...)
	return r, nil
}

func (c *Cluster) Rerun(ctx context.Context, id string) (runs.Record, error) {
	was, err := c.Run(ctx, id)
	if err != nil {
		return was, err
	}
	return c.Begin(ctx, api.RunRequest{Service: was.Service, Args: was.Args, Env: was.Variables, Replicas: 1})
}

func (c *Cluster) Run(_ context.Context, id string) (runs.Record, error) {
	if err := c.manager(); err != nil {
		return runs.Record{}, err
	}
	defer c.mu.Unlock()
	i, err := c.run(id)
	if err != nil {
		return runs.Record{}, err
	}
	return c.runs[i], nil
}

func (c *Cluster) Runs(_ context.Context, q api.RunQuery) (list []runs.Record, err error) {
	if err := c.manager(); err != nil {
		return nil, err
	}
	defer c.mu.Unlock()
	for _, r := range c.runs {
		bad := !r.Ended.IsZero() && r.State != runs.Done
		if (q.Of == "" || q.Of == r.Service) && (bad || !q.Failed) && (q.Since.IsZero() || r.At.After(q.Since)) {
			list = append(list, r.Head())
		}
	}
	return list, nil
}

func (c *Cluster) StopRun(_ context.Context, id string) error {
	if err := c.manager(); err != nil {
		return err
	}
	defer c.mu.Unlock()
	i, err := c.run(id)
	switch {
	case err != nil:
		return err
	case !c.runs[i].Ended.IsZero():
		return fail(api.CodeConflict, "run %s has ended", id)
	}
	c.runs[i].State, c.runs[i].ExitCode, c.runs[i].Ended = runs.Stopped, 143, c.now
	return nil
}

func (c *Cluster) RemoveRun(_ context.Context, id string) error {
	if err := c.manager(); err != nil {
		return err
	}
	defer c.mu.Unlock()
	i, err := c.run(id)
	if err == nil {
		c.runs = slices.Delete(c.runs, i, i+1)
	}
	return err
}
