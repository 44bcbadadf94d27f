package deploy

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/crawlbox/crawlbox/appliance/fleet"
)

const (
	// killAgain is how often the containers are killed that are still there: one may
	// have been about to start.
	killAgain = 200 * time.Millisecond
	// killTimeout bounds what goes on where nobody waits for it.
	killTimeout = time.Minute
)

// StopNow scales a service to 0 and ends its containers without their grace time.
// Swarm takes that time from each task as it was made, so a change of the service
// would come too late; the service keeps it for the next start. What is on a node
// that can't be reached ends when Swarm's own stop does. The killing goes on if the
// caller does not.
func (r *Runner) StopNow(ctx context.Context, svc fleet.Service, emit Emit) (Summary, error) {
	tasks, err := r.cluster.Tasks(ctx, svc.ID)
	if err != nil {
		return Summary{}, err
	}
	ended := endedTasks(tasks)
	doomed := map[string]bool{}
	for _, t := range tasks {
		doomed[t.ID] = !ended[t.ID]
	}
	return r.scale(ctx, svc, 0, emit, func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), killTimeout)
		defer cancel()
		r.kill(ctx, svc.ID, doomed)
	})
}

// kill kills those of the tasks that Swarm wants to stop, until all are gone.
func (r *Runner) kill(ctx context.Context, service string, doomed map[string]bool) {
	for {
		_, nodes, tasks, err := r.look(ctx, service)
		if err == nil {
			tasks = slices.DeleteFunc(tasks, func(t fleet.Task) bool { return !doomed[t.ID] || t.Ended() })
			if len(tasks) == 0 {
				return
			}
			r.killOn(ctx, nodes, stopping(tasks))
		}
		if pause(ctx, killAgain) != nil {
			return
		}
	}
}

func (r *Runner) killOn(ctx context.Context, nodes []fleet.Node, stopping map[string][]string) {
	var all sync.WaitGroup
	for _, n := range nodes {
		if len(stopping[n.ID]) == 0 || n.State != fleet.StateReady {
			continue
		}
		all.Go(func() {
			if err := r.agents.Kill(ctx, n, stopping[n.ID]); err != nil && ctx.Err() == nil {
				r.log.Warn("kill containers; they end when their grace time is over", "node", n.Display, "error", err)
			}
		})
	}
	all.Wait()
}

// stopping are the tasks by node that Swarm wants to end.
func stopping(tasks []fleet.Task) map[string][]string {
	byNode := map[string][]string{}
	for _, t := range tasks {
		if t.NodeID != "" && (t.Desired == fleet.TaskShutdown || t.Desired == fleet.TaskRemove) {
			byNode[t.NodeID] = append(byNode[t.NodeID], t.ID)
		}
	}
	return byNode
}
