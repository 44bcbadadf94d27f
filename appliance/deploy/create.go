package deploy

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/crawlbox/crawlbox/appliance/failpoint"
	"github.com/crawlbox/crawlbox/appliance/fleet"
	"github.com/crawlbox/crawlbox/appliance/swarm/servicespec"
)

func (r *Runner) create(ctx context.Context, d Deploy, begun time.Time, emit Emit) (Summary, error) {
	d.Change.Update.Parallelism = d.Share.Of(d.replicas(fleet.Service{Desired: 1}))
	id, err := r.cluster.CreateDeployed(ctx, d.Service, d.Change)
	if err != nil {
		return Summary{}, fmt.Errorf("%s: create the service: %w", d.Service, err)
	}
	failpoint.Hit(failpoint.DeployFlipped)
	r.watching(d)
	svc, err := r.cluster.Service(ctx, id)
	if err != nil || svc.IsJob() {
		return Summary{Took: time.Since(begun)}, err
	}
	g := d.goal(svc)
	g.Hold, g.Limit = cmp.Or(d.Change.Update.Monitor, servicespec.DefaultMonitor), d.limit(svc)
	s, err := r.follow(ctx, svc, g, StageWatch, nil, begun, emit)
	if bad, is := badBy(err); is {
		r.slowDown(ctx, svc, g.Hold)
		return s, &NoOlderError{bad}
	}
	return s, err
}

// slowDown has a service that never worked tried more rarely, unless one of its
// replicas has run through the monitor time: it would be replaced.
func (r *Runner) slowDown(ctx context.Context, svc fleet.Service, monitor time.Duration) {
	tasks, err := r.cluster.Tasks(ctx, svc.ID)
	good := func(t fleet.Task) bool { return t.State == fleet.TaskRunning && time.Since(t.Since) >= monitor }
	if err == nil && !slices.ContainsFunc(tasks, good) {
		err = r.cluster.SlowDown(ctx, svc.ID)
	}
	if err != nil {
		r.log.Warn("have a service tried more rarely that fails", "service", svc.Name, "error", err)
	}
}
