package control

import (
	"context"
	"errors"

	"github.com/crawlbox/crawlbox/appliance/api"
	"github.com/crawlbox/crawlbox/appliance/fleet"
	"github.com/crawlbox/crawlbox/appliance/swarm"
)

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
	names := &taskNames{engine: l.engine, nodes: s.Nodes, byID: map[string]string{}}
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
	nodes  []fleet.Node
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
