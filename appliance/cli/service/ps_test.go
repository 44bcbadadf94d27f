package service

import (
	"bytes"
	"slices"
	"strings"
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

// TestRenderTasks_SharedReason wants what several tasks of a service fail by to be told once.
func TestRenderTasks_SharedReason(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	task := func(service string, slot int, why string) fleet.Task {
		return fleet.Task{Service: service, Slot: slot, Node: "h1", State: fleet.TaskPending, Error: why}
	}
	renderTasks(tui.Screen{W: &out, Now: func() time.Time { return clitest.Now }}, []fleet.Task{
		task("a", 1, "no node"), task("a", 2, "no node"), task("a", 3, "alone"),
		task("b", 1, "no node"), task("b", 2, ""),
	})
	var notes []string
	for line := range strings.Lines(out.String()) {
		if strings.HasPrefix(line, "  !") {
			notes = append(notes, strings.TrimSpace(line))
		}
	}
	if want := []string{"! 2 tasks of a: no node", "! alone", "! no node"}; !slices.Equal(notes, want) {
		t.Errorf("got %q, want %q", notes, want)
	}
}
