package deploy

import (
	"testing"
	"time"

	"github.com/crawlbox/crawlbox/appliance/deploy/history"
	"github.com/crawlbox/crawlbox/appliance/fleet"
)

var epoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func task(id string, slot int, state, desired string) fleet.Task {
	return fleet.Task{
		ID:      id,
		Slot:    slot,
		NodeID:  "n1",
		State:   state,
		Desired: desired,
		Digest:  "sha256:new",
		Created: epoch,
	}
}

func replicated(n int) *fleet.Service {
	return &fleet.Service{Name: "spider", Mode: fleet.ModeReplicated, Desired: n}
}

var up = []fleet.Node{{ID: "n1", Display: "h1", State: fleet.StateReady}, {ID: "n2", Display: "h2", State: "down"}}

func TestAssess(t *testing.T) {
	t.Parallel()
	run, shut, remove := fleet.TaskRunning, fleet.TaskShutdown, fleet.TaskRemove
	older := func(t fleet.Task) fleet.Task { t.Created = epoch.Add(-time.Minute); return t }
	on := func(t fleet.Task, node string) fleet.Task { t.NodeID = node; return t }
	old := func(t fleet.Task) fleet.Task { t.Digest = "sha256:old"; return t }
	for name, tc := range map[string]struct {
		svc      *fleet.Service
		tasks    []fleet.Task
		goal     Goal
		running  int
		desired  int
		stopping int
		done     bool
	}{
		"all run": {replicated(
			2), []fleet.Task{task("a", 1, run, run), task("b", 2, run, run)}, Goal{Desired: 2}, 2, 2, 0, true},
		"one still starts": {replicated(
			2), []fleet.Task{task("a", 1, run, run), task("b", 2, "preparing", run)}, Goal{Desired: 2}, 1, 2, 0, false},
		"scaled down but Swarm has not begun": {replicated(
			1), []fleet.Task{task("a", 1, run, run), task("b", 2, run, run)}, Goal{Desired: 1}, 2, 1, 0, false},
		"scaled down and one still stops": {replicated(
			1), []fleet.Task{task("a", 1, run, run), task("b", 2, run, remove)}, Goal{Desired: 1}, 1, 1, 1, false},
		"stopped": {replicated(0), []fleet.Task{task("a", 1, shut, shut)}, Goal{Desired: 0}, 0, 0, 0, true},
		"what stops on a node that is down is left to Swarm": {replicated(
			0), []fleet.Task{on(task("a", 1, run, shut), "n2")}, Goal{Desired: 0}, 0, 0, 0, true},
		"ended well counts": {replicated(
			1), []fleet.Task{task("a", 1, fleet.TaskComplete, shut)}, Goal{Desired: 1}, 1, 1, 0, true},
		"ended well before the change counts too": {replicated(1), []fleet.Task{task("a", 1, fleet.TaskComplete, shut)},
			Goal{Desired: 1, Before: map[string]bool{"a": true}}, 1, 1, 0, true},
		"ended well but is started again": {&fleet.Service{Mode: fleet.ModeReplicated, Desired: 1, Restarts: true},
			[]fleet.Task{task("a", 1, fleet.TaskComplete, shut)}, Goal{Desired: 1}, 0, 1, 0, false},
		"old version runs": {replicated(
			1), []fleet.Task{old(task("a", 1, run, run))}, Goal{Desired: -1, Digest: "sha256:new"}, 0, 1, 0, false},
		"old one stops while the new one waits": {replicated(1),
			[]fleet.Task{task("a", 1, "ready", "ready"), older(old(task("b", 1, run, shut)))},
			Goal{Desired: -1, Digest: "sha256:new"}, 0, 1, 1, false},
		"new version in place of the old": {replicated(1),
			[]fleet.Task{task("a", 1, run, run), older(old(task("b", 1, shut, shut)))},
			Goal{Desired: -1, Digest: "sha256:new"}, 1, 1, 0, true},
		"Swarm still watches the update": {&fleet.Service{Mode: fleet.ModeReplicated, Desired: 1, Update: "updating"},
			[]fleet.Task{task("a", 1, run, run)}, Goal{Desired: -1}, 1, 1, 0, false},
		"removed, containers remain": {nil, []fleet.Task{task("a", 1, run, run)}, Goal{Desired: 0}, 0, 0, 1, false},
		"removed":                    {nil, nil, Goal{Desired: 0}, 0, 0, 0, true},
		"global wants one on each node": {&fleet.Service{Mode: fleet.ModeGlobal},
			[]fleet.Task{on(task("a", 0, run, run), "n1"), on(task("b", 0, "starting", run), "n2")}, Goal{Desired: -1},
			1, 2, 0, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := assess(tc.svc, up, tc.tasks, tc.goal)
			if p.Running != tc.running || p.Desired != tc.desired || p.Stopping != tc.stopping || p.done != tc.done {
				t.Errorf("got %+v, want running %d, desired %d, stopping %d, done %v", p, tc.running, tc.desired,
					tc.stopping, tc.done)
			}
		})
	}
}

