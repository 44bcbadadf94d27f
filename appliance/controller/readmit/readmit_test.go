package readmit

import (
	"context"
	"fmt"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/crawlbox/crawlbox/appliance/fleet"
)

func TestDecide(t *testing.T) {
	t.Parallel()
	node := func(id, state string) fleet.Node { return fleet.Node{ID: id, Agent: &fleet.Agent{State: state}} }
	nodes := []fleet.Node{node("a", fleet.AgentAlive), node("l", "stopped"), node("f", "failed"), {ID: "n"}}
	for name, tc := range map[string]struct {
		service fleet.Service
		want    string
	}{
		"it avoids none":             {fleet.Service{}, "[]"},
		"it is stopped still":        {fleet.Service{Avoids: []string{"l", "f", "n"}}, "[]"},
		"it runs again":              {fleet.Service{Avoids: []string{"a"}}, "[[]]"},
		"one of them runs again":     {fleet.Service{Avoids: []string{"l", "a", "n"}}, "[[l n]]"},
		"the node has left":          {fleet.Service{Avoids: []string{"gone"}}, "[[]]"},
		"the service is changed now": {fleet.Service{Avoids: []string{"a"}, Update: "updating"}, "[]"},
		"it is stopped for a change": {fleet.Service{Avoids: []string{"a"}, Pending: "3 x"}, "[]"},
	} {
		got := [][]string{}
		for _, a := range decide(seen{nodes, []fleet.Service{tc.service}}) {
			got = append(got, a.avoid)
		}
		if fmt.Sprint(got) != tc.want {
			t.Errorf("%s: it is kept off %v, want %s", name, got, tc.want)
		}
	}
}

// cluster has one service that avoids the one node.
type cluster struct {
	service fleet.Service
	asked   int // for nodes
}

func (c *cluster) Nodes(context.Context) ([]fleet.Node, error) {
	c.asked++
	return []fleet.Node{{ID: "n"}}, nil
}

func (c *cluster) Services(context.Context) ([]fleet.Service, error) {
	return []fleet.Service{c.service}, nil
}

func (c *cluster) Avoid(_ context.Context, _ fleet.Service, nodes []string) error {
	c.service.Avoids = nodes
	return nil
}

func TestLoop(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := &cluster{service: fleet.Service{Name: "spider", Avoids: []string{"n"}}}
		begun := time.Now()
		agent := func(string) *fleet.Agent {
			if time.Since(begun) < time.Minute {
				return nil
			}
			return &fleet.Agent{State: fleet.AgentAlive}
		}
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Second)
		defer cancel()
		loop := New(c, c, agent, slog.New(slog.DiscardHandler))
		if err := loop.Run(ctx); err != nil || len(c.service.Avoids) != 1 {
			t.Fatalf("it is kept off %v, where no crawlbox runs yet: %v", c.service.Avoids, err)
		}
		ctx, cancel = context.WithTimeout(t.Context(), 10*time.Minute)
		defer cancel()
		if err := loop.Run(ctx); err != nil || len(c.service.Avoids) > 0 {
			t.Errorf("it is kept off %v: %v", c.service.Avoids, err)
		}
		if c.asked > 10 {
			t.Errorf("the nodes were asked for %d times, also when no service avoids one", c.asked)
		}
	})
}
