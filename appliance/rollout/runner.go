package rollout

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/crawlbox/crawlbox/appliance/fleet"
	"github.com/crawlbox/crawlbox/appliance/swarm"
)

// Bounds of following a change. They say when nothing moves any more, not how
// long a change may take.
const (
	stallFailing = 45 * time.Second // with tasks that fail
	stallQuiet   = 5 * time.Minute  // without a word from Swarm
	updateBegins = 10 * time.Second // for Swarm to begin an update; one without tasks never begins
)

// ErrBusy is returned where a service is being updated already.
var ErrBusy = errors.New("is being changed already")

// Cluster is what the Runner asks of the swarm. *swarm.Engine is one.
type Cluster interface {
	Nodes(ctx context.Context) ([]fleet.Node, error)
	Service(ctx context.Context, idOrName string) (fleet.Service, error)
	Tasks(ctx context.Context, serviceID string) ([]fleet.Task, error)
	Scale(ctx context.Context, id string, replicas int) error
	SetImage(ctx context.Context, id string, c swarm.ImageChange) error
	StopForUpdate(ctx context.Context, id, pending, mark string) error
	Remove(ctx context.Context, id string) error
	CreateDeployed(ctx context.Context, name string, d swarm.Deployment) (id string, err error)
	Deploy(ctx context.Context, id string, d swarm.Deployment) (replaced bool, err error)
	SlowDown(ctx context.Context, id string) error
	Nudge(ctx context.Context, id string) error
	Spec(ctx context.Context, id string) (json.RawMessage, error)
	Changes(ctx context.Context, id string, d swarm.Deployment) (keys []string, err error)
	Digest(ctx context.Context, image string) (string, error)
	Platforms(ctx context.Context, image string) []fleet.Platform
}

// Emit hears of each step of a change. It must return soon.
type Emit func(step string, p Progress)

// Runner executes changes. It is safe for concurrent use; two updates of one
// service at once are refused with ErrBusy.
type Runner struct {
	cluster Cluster
	agents  Agents
	log     *slog.Logger
	busy    sync.Map // name of the service → struct{}
}

// NewRunner returns a runner on the cluster given. Nil agents are for nodes where
// nothing is deployed from.
func NewRunner(c Cluster, agents Agents, log *slog.Logger) *Runner {
	return &Runner{cluster: c, agents: agents, log: log}
}

// Scale sets the replicas of a service and follows until they are true.
func (r *Runner) Scale(ctx context.Context, svc fleet.Service, replicas int, emit Emit) (Summary, error) {
	return r.scale(ctx, svc, replicas, emit, nil)
}

// scale lets beside run, where there is one, while it follows.
func (r *Runner) scale(ctx context.Context, svc fleet.Service, replicas int, emit Emit, beside func()) (Summary, error) {
	before, err := r.cluster.Tasks(ctx, svc.ID)
	if err != nil {
		return Summary{}, err
	}
	g := Goal{Desired: replicas, Before: endedTasks(before)}
	begun := time.Now()
	if err := r.cluster.Scale(ctx, svc.ID, replicas); err != nil {
		return Summary{}, err
	}
	step := fmt.Sprintf("scale to %d", replicas)
	if replicas == 0 {
		step = "stop"
	}
	if beside != nil {
		for _, t := range before { // what it does to them is no failure
			g.Before[t.ID] = true
		}
		go beside()
	}
	return r.follow(ctx, svc, g, step, before, begun, emit)
}

// Remove removes a service and follows until its containers are gone.
func (r *Runner) Remove(ctx context.Context, svc fleet.Service, emit Emit) (Summary, error) {
	before, err := r.cluster.Tasks(ctx, svc.ID)
	if err != nil {
		return Summary{}, err
	}
	begun := time.Now()
	if err := r.cluster.Remove(ctx, svc.ID); err != nil {
		return Summary{}, err
	}
	return r.follow(ctx, svc, Goal{Desired: 0}, "remove", before, begun, emit)
}

