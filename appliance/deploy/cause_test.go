package deploy

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/crawlbox/crawlbox/appliance/fleet"
	"github.com/crawlbox/crawlbox/appliance/swarm"
	"github.com/crawlbox/crawlbox/appliance/swarm/servicespec"
)

// engines holds agents that know containers by their ID.
type engines struct {
	pullerFunc
	containers map[string]swarm.Container
	asked      *atomic.Int32
}

func (e engines) Container(_ context.Context, _ fleet.Node, id string) (swarm.Container, error) {
	e.asked.Add(1)
	c, known := e.containers[id]
	if !known {
		return c, swarm.ErrNotFound
	}
	return c, nil
}

func TestCauseOf(t *testing.T) {
	t.Parallel()
	failed := fleet.Task{Error: "exit code 1"}
	for want, c := range map[string]swarm.Container{
		"exit code 1":                  {ExitCode: 1, Health: "healthy"},
		"out of memory (limit 16 MiB)": {ExitCode: 137, OutOfMemory: true, Memory: 16 << 20},
		"out of memory":                {ExitCode: 137, OutOfMemory: true},
		"exit code 1; it was out of memory (limit 1.5 GiB)": {
			ExitCode:    1,
			OutOfMemory: true,
			Memory:      3 << 29,
		},
		"killed (exit code 137), perhaps for its memory (limit 16 MiB)": {
			ExitCode: 137,
			Memory:   16 << 20,
			Health:   swarm.Ended,
		},
		"never became healthy: its health check failed, last with exit code 137; it was out of memory (limit 16 MiB)": {
			ExitCode:    143,
			OutOfMemory: true,
			Memory:      16 << 20,
			Health:      swarm.Unhealthy,
			CheckCode:   137,
		},
		"never became healthy: its health check failed": {
			ExitCode: 143,
			Health:   swarm.Unhealthy,
		},
		`never became healthy: its health check failed, last with "no queue"`: {
			Health: swarm.Unhealthy,
			Said:   "no queue",
		},
		`exit code 1; it never became healthy: its health check failed, last with "no queue"`: {
			ExitCode: 1,
			Health:   swarm.Unhealthy,
			Said:     "no queue",
		},
	} {
		if got := causeOf(failed, c, false); got != want {
			t.Errorf("%+v: got %q, want %q", c, got, want)
		}
	}
	if got := causeOf(failed, swarm.Container{Health: swarm.Unhealthy},
		true); !strings.HasPrefix(got, "became unhealthy") {
		t.Errorf("one that ran %s", got)
	}
}

func TestCauses(t *testing.T) {
	t.Parallel()
	in := func(id, state string) fleet.Task {
		t := task(id, 1, state, fleet.TaskRunning)
		t.Container = id
		return t
	}
	agents := engines{
		asked: new(atomic.Int32),
		containers: map[string]swarm.Container{
			"sick": {Health: swarm.Unhealthy, Said: "no queue"},
			"well": {Health: swarm.Ended},
			"slow": {Running: true, Health: "starting", Said: "not yet"},
			"fat":  {ExitCode: 137, OutOfMemory: true},
		},
	}
	synctest.Test(t, func(t *testing.T) {
		q := newCauses(agents, time.Minute)
		look := func(tasks ...fleet.Task) []fleet.Task {
			return q.look(t.Context(), up, tasks, Goal{Before: map[string]bool{"old": true}})
		}
		want := func(t *testing.T, got fleet.Task, state, cause string) {
			t.Helper()
			if got.State != state || !strings.Contains(got.Error, cause) {
				t.Errorf("%s is %s: %s; want %s: %s", got.ID, got.State, got.Error, state, cause)
			}
		}
		for range 2 { // the second time nobody is asked
			got := look(in("sick", fleet.TaskComplete), in("well", fleet.TaskComplete), in("slow", fleet.TaskStarting),
				in("fat", fleet.TaskFailed), in("old", fleet.TaskComplete))
			want(t, got[0], fleet.TaskFailed, `never became healthy: its health check failed, last with "no queue"`)
			want(t, got[1], fleet.TaskComplete, "")
			want(t, got[2], fleet.TaskStarting, "")
			want(t, got[3], fleet.TaskFailed, "out of memory")
			want(t, got[4], fleet.TaskComplete, "")
		}
		if n := agents.asked.Load(); n != 3 || q.late != 0 {
			t.Errorf("%d were asked, %d are late", n, q.late)
		}
		time.Sleep(time.Minute)
		want(t, look(in("slow", fleet.TaskStarting))[0], fleet.TaskFailed,
			`never became healthy: it has been starting for 1m0s, and its health check failed, last with "not yet"`)
		if q.late != 1 {
			t.Errorf("%d are late", q.late)
		}
	})
}

