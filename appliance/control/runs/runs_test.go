package runs

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/crawlbox/crawlbox/appliance/api"
	"github.com/crawlbox/crawlbox/appliance/cluster/state"
	"github.com/crawlbox/crawlbox/appliance/cluster/state/statetest"
	"github.com/crawlbox/crawlbox/appliance/deploy"
	"github.com/crawlbox/crawlbox/appliance/fleet"
	"github.com/crawlbox/crawlbox/appliance/runs"
	"github.com/crawlbox/crawlbox/appliance/runs/starter"
	"github.com/crawlbox/crawlbox/appliance/swarm"
	"github.com/crawlbox/crawlbox/appliance/swarm/servicespec"
)

var now = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// cluster is an engine in memory, in which runs stay as they begin.
type cluster struct {
	services  []fleet.Service
	tasks     []fleet.Task
	variables map[string]map[string]string // by service
	begun     []servicespec.Run
	stopped   map[string]string // label, by service
	broken    error
}

func (c *cluster) HasRuns(context.Context) (bool, error) {
	return slices.ContainsFunc(c.services, fleet.Service.IsRun), c.broken
}

func (c *cluster) Services(context.Context) ([]fleet.Service, error) { return c.services, c.broken }

func (c *cluster) Service(_ context.Context, idOrName string) (fleet.Service, error) {
	is := func(svc fleet.Service) bool { return svc.ID == idOrName || svc.Name == idOrName }
	i := slices.IndexFunc(c.services, is)
	if i < 0 || c.broken != nil {
		return fleet.Service{}, cmp.Or(c.broken, swarm.ErrNotFound)
	}
	return c.services[i], nil
}

func (c *cluster) Snapshot(context.Context) (fleet.Snapshot, error) {
	return fleet.Snapshot{Taken: now, Services: c.services, Tasks: c.tasks}, c.broken
}

func (c *cluster) Nodes(context.Context) ([]fleet.Node, error) {
	return []fleet.Node{{ID: "n1", State: "ready", Availability: "active"}}, c.broken
}

func (c *cluster) StopRun(_ context.Context, id, label string) error {
	c.stopped[id] = label
	return nil
}

func (c *cluster) Variables(_ context.Context, id string, names []string) (map[string]string, error) {
	return c.variables[id], nil
}

func (c *cluster) Platforms(context.Context, string) []fleet.Platform { return nil }

func (c *cluster) CreateRun(_ context.Context, of string, _ servicespec.Deployment, r servicespec.Run) error {
	if slices.ContainsFunc(c.services, func(svc fleet.Service) bool { return svc.Name == r.ID }) {
		return swarm.ErrExists
	}
	label, err := r.Label()
	if err != nil {
		return err
	}
	if strings.Contains(r.Image, "unknown") && len(r.Args) > 0 {
		return servicespec.ErrNoProgram
	}
	c.services = append(c.services, fleet.Service{ID: "of-" + r.ID, Name: r.ID, Run: label})
	c.variables["of-"+r.ID] = r.Variables
	c.begun = append(c.begun, r)
	return nil
}

func (c *cluster) Resolve(_ context.Context, named string) (string, *deploy.Source, error) {
	if strings.Contains(named, "@") {
		return named, nil, nil
	}
	return named + "@sha256:0b", nil, nil
}

// open returns the runs of a cluster that has two services, a service of its own, and nothing that runs.
func open(t *testing.T) (*Runs, *cluster) {
	t.Helper()
	c := &cluster{
		services: []fleet.Service{
			{ID: "s1", Name: "spider", Image: "localhost:8003/spider:2", Digest: "sha256:0a"},
			{ID: "s2", Name: "robot", Image: "localhost:8003/robot:1", Digest: "sha256:0c"},
			{ID: "s3", Name: fleet.OwnServices + "1"},
		},
		variables: map[string]map[string]string{},
		stopped:   map[string]string{},
	}
	store := runs.NewStore(state.NewGroup(statetest.Open(t, t.TempDir()), state.Runs))
	s := &starter.Starter{
		Engine: c, Sources: c, Store: store,
		Queue:   func(context.Context, string) *servicespec.Queue { return nil },
		Program: func(context.Context, string) (entrypoint, command []string) { return nil, nil },
	}
	explain := func(err error) error {
		if err == nil {
			return nil
		}
		return fmt.Errorf("explained: %w", err)
	}
	return New(c, s, store, explain), c
}

