package control

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/crawlbox/crawlbox/appliance/api"
	"github.com/crawlbox/crawlbox/appliance/fleet"
	"github.com/crawlbox/crawlbox/appliance/swarm"
)

// Services answers api.Services as far as a node is a manager of the swarm.
type Services struct {
	engine *swarm.Engine
	errs   Errors
}

// NewServices returns the services that engine knows.
func NewServices(engine *swarm.Engine, errs Errors) *Services { return &Services{engine, errs} }

// Services implements api.Services.
func (s *Services) Services(ctx context.Context) ([]fleet.Service, error) {
	snap, err := s.engine.Snapshot(ctx)
	return snap.Services, s.errs.explain(err)
}

// Inspect implements api.Services.
func (s *Services) Inspect(ctx context.Context, ref string) (api.Inspect, error) {
	snap, err := s.engine.Snapshot(ctx)
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
	snap, err := s.engine.Snapshot(ctx)
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

// Logs answers api.Logs as far as a node is a manager of the swarm.
type Logs struct {
	engine *swarm.Engine
	errs   Errors
}

// NewLogs returns the logs of the tasks that engine knows.
func NewLogs(engine *swarm.Engine, errs Errors) *Logs { return &Logs{engine, errs} }

// Logs implements api.Logs.
func (l *Logs) Logs(ctx context.Context, q api.LogQuery, fn func(api.LogLine) error) error {
	s, err := l.engine.Snapshot(ctx)
	if err != nil {
		return l.errs.explain(err)
	}
	id, isTask, err := logTarget(s, q.Target)
	if err != nil {
		return err
	}
	names := &taskNames{engine: l.engine, byID: map[string]string{}}
	names.learn(s.Tasks)
	opts := swarm.LogOptions{Follow: q.Follow, Tail: q.Tail, Since: q.Since}
	var sinkErr error
	err = l.engine.Logs(ctx, id, isTask, opts, func(line swarm.LogLine) error {
		sinkErr = fn(api.LogLine{
			Time:   line.Time,
			Task:   names.task(ctx, line.TaskID),
			TaskID: line.TaskID,
			Node:   s.NodeName(line.NodeID),
			Stream: line.Stream,
			Text:   line.Text,
		})
		return sinkErr
	})
	switch {
	case sinkErr != nil:
		return sinkErr
	case errors.Is(err, context.Canceled):
		return nil
	}
	return l.errs.explain(err)
}

func logTarget(s fleet.Snapshot, ref string) (id string, isTask bool, err error) {
	svc, err := findService(s.Services, ref)
	if err == nil {
		return svc.ID, false, nil
	}
	if t, ok := findTask(s.Tasks, ref); ok {
		return t.ID, true, nil
	}
	return "", false, err
}

// taskNames knows tasks by name, those too that start while logs are followed.
type taskNames struct {
	engine *swarm.Engine
	byID   map[string]string
}

func (n *taskNames) learn(tasks []fleet.Task) {
	for _, t := range tasks {
		n.byID[t.ID] = t.Name()
	}
}

func (n *taskNames) task(ctx context.Context, id string) string {
	if name, ok := n.byID[id]; ok || id == "" {
		return name
	}
	if s, err := n.engine.Snapshot(ctx); err == nil {
		n.learn(s.Tasks)
	}
	if n.byID[id] == "" {
		n.byID[id] = id
	}
	return n.byID[id]
}