func TestAssess_TellsWhatIsComplete(t *testing.T) {
	t.Parallel()
	run, shut := fleet.TaskRunning, fleet.TaskShutdown
	p := assess(replicated(3), up,
		[]fleet.Task{task("a", 1, run,
			run), task("b", 2, fleet.TaskComplete, shut), task("c", 3, fleet.TaskFailed, shut)}, Goal{Desired: -1})
	if p.Running != 2 || p.Complete != 1 {
		t.Errorf("got %d that run or ended well and %d complete, want 2 and 1", p.Running, p.Complete)
	}
}

// TestProgress_Old tells what is new from what runs as before, with another image and with
// the same one.
func TestProgress_Old(t *testing.T) {
	t.Parallel()
	run, shut := fleet.TaskRunning, fleet.TaskShutdown
	another := func(t fleet.Task) fleet.Task { t.Digest = "sha256:old"; return t }
	was := map[string]bool{"a": true, "b": true, "c": true}
	for name, tc := range map[string]struct {
		tasks                   []fleet.Task
		old                     map[string]bool
		running, complete, olds int
	}{
		"none is new": {
			[]fleet.Task{another(task("a", 1, run, run)), another(task("b", 2, run, run))}, was, 0, 0, 2,
		},
		"one is": {[]fleet.Task{task("x", 1, run, run), another(task("b", 2, run, run))}, was, 1, 0, 1},
		"one ends": {
			[]fleet.Task{task("x", 1, "ready", "ready"), another(task("a", 1, run, shut)),
				another(task("b", 2, run, run))},
			was, 0, 0, 1,
		},
		"a restart, none is new": {[]fleet.Task{task("a", 1, run, run), task("b", 2, run, run)}, was, 0, 0, 2},
		"a restart, one is":      {[]fleet.Task{task("x", 1, run, run), task("b", 2, run, run)}, was, 1, 0, 1},
		"what has finished runs again": {
			[]fleet.Task{task("a", 1, fleet.TaskComplete, run), task("x", 2, fleet.TaskComplete, run)}, was, 1, 1, 0,
		},
		"not replaced": {[]fleet.Task{task("a", 1, run, run)}, nil, 1, 0, 0},
	} {
		p := assess(replicated(2), up, tc.tasks, Goal{Desired: -1, Digest: "sha256:new", Old: tc.old})
		got := p.progress(history.StageWatch)
		if got.Running != tc.running || got.Complete != tc.complete || got.Old != tc.olds {
			t.Errorf("%s: got %+v", name, got)
		}
	}
}

