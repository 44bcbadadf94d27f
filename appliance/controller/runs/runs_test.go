package runs

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/crawlbox/crawlbox/appliance/fleet"
	"github.com/crawlbox/crawlbox/appliance/runs"
	"github.com/crawlbox/crawlbox/appliance/swarm"
)

var now = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func task(state, desired string, ago time.Duration) fleet.Task {
	return fleet.Task{
		ID: "t", ServiceID: "s", Slot: 1, NodeID: "h1", Node: "h1", Container: "c",
		State: state, Desired: desired, Created: now.Add(-time.Hour), Since: now.Add(-ago),
	}
}

func TestDecide(t *testing.T) {
	t.Parallel()
	spec := runs.Spec{ID: "r", Replicas: 1, At: now.Add(-time.Hour), Timeout: 2 * time.Hour}
	late := spec
	late.Timeout = time.Minute
	runsOn := task(fleet.TaskRunning, fleet.TaskRunning, time.Minute)
	over := task(fleet.TaskComplete, fleet.TaskShutdown, time.Second)
	for _, c := range []struct {
		name string
		spec runs.Spec
		stop *runs.Stop
		task fleet.Task
		has  bool
		want step
	}{
		{"runs", spec, nil, runsOn, false, wait},
		{"late", late, nil, runsOn, false, stop},
		{"late, and being stopped", late, &runs.Stop{TimedOut: true}, runsOn, false, wait},
		{"ended", spec, nil, over, false, write},
		{"being stopped by hand", spec, &runs.Stop{By: "ann"}, runsOn, false, wait},
		{"ended late", late, nil, over, false, write},
		{"written a moment ago", spec, nil, over, true, wait},
		{"written", spec, nil, task(fleet.TaskComplete, fleet.TaskShutdown, time.Minute), true, remove},
	} {
		if got := decide(c.spec, c.stop, []fleet.Task{c.task}, c.has, now); got != c.want {
			t.Errorf("%s: got %d, want %d", c.name, got, c.want)
		}
	}
}

// oneRun is a cluster with one run.
type oneRun struct {
	snap    fleet.Snapshot
	said    string // by its task
	stopped string
	again   int // times that it was begun again
	removed bool
	records []runs.Record
	refused error // of the next record
}

func (c *oneRun) HasRuns(context.Context) (bool, error)            { return !c.removed, nil }
func (c *oneRun) StopRun(_ context.Context, _, label string) error { c.stopped = label; return nil }
func (c *oneRun) RestartRun(_ context.Context, _ string, times int) error {
	c.again = times
	return nil
}

func (c *oneRun) Remove(context.Context, string) error { c.removed = true; return nil }
func (c *oneRun) Snapshot(context.Context) (fleet.Snapshot, error) {
	snap := c.snap
	if c.removed {
		snap.Services = nil
	}
	return snap, nil
}

func (c *oneRun) Variables(_ context.Context, _ string, names []string) (map[string]string, error) {
	return map[string]string{strings.Join(names, ","): "1"}, nil
}

func (c *oneRun) OpenLog(context.Context, string, swarm.LogOptions) (io.ReadCloser, error) {
	var b bytes.Buffer
	for line := range strings.Lines(c.said) {
		text := now.Format("2006-01-02T15:04:05.000000000Z07:00") + " " + line
		_ = binary.Write(&b, binary.BigEndian, [2]uint32{1 << 24, uint32(len(text))})
		b.WriteString(text)
	}
	return io.NopCloser(&b), nil
}

func (c *oneRun) Has(string) (bool, error) { return len(c.records) > 0, nil }
func (c *oneRun) Add(r runs.Record) error {
	if err := c.refused; err != nil {
		c.refused = nil
		return err
	}
	c.records = append(c.records, r)
	return nil
}