// follow polls until the goal is true, the change has failed or stalls.
func (r *Runner) follow(ctx context.Context, svc fleet.Service, g Goal, step string, before []fleet.Task, begun time.Time, emit Emit) (Summary, error) {
	var last Progress
	moved, followed, seen := time.Now(), time.Now(), time.Now()
	var good time.Time // since when all is as wanted
	causes := newInquest(r.agents, g.Start)
	var nudged []string // tasks that Swarm does not wait for any more
	for {
		now, nodes, tasks, err := r.look(ctx, svc.ID)
		if err != nil {
			if ctx.Err() != nil || time.Since(seen) >= g.Patience {
				return Summary{}, err
			}
			if err := pause(ctx, time.Second); err != nil {
				return Summary{}, err
			}
			continue
		}
		seen = time.Now()
		tasks = causes.look(ctx, nodes, tasks, g)
		p := Assess(now, nodes, tasks, g)
		if g.Replaced && !begins(svc, now) && time.Since(followed) < updateBegins {
			p.Done = false // what looks done is the version before
		}
		emit(step, p)
		if err := rolledBack(svc, now, p); err != nil {
			return Summary{}, err
		}
		// Swarm waits for late ones without a bound, whatever it is told.
		if g.Limit > 0 && !g.BySwarm && p.Failures >= g.Limit || causes.late > 0 {
			return Summary{}, &failingError{failureOf(svc.Name, p)}
		}
		if fresh := missing(nudged, stuck(nodes, tasks, g)); g.Limit > 0 && updating(now) && len(fresh) > 0 {
			if now.Update != "updating" { // it is on its way back already
				return Summary{}, &failingError{failureOf(svc.Name, p)}
			}
			r.log.Info("have Swarm go on with an update that waits for tasks on lost nodes", "service", svc.Name, "tasks", fresh)
			if err := r.cluster.Nudge(ctx, svc.ID); err != nil {
				return Summary{}, err
			}
			nudged, g.BySwarm = append(nudged, fresh...), false
		}
		if !p.Done {
			good = time.Time{}
		} else if good.IsZero() {
			good = time.Now()
		}
		if p.Done && time.Since(good) >= g.Hold {
			s := summarize(before, tasks, fleet.Snapshot{Nodes: nodes}.NodeName)
			s.Took = time.Since(begun)
			return s, nil
		}
		if p.Running != last.Running || p.Stopping != last.Stopping {
			moved, last = time.Now(), p
		}
		if err := stalled(svc.Name, p, time.Since(moved), max(stallQuiet, g.Quiet)); err != nil {
			return Summary{}, err
		}
		if err := pause(ctx, pollInterval(len(tasks))); err != nil {
			return Summary{}, err
		}
	}
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

// begins says whether Swarm has begun an update after was.
func begins(was fleet.Service, now *fleet.Service) bool {
	return now == nil || now.UpdateStarted.After(was.UpdateStarted)
}

// rolledBack says whether Swarm gave up an update that began after was.
func rolledBack(was fleet.Service, now *fleet.Service, p Progress) error {
	if now == nil || !begins(was, now) {
		return nil
	}
	f := failureOf(was.Name, p)
	if f.cause == "" {
		f.cause = now.Message
	}
	if p.Failures == 0 {
		f.cause += " (none of its tasks failed; if they ended because all was done, run the update again)"
	}
	switch now.Update {
	case "paused":
		return fmt.Errorf("%s: the update stopped halfway: %s; look with `crawlbox ps %s`", was.Name, f.where(), was.Name)
	case "rollback_paused":
		return &stalledError{f, fmt.Sprintf("the way back stopped halfway: %s; look with `crawlbox ps %s`", f.where(), was.Name)}
	case "rollback_completed":
		return &RolledBackError{f}
	}
	return nil
}

// stalled says that a change has come to nothing.
func stalled(name string, p Progress, quiet, allowed time.Duration) error {
	bound, why := allowed, ""
	switch {
	case quiet > stallFailing && p.Starting == 0 && p.Failures > 0:
		bound, why = stallFailing, p.LastErr+on(p.LastNode)
	case quiet > stallFailing && p.Starting == 0 && p.LastErr != "" && p.Running < p.Desired:
		// Such as "no suitable node": nothing fails, nothing will start.
		bound, why = stallFailing, p.LastErr
	case quiet > allowed && p.Stopping > 0:
		why = fmt.Sprintf("%d still stop", p.Stopping)
	case quiet > allowed:
		why = "nothing moves"
	default:
		return nil
	}
	f := failureOf(name, p)
	f.cause = fmt.Sprintf("%d of %d running and no more for %s: %s", p.Running, p.Desired, bound, why)
	f.node = "" // it is in the cause
	return &stalledError{f, fmt.Sprintf("%s; Swarm goes on trying, look with `crawlbox ps %s`", f.cause, name)}
}

func on(node string) string {
	if node == "" {
		return ""
	}
	return " (on " + node + ")"
}

// pollInterval keeps the manager's work for following a change small beside
// the change itself.
func pollInterval(tasks int) time.Duration {
	return min(150*time.Millisecond+time.Duration(tasks)*time.Millisecond, time.Second)
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}