// TestProgress_Note wants what fails to be told, but not of a service that ends.
func TestProgress_Note(t *testing.T) {
	t.Parallel()
	failed := state{lastErr: "exit code 1", lastNode: "h2", lost: 2, lostOn: []string{"h3"}}
	for stage, want := range map[history.Stage]string{
		history.StageWatch:  "exit code 1 on h2",
		history.StageRemove: "Swarm does not hear from h3; it ends 2 tasks there when it does",
		history.StageStop:   "Swarm does not hear from h3; it ends 2 tasks there when it does",
	} {
		if got := failed.progress(stage).Note; got != want {
			t.Errorf("%s: got %q", stage, got)
		}
	}
	if got := (state{lastErr: "exit code 1"}).progress(history.StageStop).Note; got != "" {
		t.Errorf("of one that ends: %q", got)
	}
}

func TestAssess_NamesTheLastFailure(t *testing.T) {
	t.Parallel()
	first, last := task("a", 1, fleet.TaskFailed,
		fleet.TaskShutdown), task("b", 1, fleet.TaskRejected, fleet.TaskShutdown)
	first.Error, first.Since = "exit code 1", epoch
	last.Error, last.Since, last.NodeID = "No such image", epoch.Add(time.Second), "n2"
	p := assess(replicated(1), up, []fleet.Task{first, last}, Goal{Desired: 1})
	if p.failures != 2 || p.lastErr != "No such image" || p.lastNode != "h2" {
		t.Errorf("got %+v", p)
	}
	// What is replaced may fail meanwhile, which the new version has nothing to do with.
	p = assess(replicated(1), up, []fleet.Task{first, last}, Goal{Desired: 1, Old: map[string]bool{"b": true}})
	if p.failures != 1 || p.lastErr != "exit code 1" || p.lastTask != "a" {
		t.Errorf("with one of the version before: %+v", p)
	}
}

func TestSummarize(t *testing.T) {
	t.Parallel()
	started := func(id, node string, took time.Duration) fleet.Task {
		return fleet.Task{ID: id, NodeID: node, State: fleet.TaskRunning, Created: epoch, Since: epoch.Add(took)}
	}
	before := []fleet.Task{
		{ID: "kept", State: fleet.TaskRunning},
		{ID: "went", State: fleet.TaskRunning},
		{ID: "old", State: fleet.TaskFailed},
	}
	after := []fleet.Task{before[0], started("a", "n1",
		time.Second), started("b", "n2", 3*time.Second), started("c", "n1", -time.Second)}
	s := summarize(before, after, func(id string) string { return id })
	want := Summary{
		Started:     3,
		P50:         time.Second,
		P95:         3 * time.Second,
		Slowest:     "n2",
		SlowestTook: 3 * time.Second,
		Stopped:     1,
	}
	if s != want {
		t.Errorf("got %+v, want %+v", s, want)
	}
}

func TestPercentile(t *testing.T) {
	t.Parallel()
	var d []time.Duration
	if percentile(d, 50) != 0 {
		t.Error("of nothing is not 0")
	}
	for i := 1; i <= 100; i++ {
		d = append(d, time.Duration(i))
	}
	if percentile(d, 50) != 50 || percentile(d, 95) != 95 || percentile(d[:1], 95) != 1 {
		t.Errorf("p50 %d, p95 %d, of one %d", percentile(d, 50), percentile(d, 95), percentile(d[:1], 95))
	}
}

func TestPending_SurvivesItsLabel(t *testing.T) {
	t.Parallel()
	p := pending{50, "localhost:8003/spider:0.02@sha256:abc"}
	if got, ok := parsePending(p.String()); !ok || got != p {
		t.Errorf("got %+v, %v", got, ok)
	}
	for _, bad := range []string{"", "50", "x image", "-1 image", "5 "} {
		if _, ok := parsePending(bad); ok {
			t.Errorf("%q was taken", bad)
		}
	}
}

func TestParallelism(t *testing.T) {
	t.Parallel()
	for replicas, want := range map[int]uint64{0: 1, 1: 1, 3: 1, 4: 1, 5: 2, 20: 5, 50: 13} {
		if got := Parallelism(replicas); got != want {
			t.Errorf("%d replicas: got %d, want %d", replicas, got, want)
		}
	}
}
