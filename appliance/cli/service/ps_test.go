package service

import (
	"testing"
	"time"

	"github.com/crawlbox/crawlbox/appliance/cli/clitest"
	"github.com/crawlbox/crawlbox/appliance/cli/tui"
	"github.com/crawlbox/crawlbox/appliance/fleet"
)

func TestTaskState(t *testing.T) {
	t.Parallel()
	s := tui.Screen{Now: func() time.Time { return clitest.Now }}
	for want, starts := range map[string]time.Duration{
		"restarts in 27s": 27 * time.Second,
		"restarts now":    -time.Second,
	} {
		task := fleet.Task{State: fleet.TaskReady, Desired: fleet.TaskReady, Starts: clitest.Now.Add(starts)}
		if got := taskState(s, task).Text; got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
	for _, tt := range []struct{ state, desired, want string }{
		{fleet.TaskRunning, fleet.TaskRunning, "running 5m"},
		{fleet.TaskRunning, fleet.TaskShutdown, "stopping 5m"},
		{"preparing", fleet.TaskRunning, "preparing 5m"},
		{fleet.TaskShutdown, fleet.TaskShutdown, "shutdown 5m ago"},
		{fleet.TaskFailed, fleet.TaskShutdown, "failed 5m ago"},
	} {
		task := fleet.Task{State: tt.state, Desired: tt.desired, Since: clitest.Now.Add(-5 * time.Minute)}
		if got := taskState(s, task).Text; got != tt.want {
			t.Errorf("got %s, want %s", got, tt.want)
		}
	}
}
