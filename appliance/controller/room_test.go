package controller_test

import (
	"context"
	"encoding/json"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/crawlbox/crawlbox/appliance/controller"
	"github.com/crawlbox/crawlbox/appliance/deploy"
	"github.com/crawlbox/crawlbox/appliance/fleet"
	"github.com/crawlbox/crawlbox/appliance/lifecycle"
	"github.com/crawlbox/crawlbox/appliance/swarm"
)

// TestRoomForAnother adds a made-up controller: what it takes is its own file, and one
// line where a node lists its parts.
func TestRoomForAnother(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		cluster := &twoServices{replicas: map[string]int{"spider": 1, "robot": 3}}
		runner := deploy.NewRunner(cluster, nil, nil, slog.New(slog.DiscardHandler))
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		parts := []lifecycle.Part{
			newPairs(cluster, runner).Part(), // the line
		}
		if err := lifecycle.Run(ctx, slog.New(slog.DiscardHandler), func() {}, parts...); err != nil {
			t.Fatal(err)
		}
		if cluster.replicas["spider"] != 2 || cluster.replicas["robot"] != 3 {
			t.Errorf("in the end there are %v", cluster.replicas)
		}
	})
}

// newPairs returns the made-up controller: no service should be alone.
func newPairs(cluster deploy.Cluster, runner *deploy.Runner) *controller.Loop {
	act := func(ctx context.Context, svc fleet.Service) error {
		return runner.Scale(svc, 2).Run(ctx, func(deploy.Progress) {})
	}
	loop := controller.New("pairs", controller.Round(cluster.Services, alone, act))
	loop.Every, loop.Retry, loop.RetryMost = time.Minute, time.Second, time.Minute
	return loop
}

// alone decides which services get a second replica.
func alone(services []fleet.Service) (list []fleet.Service) {
	for _, svc := range services {
		if svc.Desired == 1 {
			list = append(list, svc)
		}
	}
	return list
}

// twoServices is a cluster that does at once what it is told.
type twoServices struct {
	deploy.Cluster
	mu       sync.Mutex
	replicas map[string]int
}

func (c *twoServices) Services(ctx context.Context) (list []fleet.Service, err error) {
	for _, name := range []string{"spider", "robot"} {
		svc, err := c.Service(ctx, name)
		if err != nil {
			return nil, err
		}
		list = append(list, svc)
	}
	return list, nil
}

func (c *twoServices) Service(_ context.Context, name string) (fleet.Service, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	n, there := c.replicas[name]
	if !there {
		return fleet.Service{}, swarm.ErrNotFound
	}
	return fleet.Service{ID: name, Name: name, Mode: fleet.ModeReplicated, Desired: n, Running: n}, nil
}

func (c *twoServices) Scale(_ context.Context, name string, replicas int) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.replicas[name] = replicas
	return nil
}

func (c *twoServices) Tasks(_ context.Context, name string) (list []fleet.Task, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for slot := range c.replicas[name] {
		list = append(list, fleet.Task{
			ID:      name,
			Slot:    slot + 1,
			NodeID:  "n1",
			State:   fleet.TaskRunning,
			Desired: fleet.TaskRunning,
		})
	}
	return list, nil
}

func (*twoServices) Nodes(context.Context) ([]fleet.Node, error) {
	return []fleet.Node{{ID: "n1", State: fleet.StateReady}}, nil
}

func (*twoServices) Spec(context.Context, string) (json.RawMessage, error) { return nil, nil }