// end has a run end with a record, as the leader does. Its service stays.
func end(t *testing.T, r *Runs, id, state string, variables map[string]string) {
	t.Helper()
	is, err := r.Run(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	is.State, is.Began, is.Ended, is.Items = state, is.At, is.At.Add(time.Hour), new(int64(10))
	is.Tasks, is.Variables = []runs.Task{{ID: "t1"}}, variables
	if err := r.store.Add(is); err != nil {
		t.Fatal(err)
	}
}

// says checks an error: its code, and what it says; an empty code: there is none.
func says(t *testing.T, name string, err error, code, want string) {
	t.Helper()
	var is *api.Error
	if errors.As(err, &is); code == "" && err != nil || code != "" && (is == nil || is.Code != code) {
		t.Errorf("%s: got %v, want %s", name, err, code)
	} else if err != nil && !strings.Contains(err.Error(), want) {
		t.Errorf("%s: got %q, want %q", name, err, want)
	}
}

func TestBegin(t *testing.T) {
	t.Parallel()
	r, c := open(t)
	req := func(change func(*api.RunRequest)) api.RunRequest {
		q := api.RunRequest{Service: "spider", Replicas: 1, Retries: 2}
		change(&q)
		return q
	}
	of := func(service string) api.RunRequest { return req(func(q *api.RunRequest) { q.Service = service }) }
	named := func(name string) api.RunRequest { return req(func(q *api.RunRequest) { q.Name = name }) }
	for _, q := range []struct {
		name       string
		req        api.RunRequest
		code, want string
	}{
		{"a service", named("one"), "", ""},
		{"a name that is taken", named("one"), api.CodeConflict, "choose another --name"},
		{"a service's name", named("robot"), api.CodeConflict, "a run or a service robot"},
		{"another service", of("spidr"), api.CodeNotFound, `did you mean "spider"?`},
		{"nothing like it", of("x"), api.CodeNotFound, "`crawlbox ls` lists them"},
		{"a run", of("one"), api.CodeConflict, "`crawlbox rerun one`"},
		{"the cluster's own", of(fleet.OwnServices + "1"), api.CodeConflict, "has no runs"},
		{"the name of the cluster's own", named(fleet.OwnServices + "2"), api.CodeInvalid, "the cluster's own"},
		{"no name", named("a b"), api.CodeInvalid, "cannot name a service"},
		{"too many retries", req(func(q *api.RunRequest) { q.Retries = 5 }), api.CodeInvalid, "retries is 5"},
		{"no replicas", req(func(q *api.RunRequest) { q.Replicas = 0 }), api.CodeInvalid, "replicas is 0"},
		{"a timeout", req(func(q *api.RunRequest) { q.Timeout = time.Millisecond }), api.CodeInvalid, "timeout is 1ms"},
		{
			"no place for arguments",
			api.RunRequest{Image: "unknown:1", Name: "u", Replicas: 1, Args: map[string]string{"a": "b"}},
			api.CodeInvalid, "behind --",
		},
		{"an image", api.RunRequest{Image: "python:3", Name: "two", Replicas: 1}, "", ""},
	} {
		is, err := r.Begin(t.Context(), q.req)
		says(t, q.name, err, q.code, q.want)
		if err == nil && (is.ID != q.req.Name || is.State != runs.Waiting || is.Digest == "" || is.At.IsZero()) {
			t.Errorf("%s: %+v has begun", q.name, is)
		}
	}
	if len(c.begun) != 2 || c.begun[0].Retries != 2 {
		t.Errorf("there are %+v", c.begun)
	}
	made, err := r.Begin(t.Context(), req(func(*api.RunRequest) {}))
	if err != nil || !strings.HasPrefix(made.ID, "spider-") {
		t.Errorf("without a name it is %s, %v", made.ID, err)
	}
	_, err = r.Begin(t.Context(), req(func(q *api.RunRequest) { q.Replicas = 5000 }))
	var crowded deploy.ConflictError
	if !errors.As(err, &crowded) {
		t.Errorf("of 5000 tasks: %v", err)
	}
}

// TestRerun: it is of the same digest and parameters, also when its service runs another version by now, or is gone;
// and what planned the first did not plan it.
func TestRerun(t *testing.T) {
	t.Parallel()
	r, c := open(t)
	was, err := r.Begin(t.Context(), api.RunRequest{
		Service: "spider", Name: "first",
		Args: map[string]string{"site": "shop"}, Env: map[string]string{"TOKEN": "hush"},
		Command: []string{"scrapy", "crawl"}, Replicas: 3, Retries: 1, Timeout: time.Hour,
	})
	if err != nil {
		t.Fatal(err)
	}
	again := func(name string) {
		t.Helper()
		is, err := r.Rerun(t.Context(), "first")
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		got := c.begun[len(c.begun)-1]
		if is.ID == was.ID || got.ID != is.ID || !maps.Equal(got.Variables, map[string]string{"TOKEN": "hush"}) {
			t.Errorf("%s: %s is made with %v", name, got.ID, got.Variables)
		}
		if got.Schedule != "" || !got.Planned.IsZero() || got.At.Before(was.At) {
			t.Errorf("%s: planned by %q at %s, asked for at %s", name, got.Schedule, got.Planned, got.At)
		}
		same := got.Spec
		same.ID, same.At, same.Schedule, same.Planned = was.ID, was.At, was.Schedule, was.Planned
		if fmt.Sprint(same) != fmt.Sprint(was.Spec) {
			t.Errorf("%s: got %+v, want %+v", name, same, was.Spec)
		}
	}
	again("while it runs")
	end(t, r, "first", runs.Failed, map[string]string{"TOKEN": "hush"})
	again("once it has failed")
	c.services[0].Image, c.services[0].Digest = "localhost:8003/spider:3", "sha256:0d"
	again("with another version")
	c.services = slices.Delete(c.services, 0, 1)
	again("without its service")
	_, err = r.Rerun(t.Context(), "nothing")
	says(t, "nothing", err, api.CodeNotFound, `unknown run "nothing"`)
}

// TestEnds: what runs can be stopped and not removed, what has ended can be removed and not stopped.
func TestEnds(t *testing.T) {
	t.Parallel()
	r, c := open(t)
	for _, name := range []string{"live", "over"} {
		if _, err := r.Begin(t.Context(), api.RunRequest{Service: "spider", Name: name, Replicas: 1}); err != nil {
			t.Fatal(err)
		}
	}
	end(t, r, "over", runs.Done, nil)
	says(t, "stop", r.StopRun(t.Context(), "live"), "", "")
	stop, err := runs.ParseStop(c.stopped["of-live"])
	if err != nil || stop == nil || stop.TimedOut || len(c.stopped) != 1 {
		t.Errorf("stopped are %v", c.stopped)
	}
	says(t, "stop what is over", r.StopRun(t.Context(), "over"), api.CodeConflict, "has ended")
	says(t, "stop nothing", r.StopRun(t.Context(), "nothing"), api.CodeNotFound, "unknown run")
	says(t, "stop a service", r.StopRun(t.Context(), "spider"), api.CodeNotFound, "unknown run")
	says(t, "stop no name", r.StopRun(t.Context(), "a b\n"), api.CodeInvalid, "no ID of a run")
	says(t, "remove what runs", r.RemoveRun(t.Context(), "live"), api.CodeConflict, "`crawlbox run stop live`")
	says(t, "remove nothing", r.RemoveRun(t.Context(), "nothing"), api.CodeNotFound, "unknown run")
	says(t, "remove", r.RemoveRun(t.Context(), "over"), "", "")
	c.services = slices.DeleteFunc(c.services, func(svc fleet.Service) bool { return svc.Name == "over" })
	says(t, "remove again", r.RemoveRun(t.Context(), "over"), api.CodeNotFound, "unknown run")
	_, err = r.Run(t.Context(), "over")
	says(t, "look at what is gone", err, api.CodeNotFound, "`crawlbox runs` lists them")
}

// TestRuns: what has a record is listed once, with what the record says, and what has ended without one runs on.
func TestRuns(t *testing.T) {
	t.Parallel()
	r, c := open(t)
	if list, err := r.Runs(t.Context(), api.RunQuery{}); err != nil || list == nil || len(list) > 0 {
		t.Errorf("of none: %v, %v", list, err)
	}
	begin := func(service, name string) {
		t.Helper()
		if _, err := r.Begin(t.Context(), api.RunRequest{Service: service, Name: name, Replicas: 1}); err != nil {
			t.Fatal(err)
		}
	}
	begin("spider", "done")
	end(t, r, "done", runs.Done, nil)
	begin("spider", "bad")
	end(t, r, "bad", runs.Failed, nil)
	begin("robot", "other")
	middle := time.Now()
	begin("spider", "ending")
	c.tasks = []fleet.Task{{
		ServiceID: "of-ending", Slot: 1, NodeID: "n1", Node: "n1", Container: "c", State: fleet.TaskComplete,
		Desired: fleet.TaskShutdown, Created: now, Since: now,
	}}
	c.services = append(c.services, fleet.Service{ID: "x", Name: "damaged", Run: "{"})
	for _, q := range []struct {
		name  string
		query api.RunQuery
		want  string
	}{
		{"all", api.RunQuery{}, "ending:running other:waiting bad:failed done:done"},
		{"of a service", api.RunQuery{Of: "robot"}, "other:waiting"},
		{"failed", api.RunQuery{Failed: true}, "bad:failed"},
		{"since", api.RunQuery{Since: middle}, "ending:running"},
		{"the newest", api.RunQuery{Most: 2}, "ending:running other:waiting"},
		{"of none", api.RunQuery{Of: "nobody"}, ""},
	} {
		list, err := r.Runs(t.Context(), q.query)
		var got []string
		for _, is := range list {
			got = append(got, is.ID+":"+is.State)
			if is.Tasks != nil || is.Variables != nil {
				t.Errorf("%s: %s is listed with all", q.name, is.ID)
			}
		}
		if err != nil || strings.Join(got, " ") != q.want {
			t.Errorf("%s: got %s, %v; want %s", q.name, got, err, q.want)
		}
	}
	is, err := r.Run(t.Context(), "ending")
	if err != nil || is.State != runs.Running || !is.Ended.IsZero() || is.Usual == nil || *is.Usual.Items != 10 {
		t.Errorf("what is ending is %+v, %v", is, err)
	}
	if is, err = r.Run(t.Context(), "other"); err != nil || is.Usual != nil {
		t.Errorf("the first of its service is compared with %+v, %v", is.Usual, err)
	}
	if is, err = r.Run(t.Context(), "bad"); err != nil || is.State != runs.Failed || len(is.Tasks) != 1 {
		t.Errorf("what failed is %+v, %v", is, err)
	}
}

// TestExplained: what Swarm says gets the code that it has elsewhere.
func TestExplained(t *testing.T) {
	t.Parallel()
	r, c := open(t)
	c.broken = errors.New("no quorum")
	_, begin := r.Begin(t.Context(), api.RunRequest{Service: "spider", Replicas: 1})
	_, image := r.Begin(t.Context(), api.RunRequest{Image: "python:3", Replicas: 1})
	_, run := r.Run(t.Context(), "x")
	_, list := r.Runs(t.Context(), api.RunQuery{})
	for i, err := range []error{begin, image, run, list, r.StopRun(t.Context(), "x"), r.RemoveRun(t.Context(), "x")} {
		if !errors.Is(err, c.broken) || !strings.HasPrefix(err.Error(), "explained: ") {
			t.Errorf("%d: got %v", i, err)
		}
	}
}
