package deploy

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/crawlbox/crawlbox/appliance/base/clock"
	"github.com/crawlbox/crawlbox/appliance/deploy/history"
	"github.com/crawlbox/crawlbox/appliance/fleet"
	"github.com/crawlbox/crawlbox/appliance/swarm"
)

// Bounds of following a change. They say when nothing moves any longer, not how
// long a change may take.
const (
	stallFailing    = 45 * time.Second // with tasks that fail
	stallQuiet      = 5 * time.Minute  // without a word from Swarm
	unreachablePoll = time.Second      // between two tries to reach the engine
	updateBegins    = 10 * time.Second // for Swarm to begin an update; one without tasks never begins
	// lookCounts bounds what counts of the time between two looks: a manager that is starved or
	// was stopped has not looked meanwhile, and can't say that nothing moved.
	lookCounts = 10 * time.Second
)

// poller is a change that is followed.
type poller struct {
	*Runner
	svc    fleet.Service // as it was before
	goal   Goal
	causes *causes
	nudged []string // tasks that Swarm no longer waits for

	watch clock.Watch   // whose time all of these are
	now   time.Duration // of the look that is under way
	seen  time.Duration // when the engine answered last
	moved time.Duration // when something moved last
	last  state         // what it was then
	good  time.Duration // since when all is as wanted; negative: it is not
}

// follow polls until the goal is true, the change has failed or stalls.
func (r *Runner) follow(ctx context.Context, svc fleet.Service, g Goal, stage history.Stage, before []fleet.Task,
	begun time.Time, emit Emit) (Summary, error) {
	f := &poller{
		Runner: r,
		svc:    svc,
		goal:   g,
		causes: newCauses(r.agents, g.Start),
		watch:  clock.Watch{Most: lookCounts},
		good:   -1,
	}
	for {
		f.now = f.watch.Look()
		svc, nodes, tasks, err := r.look(ctx, svc.ID)
		wait := pollInterval(len(tasks))
		switch {
		case err == nil:
			g.Outages = r.outagesOf(svc, begun)
			g.Outages = g.Outages[:min(len(g.Outages), excusedOutages)]
			f.goal.Outages = g.Outages
			tasks = f.causes.look(ctx, nodes, tasks, g)
			p := f.assess(svc, nodes, tasks)
			emit(p.progress(stage))
			err := f.check(ctx, svc, nodes, tasks, p)
			if err == nil && stage != history.StageRemove {
				err = overtaken(f.svc.Name, svc, g)
			}
			if err != nil {
				return Summary{}, err
			}
			if f.reached(p) {
				s := summarize(before, tasks, fleet.Snapshot{Nodes: nodes}.NodeName)
				s.Took, s.Excused = time.Since(begun), p.excused
				return s, nil
			}
		case ctx.Err() != nil || f.now-f.seen >= g.Patience:
			return Summary{}, err
		default:
			wait = unreachablePoll
		}
		if err := clock.Sleep(ctx, wait); err != nil {
			return Summary{}, err
		}
	}
}

func (f *poller) assess(svc *fleet.Service, nodes []fleet.Node, tasks []fleet.Task) state {
	f.seen = f.now
	p := assess(svc, nodes, tasks, f.goal)
	if f.goal.Replaced && !begins(f.svc, svc) && f.now < updateBegins {
		p.done = false // what looks done is the version before
	}
	away := func(o fleet.Outage) bool { return o.Lasts(time.Now()) }
	if slices.ContainsFunc(f.goal.Outages, away) {
		f.moved = f.now // what waits for the queue stands still
	}
	if p.Running != f.last.Running || p.Stopping+p.lost != f.last.Stopping+f.last.lost {
		f.moved, f.last = f.now, p
	}
	return p
}

