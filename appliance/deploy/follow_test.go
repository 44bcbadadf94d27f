package deploy

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/crawlbox/crawlbox/appliance/fleet"
	"github.com/crawlbox/crawlbox/appliance/swarm"
	"github.com/crawlbox/crawlbox/appliance/swarm/servicespec"
)

func TestStuck(t *testing.T) {
	t.Parallel()
	run, shut := fleet.TaskRunning, fleet.TaskShutdown
	at := func(id, node, state, desired string) fleet.Task {
		t := task(id, 1, state, desired)
		t.NodeID = node
		return t
	}
	old := at("old version", "n2", "assigned", shut)
	old.Digest = "sha256:old"
	tasks := []fleet.Task{
		at("stuck", "n2", "assigned", shut), at("stuck too", "n2", "starting", fleet.TaskRemove), old,
		at("not replaced yet", "n2", "assigned", run), at("held back", "n2", "ready", "ready"),
		at("ran", "n2", run, shut),
		at("ended", "n2", fleet.TaskFailed, shut), at("before", "n2", "assigned", shut),
		at("node is there", "n1", "assigned", shut),
	}
	got := stuck(up, tasks, Goal{Digest: "sha256:new", Before: map[string]bool{"before": true}})
	if want := []string{"stuck", "stuck too"}; !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

// halted is a cluster whose update waits for a task on a lost node.
type halted struct {
	standstill
	nudged int
}

func (c *halted) Tasks(context.Context, string) ([]fleet.Task, error) {
	on := task("on the lost node", 1, "assigned", fleet.TaskShutdown)
	on.NodeID, on.Digest = "n2", "sha256:new"
	return []fleet.Task{c.task, on}, nil
}

func (c *halted) RestartUpdate(context.Context, string) error {
	c.nudged++
	c.service.Update = ""
	return nil
}

func TestDeploy_NodeLostInTheWatch(t *testing.T) {
	t.Parallel()
	for update, wantsBack := range map[string]bool{"updating": false, "rollback_started": true} {
		t.Run(update, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				c := &halted{standstill: standstill{
					service: *replicated(1),
					task:    task("a", 1, fleet.TaskRunning, fleet.TaskRunning),
				}}
				c.nodes, c.service.Image, c.service.Digest = up, "x:1", "sha256:old"
				r := NewRunner(c, pullerFunc(func(context.Context, string) error { return nil }), nil,
					slog.New(slog.DiscardHandler))
				d := Deploy{
					Service: "spider",
					Change:  servicespec.Deployment{Image: "x:2@sha256:new"},
					Pull:    PullPolicy{Share{all: true}, stallQuiet},
				}
				c.changed = func() { c.service.Update = update }
				err := r.Deploy(&c.service, d).Run(t.Context(), func(Progress) {})
				var back *RolledBackError
				if errors.As(err, &back) != wantsBack || !wantsBack && (err != nil || c.nudged != 1) {
					t.Errorf("got %v, nudged %d times", err, c.nudged)
				}
			})
		})
	}
}

// contested is a cluster in which somebody else changes the service once this change is made.
type contested struct {
	standstill
	removed bool
	other   func(*contested)
}

func (c *contested) Service(context.Context, string) (fleet.Service, error) {
	if c.removed {
		return fleet.Service{}, swarm.ErrNotFound
	}
	return c.service, nil
}

func (c *contested) Tasks(context.Context, string) ([]fleet.Task, error) {
	if c.removed {
		return nil, nil
	}
	return []fleet.Task{c.task}, nil
}

func (c *contested) Scale(_ context.Context, _ string, n int) error {
	c.service.Desired = n
	c.other(c)
	return nil
}

func (c *contested) Remove(context.Context, string) error {
	c.other(c)
	return nil
}

// TestFollow_Overtaken wants a change that somebody else undoes to end at once, and not well.
func TestFollow_Overtaken(t *testing.T) {
	t.Parallel()
	removes := func(c *contested) { c.removed = true }
	for name, tc := range map[string]struct {
		change func(*Runner, fleet.Service) Change
		other  func(*contested)
		want   string
	}{
		"scaled": {
			func(r *Runner, svc fleet.Service) Change { return r.Scale(svc, 5) },
			func(c *contested) { c.service.Desired = 3 }, "was scaled to 3 in the meantime",
		},
		"scaled and removed": {
			func(r *Runner, svc fleet.Service) Change { return r.Scale(svc, 5) }, removes,
			"was removed in the meantime",
		},
		"deployed and removed": {
			func(r *Runner, svc fleet.Service) Change {
				return r.Deploy(&svc, Deploy{
					Service: "spider",
					Change:  servicespec.Deployment{Image: "x:2@sha256:new"},
					Pull:    PullPolicy{Share{all: true}, stallQuiet},
				})
			}, removes, "was removed in the meantime",
		},
		"removed twice": {func(r *Runner, svc fleet.Service) Change { return r.Remove(svc) }, removes, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				c := &contested{other: tc.other}
				c.service, c.task = *replicated(1), task("a", 1, fleet.TaskRunning, fleet.TaskRunning)
				c.nodes, c.changed = up, func() { tc.other(c) }
				r := NewRunner(c, pullerFunc(func(context.Context, string) error { return nil }), nil,
					slog.New(slog.DiscardHandler))
				begun := time.Now()
				err := tc.change(r, c.service).Run(t.Context(), func(Progress) {})
				var conflict ConflictError
				if errors.As(err, &conflict) != (tc.want != "") || (err == nil) != (tc.want == "") ||
					!strings.Contains(fmt.Sprint(err), tc.want) {
					t.Errorf("got %v, want %q", err, tc.want)
				}
				if took := time.Since(begun); took > 10*time.Second {
					t.Errorf("it took %s", took)
				}
			})
		})
	}
}