// standstill is a cluster whose service never comes to what is wanted of it, until its
// old version is deployed again.
type standstill struct {
	nodesOnly
	task     fleet.Task
	service  fleet.Service
	deployed []servicespec.Deployment
	changed  func() // is called when it takes the new version
	away     int    // so many calls fail from now on
}

func (c *standstill) Service(context.Context, string) (fleet.Service, error) {
	if c.away > 0 {
		c.away--
		return c.service, swarm.ErrUnreachable
	}
	return c.service, nil
}
func (c *standstill) Tasks(context.Context, string) ([]fleet.Task, error) {
	return []fleet.Task{c.task}, nil
}
func (c *standstill) Deploy(_ context.Context, _ string, d servicespec.Deployment) (bool, error) {
	if c.deployed = append(c.deployed, d); len(c.deployed) == 1 && c.changed != nil {
		c.changed()
	}
	if len(c.deployed) == 2 {
		c.task = task("b", 1, fleet.TaskRunning, fleet.TaskRunning)
		c.task.Digest, c.service.Update = "sha256:old", "completed"
		c.service.UpdateStarted = time.Now()
	}
	return true, nil
}
func (*standstill) Spec(context.Context, string) (json.RawMessage, error) {
	return json.RawMessage("{}"), nil
}
func (*standstill) Platforms(context.Context, string) []fleet.Platform { return nil }

func TestDeploy_GoesBackWhereSwarmWaits(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		state, said string
		start       time.Duration
		within      time.Duration
		cause       string
	}{
		"never healthy": {
			fleet.TaskStarting, "", time.Minute, 62 * time.Second,
			"never became healthy: it has been starting for 1m0s",
		},
		"never healthy, unasked": {
			fleet.TaskStarting, "", 0, defaultStartTimeout + 2*time.Second,
			"never became healthy: it has been starting for 10m0s",
		},
		"no node for it": {
			"pending", "no suitable node", 0, stallFailing + 2*time.Second,
			"0 of 1 running and no more for 45s: no suitable node",
		},
		"nothing moves, no cause": {
			"preparing", "", time.Minute, stallQuiet + 2*time.Second,
			"0 of 1 running and no more for 5m0s: nothing moves",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				c := &standstill{service: *replicated(1)}
				c.nodes = up
				c.service.Digest = "sha256:old"
				c.service.Image = "x:1"
				c.task = task("a", 1, tc.state, fleet.TaskRunning)
				c.task.Error, c.task.Since = tc.said, epoch
				r := NewRunner(c, pullerFunc(func(context.Context, string) error { return nil }), nil,
					slog.New(slog.DiscardHandler))
				d := Deploy{
					Service:      "spider",
					Change:       servicespec.Deployment{Image: "x:2@sha256:new"},
					Pull:         PullPolicy{Share{all: true}, time.Minute},
					StartTimeout: tc.start,
				}
				c.changed = func() { // and its engine is restarted
					c.task.ID, c.service.Update, c.away = "n", "updating", 30
				}
				begun := time.Now()
				err := r.Deploy(&c.service, d).Run(t.Context(), func(Progress) {})
				var back *RolledBackError
				if !errors.As(err, &back) || !strings.Contains(err.Error(), tc.cause) {
					t.Errorf("got %v", err)
				}
				if took := time.Since(begun); took > tc.within+40*time.Second {
					t.Errorf("it took %s", took)
				}
				if len(c.deployed) != 2 || c.deployed[1].Image != "x:1@sha256:old" || !c.deployed[1].Watched {
					t.Errorf("%+v was deployed", c.deployed)
				}
			})
		})
	}
}

// TestWhy_Complete: an engine that began ended what Swarm takes for complete, where Swarm heard of that after.
func TestWhy_Complete(t *testing.T) {
	t.Parallel()
	began := time.Date(2026, 1, 1, 3, 0, 0, 0, time.UTC)
	r := &Runner{agents: engines{asked: new(atomic.Int32), containers: map[string]swarm.Container{
		"ended":    {},
		"outlived": {Outlived: began},
	}}}
	for _, c := range []struct {
		container string
		heard     time.Time
		ended     bool
	}{
		{"ended", began.Add(time.Second), false},
		{"outlived", began.Add(time.Second), true},
		{"outlived", began.Add(-time.Second), false},
		{"gone", began.Add(time.Second), false},
	} {
		why := r.Why(t.Context(), []fleet.Node{{ID: "n"}},
			fleet.Task{NodeID: "n", Container: c.container, State: fleet.TaskComplete, Since: c.heard})
		if (why != "") != c.ended {
			t.Errorf("%s, heard of at %s: %q", c.container, c.heard, why)
		}
	}
}