// check returns an error that ends the change.
func (f *poller) check(ctx context.Context, svc *fleet.Service, nodes []fleet.Node, tasks []fleet.Task, p state) error {
	if err := rolledBack(f.svc, svc, p, f.goal.Former); err != nil {
		return err
	}
	g := f.goal
	// Swarm waits for late ones without a bound, whatever it is told.
	if g.Limit > 0 && !g.BySwarm && p.failures >= g.Limit || f.causes.late > 0 {
		return &failingError{failureOf(f.svc.Name, p)}
	}
	if g.Limit > 0 && updating(svc) {
		if err := f.unstick(ctx, svc, stuck(nodes, tasks, g), p); err != nil {
			return err
		}
	}
	if p.done {
		return nil
	}
	return stalled(f.svc.Name, p, f.now-f.moved, max(stallQuiet, g.Quiet))
}

// unstick makes Swarm go on where it waits for tasks on lost nodes.
func (f *poller) unstick(ctx context.Context, svc *fleet.Service, tasks []string, p state) error {
	tasks = slices.DeleteFunc(tasks, func(id string) bool { return slices.Contains(f.nudged, id) })
	if len(tasks) == 0 {
		return nil
	}
	if svc.Update != "updating" { // Swarm is on its way back, and would not come to an end either
		bad := failureOf(svc.Name, p)
		bad.cause = cmp.Or(bad.cause, svc.Message)
		return &failingError{bad}
	}
	f.log.Info("resuming an update that waits for tasks on lost nodes", "service", svc.Name, "tasks", tasks)
	f.nudged, f.goal.BySwarm = append(f.nudged, tasks...), false
	return f.cluster.RestartUpdate(ctx, svc.ID)
}

// stuck returns the tasks of a change, by ID, that Swarm waits for in vain: it put them on
// a node that is gone, has replaced them since, and waits without a bound for them to
// run before it goes on with the next replica (updateTask in swarmkit's updater).
func stuck(nodes []fleet.Node, tasks []fleet.Task, g Goal) (ids []string) {
	down := unreachable(nodes)
	for _, t := range tasks {
		ours := t.Digest == g.Digest && !g.Before[t.ID]
		replaced := t.Desired != fleet.TaskRunning && t.Desired != fleet.TaskReady && !t.Ended() &&
			t.State != fleet.TaskRunning
		if ours && replaced && down[t.NodeID] != "" {
			ids = append(ids, t.ID)
		}
	}
	return ids
}

// reached reports whether all has been as wanted for long enough.
func (f *poller) reached(p state) bool {
	switch {
	case !p.done:
		f.good = -1
	case f.good < 0:
		f.good = f.now
	}
	hold := f.goal.Hold
	if p.excused+p.failures > 0 {
		hold = max(hold, f.goal.Monitor)
	}
	return p.done && f.now-f.good >= hold
}

// look reads one service; nil is one that is gone, whose tasks remain until
// their containers are gone too.
func (r *Runner) look(ctx context.Context, id string) (*fleet.Service, []fleet.Node, []fleet.Task, error) {
	nodes, err := r.cluster.Nodes(ctx)
	if err != nil {
		return nil, nil, nil, err
	}
	svc, err := r.cluster.Service(ctx, id)
	if err == nil {
		tasks, err := r.cluster.Tasks(ctx, id)
		if !errors.Is(err, swarm.ErrNotFound) {
			return &svc, nodes, tasks, err
		}
	} else if !errors.Is(err, swarm.ErrNotFound) {
		return nil, nil, nil, err
	}
	// Swarm does not list the tasks of a service that it does not know.
	tasks, err := r.cluster.Tasks(ctx, "")
	tasks = slices.DeleteFunc(tasks, func(t fleet.Task) bool { return t.ServiceID != id })
	return nil, nodes, tasks, err
}

// on returns a cause with the node that it is of; empty: of none.
func on(cause, node string) string {
	switch {
	case node == "":
		return cause
	case strings.HasPrefix(cause, "exit code ") && !strings.Contains(cause, ";"):
		return cause + " on " + node
	}
	return cause + " (on " + node + ")"
}

// pollInterval keeps the manager's work for following a change small beside
// the change itself.
func pollInterval(tasks int) time.Duration {
	return min(150*time.Millisecond+time.Duration(tasks)*time.Millisecond, time.Second)
}
