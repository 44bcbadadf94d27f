package deploy

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/crawlbox/crawlbox/appliance/deploy/history"
	"github.com/crawlbox/crawlbox/appliance/failpoint"
	"github.com/crawlbox/crawlbox/appliance/fleet"
	"github.com/crawlbox/crawlbox/appliance/swarm/servicespec"
)

func (r *Runner) create(ctx context.Context, d Deploy, begun time.Time, emit Emit) (Summary, error) {
	d.Change.Update.Parallelism = d.Share.Of(d.replicas(fleet.Service{Desired: 1}))
	id, _, err := r.change(ctx, nil, d)
	if err != nil {
		return Summary{}, fmt.Errorf("%s: %s%w", d.Service, history.Untaken, err)
	}
	failpoint.Hit(failpoint.DeployUpdated)
	r.watching(d)
	svc, err := r.service(ctx, id)
	if err != nil || svc.IsJob() {
		return Summary{Took: time.Since(begun)}, err
	}
	g := d.goal(svc)
	g.Hold, g.Limit = g.Monitor, d.limit(svc)
	s, err := r.follow(ctx, svc, g, history.StageWatch, nil, begun, emit)
	if bad, is := failureIn(err); is {
		r.slowDown(ctx, svc, g.Hold)
		return s, &NoOlderError{failure: bad}
	}
	return s, err
}

// slowDown has a service that never worked tried more rarely, unless one of its
// replicas has run through the monitor time: it would be replaced.
func (r *Runner) slowDown(ctx context.Context, svc fleet.Service, monitor time.Duration) {
	tasks, err := r.cluster.Tasks(ctx, svc.ID)
	good := func(t fleet.Task) bool { return t.State == fleet.TaskRunning && hasRunFor(t, monitor) }
	if err == nil && !slices.ContainsFunc(tasks, good) {
		err = r.cluster.SlowDown(ctx, svc.ID)
	}
	if err != nil {
		r.log.Warn("failed to slow down the restarts of a failing service", "service", svc.Name, "error", err)
	}
}

// update changes a service as it is now: the pull may have taken long.
func (r *Runner) update(ctx context.Context, id string, d Deploy, begun time.Time, emit Emit) (Summary, error) {
	svc, before, err := r.serviceAndTasks(ctx, id)
	if err != nil {
		return Summary{}, err
	}
	old, err := r.currentSpec(ctx, svc)
	if err != nil {
		return Summary{}, err
	}
	former := r.former(svc, before)
	knowsQueue := d.Change.Queue != nil && d.Change.Queue.URL != "" && !svc.Pauses // which is a choice of somebody
	d.Change.Watched = (fleet.Finishes(before) || former == formerNever || knowsQueue) && !d.definesFailureAction()
	d.Change.Update.Parallelism = d.Share.Of(d.replicas(svc))
	_, replaced, err := r.change(ctx, &svc, d)
	if err != nil {
		return Summary{}, fmt.Errorf("%s: %s%w", svc.Name, history.Untaken, err)
	}
	failpoint.Hit(failpoint.DeployUpdated)
	r.watching(d)
	if svc.IsJob() {
		return Summary{Took: time.Since(begun)}, nil
	}
	g := d.goal(svc)
	if g.Before, g.Replaced = endedTasks(before), replaced && len(before) > 0; g.Replaced {
		g.Old = idsOf(before)
	}
	g.Limit, g.BySwarm, g.Former = d.limit(svc), !d.Change.Watched, former
	s, err := r.follow(ctx, svc, g, history.StageWatch, before, begun, emit)
	if errors.Is(err, context.DeadlineExceeded) && ctx.Err() != nil {
		err = &stalledError{
			failure{service: svc.Name, cause: fmt.Sprintf("it did not end within %s", d.bound(&svc))},
			"it did not end",
		}
	}
	bad, failed := failureIn(err)
	switch none := (*NoOlderError)(nil); {
	case failed && g.Former == formerNever:
		r.slowDown(ctx, svc, cmp.Or(d.Change.Update.Monitor, svc.UpdateMonitor, servicespec.DefaultMonitor))
		bad.former = g.Former
		return s, &NoOlderError{bad, r.lastDone(svc.Name)}
	case errors.As(err, &none): // Swarm went by the definition
		none.good = r.lastDone(svc.Name)
	case failed && !d.keepsBadVersion():
		bad.former = g.Former
		return s, r.rollBack(ctx, svc, old, bad, emit)
	}
	return s, err
}

