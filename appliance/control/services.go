package control

import (
	"context"
	"fmt"
	"slices"

	"github.com/crawlbox/crawlbox/appliance/api"
	"github.com/crawlbox/crawlbox/appliance/fleet"
	"github.com/crawlbox/crawlbox/appliance/swarm"
)

// Services answers api.Services as far as a node is a manager of the swarm.
type Services struct {
	engine *swarm.Engine
	view   *View
	errs   Errors
}

// NewServices returns the services that engine knows.
func NewServices(engine *swarm.Engine, view *View, errs Errors) *Services {
	return &Services{engine, view, errs}
}

// Services implements api.Services.
func (s *Services) Services(ctx context.Context) ([]fleet.Service, error) {
	snap, err := s.view.Snapshot(ctx)
	return slices.DeleteFunc(snap.Services, fleet.Service.IsRun), s.errs.explain(err) // which `crawlbox runs` lists
}

// Inspect implements api.Services.
func (s *Services) Inspect(ctx context.Context, ref string) (api.Inspect, error) {
	snap, err := s.view.Snapshot(ctx)
	if err != nil {
		return api.Inspect{}, s.errs.explain(err)
	}
	svc, err := findService(snap.Services, ref)
	if err != nil {
		return api.Inspect{}, err
	}
	raw, err := s.engine.ServiceJSON(ctx, svc.ID)
	return api.Inspect{Service: svc, Spec: raw}, s.errs.explain(err)
}

// Tasks implements api.Services.
func (s *Services) Tasks(ctx context.Context, q api.TaskQuery) ([]fleet.Task, error) {
	snap, err := s.view.Snapshot(ctx)
	if err != nil {
		return nil, s.errs.explain(err)
	}
	var service, node string
	if q.Service != "" {
		svc, err := findService(snap.Services, q.Service)
		if err != nil {
			return nil, err
		}
		service = svc.ID
	}
	if q.Node != "" {
		n, err := findNode(snap.Nodes, q.Node)
		if err != nil {
			return nil, err
		}
		node = n.ID
	}
	if !q.All {
		snap.Tasks = slices.DeleteFunc(snap.Tasks, func(t fleet.Task) bool { return isOfStopped(snap, t) })
	}
	return chooseTasks(snap.Tasks, service, node, q.All), nil
}

// isOfStopped reports whether a task is what is left of a service that was stopped.
func isOfStopped(snap fleet.Snapshot, t fleet.Task) bool {
	svc, known := snap.Service(t.ServiceID)
	return known && svc.IsStopped() && t.Ended()
}

// chooseTasks keeps, unless all are asked for, the newest task of each slot,
// and the one before it if that failed and the newest does not run yet: it says
// why. The tasks come sorted, the newest of a slot first.
func chooseTasks(tasks []fleet.Task, service, node string, all bool) []fleet.Task {
	chosen := []fleet.Task{}
	first := map[string]fleet.Task{}
	for _, t := range tasks {
		place := fmt.Sprintf("%s.%d.%s", t.ServiceID, t.Slot, globalNode(t))
		successor, known := first[place]
		newest := !known || t.Error != "" && !successor.Ended() && successor.State != fleet.TaskRunning
		first[place] = t
		if service != "" && t.ServiceID != service || node != "" && t.NodeID != node {
			continue
		}
		if all || newest || t.State == fleet.TaskRunning {
			chosen = append(chosen, t)
		}
	}
	return chosen
}

func globalNode(t fleet.Task) string {
	if t.Slot > 0 {
		return ""
	}
	return t.NodeID
}
