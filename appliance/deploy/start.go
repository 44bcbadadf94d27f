package deploy

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"github.com/crawlbox/crawlbox/appliance/base/words"
	"github.com/crawlbox/crawlbox/appliance/deploy/history"
	"github.com/crawlbox/crawlbox/appliance/fleet"
)

// Start runs a service again that was stopped, or whose replicas have all ended well, with
// as many replicas as it had or, if that is more than 0, as are given. It follows until they
// run. A service that runs is left alone; one that has ended in part is refused: Swarm can
// start what has ended only together with what runs.
func (r *Runner) Start(svc fleet.Service, replicas int) Change {
	n := cmp.Or(replicas, svc.Desired, svc.Before, 1)
	return operation{
		service: svc.Name,
		plan: func(context.Context) (Plan, error) {
			step, err := startStep(svc, n)
			return Plan{Steps: []string{step}}, err
		},
		run: func(ctx context.Context, emit Emit) (Summary, error) {
			if _, err := startStep(svc, n); err != nil {
				return Summary{}, err
			}
			return r.start(ctx, svc, n, emit)
		},
	}
}

// startStep returns a start in words, or why there is none.
func startStep(svc fleet.Service, n int) (string, error) {
	switch {
	case svc.IsJob():
		return "", Conflict("service %s is a %s, which Swarm runs once; remove it with `crawlbox rm %s` and deploy it "+
			"anew", svc.Name, svc.Mode, svc.Name)
	case svc.Pending != "":
		return "", Conflict("service %s is being updated; see `crawlbox ps %s`", svc.Name, svc.Name)
	case svc.IsStopped():
		return fmt.Sprintf("start: service %s with %s", svc.Name, words.Count(n, "replica")), nil
	case svc.IsFinished():
		return fmt.Sprintf("start: service %s with %s; the %d that have finished run again", svc.Name,
			words.Count(n, "replica"), svc.Complete), nil
	case svc.Complete > 0:
		return "", Conflict("%d of %d replicas of service %s have finished and the others have not; wait for them, or "+
			"replace all with `crawlbox restart %s`", svc.Complete, svc.Desired, svc.Name, svc.Name)
	}
	return fmt.Sprintf("service %s runs already: nothing to do", svc.Name), nil
}

func (r *Runner) start(ctx context.Context, svc fleet.Service, n int, emit Emit) (Summary, error) {
	if !svc.IsStopped() && !svc.IsFinished() {
		emit(Progress{Stage: history.StageUnchanged, Running: svc.Running, Desired: svc.Desired})
		return Summary{}, nil
	}
	release, err := r.claim(svc.Name)
	if err != nil {
		return Summary{}, err
	}
	defer release()
	before, err := r.cluster.Tasks(ctx, svc.ID)
	if err != nil {
		return Summary{}, err
	}
	var d Deploy
	d.Change.Image = svc.Pinned()
	r.tellQueue(ctx, &d)
	begun := time.Now()
	if err := r.cluster.Start(ctx, svc.ID, n, d.Change.Queue); err != nil {
		return Summary{}, err
	}
	g := Goal{Desired: n, Before: endedTasks(before), Replaced: svc.IsFinished(), Old: idsOf(before)}
	return r.follow(ctx, svc, g, history.StageStart, before, begun, emit)
}
