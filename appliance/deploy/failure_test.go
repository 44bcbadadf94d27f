package deploy

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/crawlbox/crawlbox/appliance/deploy/history"
	"github.com/crawlbox/crawlbox/appliance/fleet"
	"github.com/crawlbox/crawlbox/appliance/swarm/servicespec"
)

// TestRolledBack_TrueWords: a version that Swarm brought back runs only if it ran before.
func TestRolledBack_TrueWords(t *testing.T) {
	t.Parallel()
	failed := func(ago time.Duration) fleet.Task {
		t := task("f", 1, fleet.TaskFailed, fleet.TaskShutdown)
		t.Since = epoch.Add(-ago)
		return t
	}
	run := task("r", 1, fleet.TaskRunning, fleet.TaskRunning)
	complete := task("c", 1, fleet.TaskComplete, fleet.TaskShutdown)
	waits := task("w", 1, "ready", fleet.TaskRunning)
	loops := []fleet.Task{run, failed(time.Second), failed(2 * time.Second), failed(3 * time.Second)}
	for name, tc := range map[string]struct {
		replicas int
		before   []fleet.Task
		said     string
		result   history.Result
	}{
		"it ran":        {1, []fleet.Task{run, failed(time.Hour)}, "the old version runs again", history.RolledBack},
		"it ran to end": {1, []fleet.Task{complete}, "the old version runs again", history.RolledBack},
		"it began":      {1, []fleet.Task{waits}, "the old version runs again", history.RolledBack},
		"it failed":     {1, []fleet.Task{waits, failed(time.Minute)}, "so nothing runs", history.Failed},
		"it crashed":    {1, loops, "so nothing runs", history.Failed},
		"it stood":      {0, []fleet.Task{failed(time.Hour)}, "it is stopped again, as before", history.RolledBack},
	} {
		was, now := *replicated(tc.replicas), *replicated(tc.replicas)
		now.Update, now.UpdateStarted, now.Message = "rollback_completed", epoch, "rollback completed"
		err := rolledBack(was, &now, state{lastErr: "exit code 3", failures: 1},
			formerOf(was, tc.before, epoch))
		text := fmt.Sprint(err)
		if !strings.Contains(text, tc.said) || !strings.Contains(text, "exit code 3") {
			t.Errorf("%s: %v", name, err)
		}
		if got := resultOf(err); got != tc.result {
			t.Errorf("%s: the history has %s, want %s", name, got, tc.result)
		}
	}
}

// TestDeploy_BothFail: a version that fails after one that failed is taken back, and neither
// is said to run, though the old one is seen to run for a moment.
func TestDeploy_BothFail(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := &standstill{service: *replicated(1), task: task("a", 1, fleet.TaskFailed, fleet.TaskShutdown)}
		c.nodes, c.service.Image, c.service.Digest = up, "x:1", "sha256:old"
		c.changed = func() {
			c.service.Update = "updating"
			c.task = task("n", 1, fleet.TaskFailed, fleet.TaskShutdown)
			c.task.Digest, c.task.Error, c.task.Since = "sha256:new", "exit code 3", time.Now()
		}
		r := NewRunner(c, pullerFunc(func(context.Context, string) error { return nil }), nil,
			slog.New(slog.DiscardHandler))
		d := Deploy{
			Service: "spider",
			Change:  servicespec.Deployment{Image: "x:2@sha256:new"},
			Pull:    PullPolicy{Share{all: true}, time.Minute},
		}
		err := r.Deploy(&c.service, d).Run(t.Context(), func(Progress) {})
		var none *NoOlderError
		if !errors.As(err, &none) || !strings.Contains(err.Error(), "the version before it failed too") {
			t.Errorf("got %v", err)
		}
		if len(c.deployed) != 2 || c.deployed[1].Image != "x:1@sha256:old" {
			t.Errorf("%+v was deployed", c.deployed)
		}
	})
}
