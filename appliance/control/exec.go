package control

import (
	"context"
	"io"
	"strings"

	"github.com/crawlbox/crawlbox/appliance/api"
	"github.com/crawlbox/crawlbox/appliance/fleet"
	"github.com/crawlbox/crawlbox/appliance/swarm"
	"github.com/crawlbox/crawlbox/appliance/taskexec"
)

// Programs answers api.Programs on the manager that asks the nodes.
type Programs struct {
	engine *swarm.Engine
	run    func(ctx context.Context, n fleet.Node, r taskexec.Request) (io.ReadWriteCloser, error)
	errs   Errors
}

// NewPrograms returns what runs programs on nodes with run.
func NewPrograms(
	engine *swarm.Engine, run func(context.Context, fleet.Node, taskexec.Request) (io.ReadWriteCloser, error),
	errs Errors,
) *Programs {
	return &Programs{engine, run, errs}
}

// Execute implements api.Programs.
func (p *Programs) Execute(ctx context.Context, r taskexec.Request) (io.ReadWriteCloser, error) {
	snap, err := p.engine.Snapshot(ctx)
	if err != nil {
		return nil, p.errs.explain(err)
	}
	t, err := runningTask(snap, r.Task)
	if err != nil {
		return nil, err
	}
	for _, n := range snap.Nodes {
		if n.ID == t.NodeID {
			r.Task = t.ID
			conn, err := p.run(ctx, n, r)
			if err != nil {
				return nil, &api.Error{Code: api.CodeFailed, Message: t.Name() + ": " + err.Error()}
			}
			return conn, nil
		}
	}
	return nil, api.Conflict("the node of %s is no longer one of the cluster", t.Name())
}

// runningTask finds a task that runs, by name or ID, or the only one of a service.
func runningTask(s fleet.Snapshot, ref string) (fleet.Task, error) {
	t, ok := findTask(s.Tasks, ref)
	switch {
	case ok && t.State == fleet.TaskRunning:
		return t, nil
	case ok:
		return t, api.Conflict("%s is %s; `crawlbox ps %s` shows which tasks run", t.Name(), t.State, t.Service)
	}
	svc, err := findService(s.Services, ref)
	if err != nil {
		return t, unknownTask(s, ref, err)
	}
	var names []string
	for _, other := range s.Tasks {
		if other.ServiceID == svc.ID && other.State == fleet.TaskRunning {
			t, names = other, append(names, other.Name())
		}
	}
	switch len(names) {
	case 0:
		return t, api.Conflict("no task of %s runs; see `crawlbox ps %[1]s`", svc.Name)
	case 1:
		return t, nil
	}
	return t, api.Invalid("%s has %d tasks; name one of %s", svc.Name, len(names),
		strings.Join(names[:min(len(names), 10)], ", "))
}
