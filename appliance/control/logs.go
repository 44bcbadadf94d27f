package control

import (
	"context"
	"errors"

	"github.com/crawlbox/crawlbox/appliance/api"
	"github.com/crawlbox/crawlbox/appliance/fleet"
	"github.com/crawlbox/crawlbox/appliance/swarm"
)

func (b *Backend) Logs(ctx context.Context, q api.LogQuery, fn func(api.LogLine) error) error {
	s, err := b.Engine.Snapshot(ctx)
	if err != nil {
		return b.explain(err)
	}
	id, isTask, err := logTarget(s, q.Target)
	if err != nil {
		return err
	}
	names := &taskNames{engine: b.Engine, nodes: s.Nodes, byID: map[string]string{}}
	names.learn(s.Tasks)
	opts := swarm.LogOptions{Follow: q.Follow, Tail: q.Tail, Since: q.Since}
	var sinkErr error
	err = b.Engine.Logs(ctx, id, isTask, opts, func(l swarm.LogLine) error {
		sinkErr = fn(api.LogLine{Time: l.Time, Task: names.task(ctx, l.TaskID), TaskID: l.TaskID,
			Node: s.NodeName(l.NodeID), Stream: l.Stream, Text: l.Text})
		return sinkErr
	})
	switch {
	case sinkErr != nil:
		return sinkErr
	case errors.Is(err, context.Canceled):
		return nil
	}
	return b.explain(err)
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
