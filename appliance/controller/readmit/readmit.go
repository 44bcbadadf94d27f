// Package readmit lets services back onto nodes. A deploy keeps a service off a node on which no
// crawlbox runs, since it can't bring the image there; when one runs there again, Swarm may use
// the node again. What runs elsewhere stays where it is.
package readmit

import (
	"context"
	"log/slog"
	"slices"
	"time"

	"github.com/crawlbox/crawlbox/appliance/controller"
	"github.com/crawlbox/crawlbox/appliance/fleet"
)

// every is how often it looks.
const every = 10 * time.Second

// Cluster holds the methods of *swarm.Engine that the controller needs.
type Cluster interface {
	Nodes(ctx context.Context) ([]fleet.Node, error)
	Services(ctx context.Context) ([]fleet.Service, error)
}

// Runner changes services. *deploy.Runner is one.
type Runner interface {
	// Avoid keeps the replicas of a service off nodes, by ID, and off no others.
	Avoid(ctx context.Context, svc fleet.Service, nodes []string) error
}

// New returns the controller. agent returns what gossip has heard of the crawlbox on a node, by
// its ID in the swarm, nil where that is nothing.
func New(c Cluster, runner Runner, agent func(node string) *fleet.Agent, log *slog.Logger) *controller.Loop {
	observe := func(ctx context.Context) (s seen, err error) {
		if s.services, err = c.Services(ctx); err != nil || !avoids(s.services) {
			return s, err
		}
		s.nodes, err = c.Nodes(ctx)
		for i, n := range s.nodes {
			s.nodes[i].Agent = agent(n.ID)
		}
		return s, err
	}
	act := func(ctx context.Context, a action) error {
		err := runner.Avoid(ctx, a.service, a.avoid)
		if err == nil {
			log.Info("a service may use nodes again on which crawlbox runs again", "service", a.service.Name)
		}
		return err
	}
	loop := controller.New("readmit", controller.Round(observe, decide, act))
	loop.First, loop.Every, loop.Retry, loop.RetryMost = every, every, every, every
	return loop
}

// seen holds what there is. There are no nodes where no service avoids any.
type seen struct {
	nodes    []fleet.Node
	services []fleet.Service
}

func avoids(services []fleet.Service) bool {
	return slices.ContainsFunc(services, func(svc fleet.Service) bool { return len(svc.Avoids) > 0 })
}

// action is to keep a service off fewer nodes than it is.
type action struct {
	service fleet.Service
	avoid   []string
}

// decide returns which services may use nodes again. One that is being changed has time.
func decide(s seen) (actions []action) {
	for _, svc := range s.services {
		left := slices.DeleteFunc(slices.Clone(svc.Avoids), func(id string) bool { return !s.isWithout(id) })
		busy := svc.Pending != "" || svc.Update == fleet.Updating || svc.Update == fleet.RollingBack
		if len(left) < len(svc.Avoids) && !busy {
			actions = append(actions, action{svc, left})
		}
	}
	return actions
}

// isWithout reports whether a node is there, and no crawlbox on it.
func (s seen) isWithout(id string) bool {
	return slices.ContainsFunc(s.nodes, func(n fleet.Node) bool { return n.ID == id && !n.HasAgent() })
}
