package deploy

import (
	"context"
	"time"

	"github.com/crawlbox/crawlbox/appliance/fleet"
	"github.com/crawlbox/crawlbox/appliance/swarm"
)

// askedAtOnce bounds the questions between two looks at the tasks.
const askedAtOnce = 5

// inquest finds out what became of the tasks of a change, from the nodes that ran
// them. Swarm alone does not know: of a program that the kernel killed for its memory
// it says "non-zero exit (137)", it takes one for complete that was never healthy and
// ended well when Docker stopped it for that, and for one whose health check never
// gives an answer it waits for ever.
type inquest struct {
	agents Agents        // nil: nobody is asked
	start  time.Duration // that a task may take until it is healthy; 0: any

	first map[string]time.Time // when a task was first seen to start, by its ID
	ran   map[string]bool      // tasks that were seen to run
	asked map[string]bool      // tasks whose node was asked
	cause map[string]string    // what tasks failed by, where Swarm does not say it
	late  int                  // tasks that took longer than start
	plain bool                 // the tasks have no health check
}

func newInquest(agents Agents, start time.Duration) *inquest {
	return &inquest{agents: agents, start: start, first: map[string]time.Time{}, ran: map[string]bool{}, asked: map[string]bool{}, cause: map[string]string{}}
}

// look returns the tasks as they are to be judged: those that the nodes know to have
// failed are failed, and say by what.
func (q *inquest) look(ctx context.Context, nodes []fleet.Node, tasks []fleet.Task, g Goal) []fleet.Task {
	left := askedAtOnce
	for i, t := range tasks {
		if g.Before[t.ID] || g.Digest != "" && t.Digest != g.Digest {
			continue
		}
		if q.tells(t) && left > 0 {
			left--
			q.ask(ctx, nodes, t)
		}
		if cause := q.cause[t.ID]; cause != "" {
			tasks[i].State, tasks[i].Error = fleet.TaskFailed, cause
		}
	}
	return tasks
}

// tells notes where a task is, and says whether its node has something to tell of it.
func (q *inquest) tells(t fleet.Task) bool {
	switch t.State {
	case fleet.TaskRunning:
		q.ran[t.ID] = true
	case fleet.TaskStarting:
		if q.first[t.ID].IsZero() {
			q.first[t.ID] = time.Now()
		}
		return q.isLate(t) && !q.asked[t.ID]
	case fleet.TaskFailed:
		return t.Container != "" && !q.asked[t.ID]
	case fleet.TaskComplete:
		return !q.plain && !q.asked[t.ID]
	}
	return false
}

func (q *inquest) isLate(t fleet.Task) bool {
	return t.State == fleet.TaskStarting && t.Desired == fleet.TaskRunning && q.start > 0 && time.Since(q.first[t.ID]) >= q.start
}

func (q *inquest) ask(ctx context.Context, nodes []fleet.Node, t fleet.Task) {
	q.asked[t.ID] = true
	c, err := container(ctx, q.agents, nodes, t)
	switch {
	case q.isLate(t): // whatever its node says
		q.late++
		q.cause[t.ID] = lateCause(q.start, c)
	case err != nil:
	case t.State == fleet.TaskComplete && c.Health == "":
		q.plain = true
	case t.State == fleet.TaskComplete && c.Health != swarm.Unhealthy:
	default:
		q.cause[t.ID] = causeOf(t, c, q.ran[t.ID])
	}
}

// Why says what a task failed by: as its node has it, or else as Swarm does.
func (r *Runner) Why(ctx context.Context, nodes []fleet.Node, t fleet.Task) string {
	c, err := container(ctx, r.agents, nodes, t)
	if err != nil {
		return t.Error
	}
	return causeOf(t, c, true)
}

func container(ctx context.Context, agents Agents, nodes []fleet.Node, t fleet.Task) (c swarm.Container, err error) {
	for _, n := range nodes {
		if n.ID == t.NodeID && t.Container != "" && agents != nil {
			return agents.Container(ctx, n, t.Container)
		}
	}
	return c, ErrNotStageable
}