// TestKeeper follows a run from its timeout to the removal of its service, with a state that can't be written at first.
func TestKeeper(t *testing.T) {
	t.Parallel()
	spec := runs.Spec{ID: "r", Replicas: 1, At: now.Add(-time.Hour), Timeout: time.Minute, Env: []string{"A"}}
	label, err := spec.Label()
	if err != nil {
		t.Fatal(err)
	}
	c := &oneRun{said: "crawlbox: items=3\n", refused: errors.New("no quorum")}
	c.snap = fleet.Snapshot{
		Taken:    now,
		Nodes:    []fleet.Node{{ID: "h1", State: fleet.StateReady}, {ID: "h2", State: fleet.StateReady}},
		Services: []fleet.Service{{ID: "s", Name: "r", Run: label}, {ID: "x", Name: "spider"}},
		Tasks:    []fleet.Task{task(fleet.TaskRunning, fleet.TaskRunning, time.Minute)},
	}
	why := func(context.Context, []fleet.Node, fleet.Task) string { return "out of memory" }
	peaks := func(_ context.Context, n fleet.Node, tasks []string) (map[string]fleet.Peak, error) {
		if n.ID != "h1" || len(tasks) != 1 {
			t.Errorf("%s is asked about %v", n.ID, tasks)
		}
		return map[string]fleet.Peak{"t": {Memory: new(int64(7)), CPU: new(0.5)}, "x": {Memory: new(int64(9))}}, nil
	}
	k := &keeper{engine: c, store: c, why: why, peaks: peaks, log: slog.New(slog.DiscardHandler)}
	round := func() {
		t.Helper()
		if err := k.round(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if round(); !strings.Contains(c.stopped, `"timed_out":true`) {
		t.Fatalf("it was stopped with %q", c.stopped)
	}
	c.snap.Services[0].RunStop = c.stopped
	c.snap.Tasks[0] = task(fleet.TaskFailed, fleet.TaskShutdown, time.Second)
	if round(); len(c.records) > 0 || c.removed {
		t.Fatal("it is over without a record")
	}
	round()
	if len(c.records) != 1 || c.removed {
		t.Fatalf("records are %+v", c.records)
	}
	r := c.records[0]
	if r.State != runs.TimedOut || *r.Items != 3 || r.Tasks[0].Cause != "out of memory" || r.Variables["A"] != "1" {
		t.Errorf("the record is %+v", r)
	}
	if is := r.Tasks[0]; is.Memory == nil || *is.Memory != 7 || is.CPU == nil || *is.CPU != 0.5 {
		t.Errorf("of what its task took is known %+v", is.Peak)
	}
	if r.Log == nil || r.Log.First[0] != "crawlbox: items=3" || r.Log.Slot != 1 || r.Log.Node != "h1" {
		t.Errorf("of its log are %+v", r.Log)
	}
	if round(); c.removed {
		t.Error("its service went at once")
	}
	c.snap.Taken = now.Add(linger)
	if round(); !c.removed || len(c.records) != 1 {
		t.Errorf("removed %v, records %+v", c.removed, c.records)
	}
}

// TestKeeper_Lost: of tasks on nodes that are lost, do not answer or never had a container nothing is made up.
func TestKeeper_Lost(t *testing.T) {
	t.Parallel()
	asked := map[string]int{}
	var mu sync.Mutex
	peaks := func(_ context.Context, n fleet.Node, _ []string) (map[string]fleet.Peak, error) {
		mu.Lock()
		defer mu.Unlock()
		if asked[n.ID]++; n.ID == "h2" {
			return nil, errors.New("no answer within 3s")
		}
		return map[string]fleet.Peak{"1": {Memory: new(int64(1))}, "3": {Memory: new(int64(3))}}, nil
	}
	nodes := []fleet.Node{
		{ID: "h1", State: fleet.StateReady}, {ID: "h2", State: fleet.StateReady}, {ID: "h3", State: fleet.StateDown},
		{ID: "h4", State: fleet.StateReady},
	}
	all := []fleet.Task{
		{ID: "1", NodeID: "h1", Container: "c"}, {ID: "2", NodeID: "h2", Container: "c"},
		{ID: "3", NodeID: "h3", Container: "c"}, {ID: "4", NodeID: "h1", Container: "c", Lost: "its node is down"},
		{ID: "5", NodeID: "h4"}, {ID: "6", NodeID: "h4", Container: "c"}, // which the record has no room for
	}
	var list []runs.Task
	for _, t := range all[:5] {
		list = append(list, runs.Task{ID: t.ID})
	}
	k := &keeper{peaks: peaks, log: slog.New(slog.DiscardHandler)}
	k.measured(t.Context(), nodes, all, list)
	if len(asked) != 2 || asked["h1"] != 1 || asked["h2"] != 1 {
		t.Errorf("asked were %v", asked)
	}
	for i, is := range list {
		if known := is.Memory != nil; known != (i == 0) || is.CPU != nil {
			t.Errorf("of %s is known %+v", is.ID, is.Peak)
		}
	}
}

// TestKeeper_Attempts: a new leader of Swarm lets a task begin again more often than it may. The run is ended as soon
// as that is seen, also when the first attempts are forgotten, and has failed by what failed.
func TestKeeper_Attempts(t *testing.T) {
	t.Parallel()
	label, err := runs.Spec{ID: "r", Replicas: 1, Retries: runs.MaxRetries}.Label()
	if err != nil {
		t.Fatal(err)
	}
	c := &oneRun{said: "crawlbox: errors=1\n"}
	c.snap = fleet.Snapshot{Taken: now, Services: []fleet.Service{{ID: "s", Name: "r", Run: label}}}
	why := func(_ context.Context, _ []fleet.Node, t fleet.Task) string { return t.Error }
	k := &keeper{engine: c, store: c, why: why, log: slog.New(slog.DiscardHandler)}
	const kept = 5 // of a slot, by Swarm
	for n := range runs.MaxRetries + 2 {
		if len(c.snap.Tasks) > 0 {
			last := &c.snap.Tasks[len(c.snap.Tasks)-1]
			last.State, last.Desired, last.ExitCode, last.Error = fleet.TaskFailed, fleet.TaskShutdown, n, "bad luck"
		}
		is := task(fleet.TaskRunning, fleet.TaskRunning, 0)
		is.ID, is.Created = string(rune('a'+n)), now.Add(time.Duration(n)*time.Second)
		c.snap.Tasks = append(c.snap.Tasks, is)
		c.snap.Tasks = c.snap.Tasks[max(0, len(c.snap.Tasks)-kept):]
		if err := k.round(t.Context()); err != nil {
			t.Fatal(err)
		}
		if ended := c.stopped != ""; ended != (n > runs.MaxRetries) {
			t.Fatalf("attempt %d: stopped with %q", n+1, c.stopped)
		}
	}
	c.snap.Services[0].RunStop = c.stopped
	last := &c.snap.Tasks[kept-1]
	last.State, last.Desired = fleet.TaskShutdown, fleet.TaskShutdown
	for range 2 {
		if err := k.round(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if len(c.records) != 1 {
		t.Fatalf("the records are %+v", c.records)
	}
	r := c.records[0]
	if r.State != runs.Failed || r.ExitCode != runs.MaxRetries+1 || r.Attempts != runs.MaxRetries+2 ||
		r.Why != "bad luck on h1, after 6 attempts" {
		t.Errorf("the record is %+v", r)
	}
	if len(k.failed) != runs.MaxRetries+1 {
		t.Errorf("it remembers %d tasks", len(k.failed))
	}
	c.removed = true
	if err := k.round(t.Context()); err != nil || len(k.failed) > 0 {
		t.Errorf("without runs it remembers %v, %v", k.failed, err)
	}
}

// TestKeeper_Complete: what Swarm takes for complete was ended. It begins again as often as it may.
func TestKeeper_Complete(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		spec  runs.Spec
		why   string
		again int
		state string
	}{
		"done":            {runs.Spec{Replicas: 1, Retries: 2}, "", 0, runs.Done},
		"begins again":    {runs.Spec{Replicas: 1, Retries: 2}, "Docker was killed", 1, ""},
		"no attempt left": {runs.Spec{Replicas: 1}, "Docker was killed", 0, runs.Failed},
		"others are done": {runs.Spec{Replicas: 2, Retries: 2}, "Docker was killed", 0, runs.Failed},
	} {
		c.spec.ID = "r"
		label, err := c.spec.Label()
		if err != nil {
			t.Fatal(err)
		}
		e := &oneRun{snap: fleet.Snapshot{Taken: now, Services: []fleet.Service{{ID: "s", Name: "r", Run: label}}}}
		for n := range c.spec.Replicas {
			is := task(fleet.TaskComplete, fleet.TaskShutdown, time.Second)
			is.Slot = n + 1
			e.snap.Tasks = append(e.snap.Tasks, is)
		}
		says := func(_ context.Context, _ []fleet.Node, t fleet.Task) string {
			if t.Slot == 1 {
				return c.why
			}
			return ""
		}
		k := &keeper{engine: e, store: e, why: says, log: slog.New(slog.DiscardHandler)}
		if err := k.round(t.Context()); err != nil {
			t.Fatal(err)
		}
		state := ""
		if len(e.records) > 0 {
			state = e.records[0].State
		}
		if e.again != c.again || state != c.state {
			t.Errorf("%s: begun again %d times, %s", name, e.again, state)
		}
	}
}
