package deploy

import (
	"context"
	"errors"
	"log/slog"
	"reflect"
	"testing"
	"testing/synctest"

	"github.com/crawlbox/crawlbox/appliance/fleet"
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
