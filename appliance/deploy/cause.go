package deploy

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/docker/go-units"

	"github.com/crawlbox/crawlbox/appliance/base/words"
	"github.com/crawlbox/crawlbox/appliance/fleet"
	"github.com/crawlbox/crawlbox/appliance/swarm"
)

// askTries is how often a node is asked about a task that does not answer.
const askTries = 3

// askedAtOnce bounds the questions between two looks at the tasks.
const askedAtOnce = 5

// causes finds out what became of the tasks of a change, from the nodes that ran
// them. Swarm alone does not know: of a program that the kernel killed for its memory
// it says "non-zero exit (137)", it takes one for complete that was never healthy and
// ended well when Docker stopped it for that, and for one whose health check never
// gives an answer it waits for ever.
type causes struct {
	agents Agents        // nil: no node is asked
	start  time.Duration // that a task may take until it is healthy; 0: any

	first map[string]time.Time // when a task was first seen to start, by its ID
	ran   map[string]bool      // tasks that were seen to run
	asked map[string]int       // how often the node of a task was asked
	cause map[string]string    // what tasks failed by, where Swarm does not say it
	late  int                  // tasks that took longer than start
	plain bool                 // the tasks have no health check
}

func newCauses(agents Agents, start time.Duration) *causes {
	return &causes{
		agents: agents,
		start:  start,
		first:  map[string]time.Time{},
		ran:    map[string]bool{},
		asked:  map[string]int{},
		cause:  map[string]string{},
	}
}

// look returns the tasks with what their nodes know: those that the nodes know to have
// failed are failed, and say why.
func (q *causes) look(ctx context.Context, nodes []fleet.Node, tasks []fleet.Task, g Goal) []fleet.Task {
	left := askedAtOnce
	for i, t := range tasks {
		if g.Before[t.ID] || g.Digest != "" && t.Digest != g.Digest {
			continue
		}
		if q.needsNode(t) && left > 0 {
			left--
			q.ask(ctx, nodes, t)
		}
		if cause := q.cause[t.ID]; cause != "" {
			tasks[i].State, tasks[i].Error = fleet.TaskFailed, cause
		}
	}
	return tasks
}

// needsNode notes where a task is, and reports whether its node has something to tell of it.
func (q *causes) needsNode(t fleet.Task) bool {
	switch t.State {
	case fleet.TaskRunning:
		q.ran[t.ID] = true
	case fleet.TaskStarting:
		if q.first[t.ID].IsZero() {
			q.first[t.ID] = time.Now()
		}
		return q.isLate(t) && q.asked[t.ID] < askTries
	case fleet.TaskFailed:
		return t.Container != "" && q.asked[t.ID] < askTries
	case fleet.TaskComplete:
		return !q.plain && q.asked[t.ID] < askTries
	}
	return false
}

func (q *causes) isLate(t fleet.Task) bool {
	return t.State == fleet.TaskStarting && t.Desired == fleet.TaskRunning && q.start > 0 &&
		time.Since(q.first[t.ID]) >= q.start
}