// former tells what the version of a service that there is does, by its tasks and by the history.
func (r *Runner) former(svc fleet.Service, tasks []fleet.Task) former {
	by := formerOf(svc, r.blamable(svc, tasks), time.Now())
	past := r.entries(svc.Name)
	made := slices.IndexFunc(past, func(e history.Entry) bool { return e.Mark() == svc.Deploy })
	if by == formerStopped || made < 0 || past[made].Result != history.Failed {
		return by
	}
	// It may have recovered, such as from a queue that was away.
	monitor := cmp.Or(svc.UpdateMonitor, servicespec.DefaultMonitor)
	if by == formerRan && slices.ContainsFunc(tasks, func(t fleet.Task) bool { return hasRunFor(t, monitor) }) {
		return formerRan
	}
	return formerNever
}

func hasRunFor(t fleet.Task, monitor time.Duration) bool {
	return t.State == fleet.TaskComplete ||
		t.State == fleet.TaskRunning && t.Desired == fleet.TaskRunning && time.Since(t.Since) >= monitor
}

// entries returns the history of a service, as far as there is one here.
func (r *Runner) entries(service string) []history.Entry {
	if r.past == nil {
		return nil
	}
	return r.past.List(service)
}

// lastDone returns the number of the version that worked last, 0 where none did.
func (r *Runner) lastDone(service string) int {
	for _, e := range r.entries(service) {
		if e.Result == history.Done && e.Digest != "" {
			return e.Version
		}
	}
	return 0
}

// rollBack brings the old version back where Swarm does not by itself. It would
// take the end of the old tasks, too, for a failure, so this is a deploy of its own,
// with a bound of its own.
func (r *Runner) rollBack(ctx context.Context, svc fleet.Service, old servicespec.Deployment, why failure,
	emit Emit) error {
	d := Deploy{Service: svc.Name, Change: old}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), d.bound(&svc))
	defer cancel()
	svc, before, err := r.serviceAndTasks(ctx, svc.ID)
	if err != nil {
		return err
	}
	old.Watched, old.Avoid = true, svc.Avoids
	replaced, err := r.cluster.Deploy(ctx, svc.ID, old)
	if err != nil {
		return fmt.Errorf("%s: the update failed: %s, and the old version could not be brought back: %w; see "+
			"`crawlbox ps %s`", svc.Name, why.where(), err, svc.Name)
	}
	if why.former == formerFailed { // it is not waited for what it never did
		return &NoOlderError{why, r.lastDone(svc.Name)}
	}
	g := d.goal(svc)
	g.Before, g.Replaced = endedTasks(before), replaced && len(before) > 0
	g.Limit = math.MaxInt // there is nothing more to go back to
	if _, err := r.follow(ctx, svc, g, history.StageRollBack, before, time.Now(), emit); err != nil {
		return fmt.Errorf("%s: the update failed: %s, and the old version does not run in full again: %w", svc.Name,
			why.where(), err)
	}
	return &RolledBackError{why}
}

func (r *Runner) serviceAndTasks(ctx context.Context, id string) (svc fleet.Service, tasks []fleet.Task, err error) {
	if svc, err = r.service(ctx, id); err == nil {
		tasks, err = patiently(ctx, func(ctx context.Context) ([]fleet.Task, error) { return r.cluster.Tasks(ctx, id) })
	}
	return svc, tasks, err
}

// currentSpec returns the change that brings a service back to what it is now.
func (r *Runner) currentSpec(ctx context.Context, svc fleet.Service) (servicespec.Deployment, error) {
	spec, err := patiently(ctx, func(ctx context.Context) (json.RawMessage, error) {
		return r.cluster.Spec(ctx, svc.ID)
	})
	old := servicespec.Deployment{
		Image:  svc.Pinned(),
		Spec:   spec,
		Update: servicespec.UpdatePolicy{Parallelism: Parallelism(svc.Desired)},
	}
	if svc.Mode == fleet.ModeReplicated {
		old.Replicas = &svc.Desired
	}
	return old, err
}
