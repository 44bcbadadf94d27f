package deploy

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/crawlbox/crawlbox/appliance/fleet"
	"github.com/crawlbox/crawlbox/appliance/swarm/servicespec"
)

// rollBack brings the old version back where Swarm does not by itself. It would
// take the end of the old tasks, too, for a failure, so this is a deploy of its own,
// with a bound of its own.
func (r *Runner) rollBack(ctx context.Context, svc fleet.Service, old servicespec.Deployment, why failure, emit Emit) error {
	d := Deploy{Service: svc.Name, Change: old}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), d.bound(&svc))
	defer cancel()
	svc, before, err := r.serviceAndTasks(ctx, svc.ID)
	if err != nil {
		return err
	}
	old.Watched = true
	replaced, err := r.cluster.Deploy(ctx, svc.ID, old)
	if err != nil {
		return fmt.Errorf("%s: the update failed: %s, and the old version could not be brought back: %w; see `crawlbox ps %s`", svc.Name, why.where(), err, svc.Name)
	}
	g := d.goal(svc)
	g.Before, g.Replaced = endedTasks(before), replaced && len(before) > 0
	g.Limit = math.MaxInt // there is nothing more to go back to
	if _, err := r.follow(ctx, svc, g, "roll back", before, time.Now(), emit); err != nil {
		return fmt.Errorf("%s: the update failed: %s, and the old version does not run in full again: %w", svc.Name, why.where(), err)
	}
	return &RolledBackError{why}
}

func (r *Runner) serviceAndTasks(ctx context.Context, id string) (svc fleet.Service, tasks []fleet.Task, err error) {
	if svc, err = r.cluster.Service(ctx, id); err == nil {
		tasks, err = r.cluster.Tasks(ctx, id)
	}
	return svc, tasks, err
}

// asItIs is what brings a service back to what it is now.
func (r *Runner) asItIs(ctx context.Context, svc fleet.Service) (servicespec.Deployment, error) {
	spec, err := r.cluster.Spec(ctx, svc.ID)
	old := servicespec.Deployment{Image: svc.Image, Spec: spec, Update: servicespec.UpdatePolicy{Parallelism: Parallelism(svc.Desired)}}
	if svc.Digest != "" {
		old.Image += "@" + svc.Digest
	}
	if svc.Mode == fleet.ModeReplicated {
		old.Replicas = &svc.Desired
	}
	return old, err
}

// Rewatch follows a deploy to the image with the digest whose beginning another
// process saw; old is the version to go back to, nil where none is known. Its
// errors are those of Deploy.
func (r *Runner) Rewatch(ctx context.Context, svc fleet.Service, digest string, old *servicespec.Deployment) (Summary, error) {
	release, err := r.claim(svc.Name)
	if err != nil {
		return Summary{}, err
	}
	defer release()
	d := Deploy{Service: svc.Name, Change: servicespec.Deployment{Image: "@" + digest}}
	ctx, cancel := context.WithTimeout(ctx, d.bound(&svc))
	defer cancel()
	tasks, err := r.cluster.Tasks(ctx, svc.ID)
	if err != nil {
		return Summary{}, err
	}
	g := d.goal(svc)
	g.Before = endedTasks(slices.DeleteFunc(tasks, func(t fleet.Task) bool { return !t.Created.Before(svc.UpdateStarted) }))
	g.Limit, g.BySwarm = 1, true
	if svc.Tolerates || svc.UpdateStarted.IsZero() {
		g.BySwarm, g.Hold = false, cmp.Or(svc.UpdateMonitor, servicespec.DefaultMonitor)
	}
	begun := svc.UpdateStarted
	svc.UpdateStarted = time.Time{} // whatever came of it counts
	s, err := r.follow(ctx, svc, g, StageWatch, nil, begun, func(string, Progress) {})
	bad, is := badBy(err)
	switch {
	case is && old == nil:
		return s, &NoOlderError{bad}
	case is:
		old.Update.Parallelism = Parallelism(svc.Desired)
		return s, r.rollBack(ctx, svc, *old, bad, func(string, Progress) {})
	}
	return s, err
}