func (q *causes) ask(ctx context.Context, nodes []fleet.Node, t fleet.Task) {
	c, err := container(ctx, q.agents, nodes, t)
	if q.asked[t.ID]++; !errors.Is(err, ErrUnanswered) {
		q.asked[t.ID] = askTries
	}
	switch {
	case err != nil && q.asked[t.ID] < askTries:
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

// Why returns why a task failed: as its node has it, or else as Swarm does. Of one that is complete for Swarm it
// returns what ended it in truth; empty: nothing did.
func (r *Runner) Why(ctx context.Context, nodes []fleet.Node, t fleet.Task) string {
	c, err := container(ctx, r.agents, nodes, t)
	switch {
	case err != nil:
		return t.Error
	case t.State != fleet.TaskComplete:
		return causeOf(t, c, true)
	case !c.Outlived.IsZero() && t.Since.After(c.Outlived): // by the clock of its node, both
		return "Docker was restarted, which ended it"
	}
	return ""
}

func container(ctx context.Context, agents Agents, nodes []fleet.Node, t fleet.Task) (c swarm.Container, err error) {
	for _, n := range nodes {
		if n.ID == t.NodeID && t.Container != "" && agents != nil {
			return agents.Container(ctx, n, t.Container)
		}
	}
	return c, ErrNoAgent
}

// exitTerminated is the exit code of a program that was ended by SIGTERM: 128 and its number.
const exitTerminated = 143

// causeOf says why a task ended, from what its node knows of its container. ran says
// that it was healthy before.
func causeOf(t fleet.Task, c swarm.Container, ran bool) string {
	cause := t.Error
	switch {
	case c.ExitCode == swarm.ExitKilled && c.OutOfMemory:
		return "out of memory" + limitOf(c)
	case c.Health == swarm.Unhealthy:
		cause = unhealthyCause(t, c, ran)
	case c.ExitCode == swarm.ExitKilled && c.Memory > 0: // Docker does not always hear for what
		return "killed (exit code 137), perhaps for its memory" + limitOf(c)
	}
	if c.OutOfMemory { // another process of it was killed
		cause += "; it was out of memory" + limitOf(c)
	}
	return cause
}

func unhealthyCause(t fleet.Task, c swarm.Container, ran bool) string {
	cause := "never became healthy: its health check failed"
	if ran {
		cause = "became unhealthy: its health check failed"
	}
	if last := lastCheck(c); last != "" {
		cause += ", last with " + last
	}
	if c.ExitCode != 0 && c.ExitCode != swarm.ExitKilled && c.ExitCode != exitTerminated {
		return t.Error + "; it " + cause // it may have ended by itself
	}
	return cause
}

// lastCheck says how the last health check failed; empty where it did not.
func lastCheck(c swarm.Container) string {
	switch {
	case c.Said != "":
		return fmt.Sprintf("%q", c.Said)
	case c.CheckCode > 0:
		return fmt.Sprintf("exit code %d", c.CheckCode)
	}
	return ""
}

// lateCause says why a task is given up that is not healthy after so long.
func lateCause(after time.Duration, c swarm.Container) string {
	cause := fmt.Sprintf("never became healthy: it has been starting for %s", after)
	switch last := lastCheck(c); {
	case last != "":
		cause += ", and its health check failed, last with " + last
	case c.Health != "":
		cause += ", and its health check has not answered yet"
	}
	return cause + " (--start-timeout gives it longer)"
}

// Programs that lose the queue end, whatever their version is. What fails while the queue is away,
// or crawlbox with it, says nothing of a version and is excused: Swarm starts it again, and it has
// to run through the monitor time after that. Swarm does not know of this, so crawlbox goes back
// itself where a service knows the queue: when nobody is there to judge there is no queue either.

// excusedOutages bounds the outages of one change that are excused: a version may be what ends
// the queue.
const excusedOutages = 3

// outagesOf returns the outages since then that excuse failures of a service.
func (r *Runner) outagesOf(svc *fleet.Service, since time.Time) []fleet.Outage {
	if r.outages == nil || svc == nil || svc.Queue == "" {
		return nil
	}
	return slices.DeleteFunc(r.outages(), func(o fleet.Outage) bool { return o.Over().Before(since) })
}

// blamable returns the tasks without those whose failure an outage excuses.
func (r *Runner) blamable(svc fleet.Service, tasks []fleet.Task) []fleet.Task {
	outages := r.outagesOf(&svc, time.Time{})
	return slices.DeleteFunc(slices.Clone(tasks), func(t fleet.Task) bool { return excused(t, outages) })
}

func excused(t fleet.Task, outages []fleet.Outage) bool {
	return slices.ContainsFunc(outages, func(o fleet.Outage) bool { return o.Excuses(t) })
}

// whileAway says of a failure that it is excused.
const whileAway = " while the queue was away, which does not count"

// Excuse says what a change that went well did not count; empty where all did.
func (s Summary) Excuse() string {
	if s.Excused == 0 {
		return ""
	}
	return words.Count(s.Excused, "replica") + " ended" + whileAway
}

func limitOf(c swarm.Container) string {
	if c.Memory == 0 {
		return ""
	}
	return " (limit " + units.CustomSize("%.4g %s", float64(c.Memory), 1024,
		[]string{"B", "KiB", "MiB", "GiB", "TiB"}) + ")"
}
