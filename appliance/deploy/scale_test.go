package deploy

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/crawlbox/crawlbox/appliance/fleet"
	"github.com/crawlbox/crawlbox/appliance/swarm"
)

// stoppable is a Cluster with one service whose tasks ignore SIGTERM. Swarm marks
// them a moment after it was told to.
type stoppable struct {
	Cluster
	Agents
	mu     sync.Mutex
	tasks  []fleet.Task
	marked time.Time // when Swarm begins to stop them; zero: never
	killed []string
}

func (c *stoppable) Nodes(context.Context) ([]fleet.Node, error) { return up, nil }

func (c *stoppable) Service(context.Context, string) (fleet.Service, error) {
	return fleet.Service{ID: "s", Name: "spider", Mode: fleet.ModeReplicated}, nil
}

func (c *stoppable) Scale(context.Context, string, int) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.marked = time.Now().Add(100 * time.Millisecond)
	return nil
}

func (c *stoppable) Tasks(context.Context, string) ([]fleet.Task, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	list := slices.Clone(c.tasks)
	for i := range list {
		if list[i].ID != "new" && !c.marked.IsZero() && !time.Now().Before(c.marked) {
			list[i].Desired = fleet.TaskRemove
		}
	}
	return list, nil
}

func (c *stoppable) Pull(context.Context, fleet.Node, string, func(swarm.Pulled)) error { return nil }

func (c *stoppable) Kill(_ context.Context, n fleet.Node, tasks []string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.killed = append(c.killed, tasks...)
	c.tasks = slices.DeleteFunc(c.tasks,
		func(t fleet.Task) bool { return t.NodeID == n.ID && slices.Contains(tasks, t.ID) })
	return nil
}

// Only what ran when the stop was asked for is killed, and only once Swarm stops it:
// before, it would start others.
func TestStopNow(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		run := fleet.TaskRunning
		c := &stoppable{tasks: []fleet.Task{task("a", 1, run,
			run), task("b", 2, run, run), task("done", 3, fleet.TaskComplete, fleet.TaskShutdown)}}
		r := NewRunner(c, c, nil, slog.New(slog.DiscardHandler))
		svc, _ := c.Service(t.Context(), "")
		begun := time.Now()
		if err := r.StopNow(svc).Run(t.Context(), func(Progress) {}); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(begun); took > time.Second {
			t.Errorf("it took %s", took)
		}
		time.Sleep(2 * killAgain) // of the bubble's clock
		slices.Sort(c.killed)
		if !slices.Equal(c.killed, []string{"a", "b"}) {
			t.Errorf("killed %v", c.killed)
		}
	})
}

func TestStopNow_GoesOnWithoutItsCaller(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		run := fleet.TaskRunning
		c := &stoppable{tasks: []fleet.Task{task("a", 1, run, run)}}
		ctx, cancel := context.WithCancel(t.Context())
		svc, _ := c.Service(ctx, "")
		err := NewRunner(c, c, nil, slog.New(slog.DiscardHandler)).StopNow(svc).Run(ctx, func(Progress) { cancel() })
		if err == nil {
			t.Error("a follower that was told to end returned without an error")
		}
		time.Sleep(2 * killAgain) // of the bubble's clock
		c.mu.Lock()
		defer c.mu.Unlock()
		if !slices.Equal(c.killed, []string{"a"}) {
			t.Errorf("killed %v", c.killed)
		}
	})
}

func TestScaleStep(t *testing.T) {
	t.Parallel()
	for replicas, want := range map[int]string{
		3: "service s has 3 replicas already: nothing to do",
		0: "stop: service s, all 3 replicas",
		1: "scale: service s from 3 to 1 replica, stop 2",
		5: "scale: service s from 3 to 5 replicas, start 2",
	} {
		if got := scaleStep(fleet.Service{Name: "s", Desired: 3}, replicas); got != want {
			t.Errorf("%d: got %q", replicas, got)
		}
	}
}
