package deploy

import (
	"cmp"
	"context"
	"fmt"
	"strings"

	"github.com/crawlbox/crawlbox/appliance/base/words"
	"github.com/crawlbox/crawlbox/appliance/fleet"
	"github.com/crawlbox/crawlbox/appliance/swarm/servicespec"
)

// silently is for what nobody follows.
func silently(Progress) {}

func (r *Runner) planDeploy(ctx context.Context, svc *fleet.Service, d Deploy) (Plan, error) {
	isHere := d.Built == nil && !d.Source.copies()
	if isHere {
		d.Change.Platforms = r.cluster.Platforms(ctx, d.Change.Image)
	}
	r.tellQueue(ctx, &d)
	nodes, err := r.eligibleNodes(ctx, svc, d, silently)
	if err != nil {
		return Plan{}, err
	}
	f := Plan{Action: Create}
	if svc != nil {
		f.Action = Replace
		if f.Changes, err = r.cluster.Changes(ctx, svc.ID, d.Change); err != nil {
			return f, err
		}
		if len(f.Changes) == 0 && isHere {
			return Plan{
				Action: Unchanged,
				Steps:  []string{fmt.Sprintf("service %s is so already: nothing to do", svc.Name)},
			}, nil
		}
	}
	if d.Built != nil {
		f.Steps = append(f.Steps, d.Built.Step)
	}
	f.Steps = append(f.Steps, d.Source.steps(d.Change.Image)...)
	f.Steps = append(f.Steps, d.pullStep(len(nodes)), d.updateStep(svc))
	if svc == nil || !svc.IsJob() {
		f.Steps = append(f.Steps, d.watchStep(svc))
	}
	return f, nil
}

// shortImage returns an image with the beginning of its digest, as people compare it.
func shortImage(pinned string) string {
	name, digest, _ := strings.Cut(pinned, "@")
	name = fleet.FamiliarImage(name)
	if hex := strings.TrimPrefix(digest, "sha256:"); len(hex) > 12 {
		return name + " (" + hex[:12] + ")"
	}
	return name
}

func (d Deploy) pullStep(nodes int) string {
	pull := fmt.Sprintf("pull: bring %s onto %s", shortImage(d.Change.Image), words.Count(nodes, "node"))
	within := strings.TrimSuffix(d.Pull.Timeout.String(), "m0s") // 5, of 5m0s
	if within != d.Pull.Timeout.String() {
		within += "m"
	}
	if d.Pull.Quorum.Least(100) == 100 {
		return pull + " within " + within
	}
	return fmt.Sprintf("%s, %s of them within %s", pull, d.Pull.Quorum, within)
}

func (d Deploy) updateStep(svc *fleet.Service) string {
	if svc == nil {
		n := d.replicas(fleet.Service{Desired: 1})
		return fmt.Sprintf("update: create service %s with %s", d.Service, words.Count(n, "replica"))
	}
	n := d.replicas(*svc)
	if d.Change.Restart {
		return fmt.Sprintf("update: replace the replicas of service %s, %s of %d at a time", svc.Name, d.Share, n)
	}
	update := fmt.Sprintf("update: change service %s, %s of %s at a time", svc.Name, d.Share, words.Count(n, "replica"))
	if n != svc.Desired {
		update += fmt.Sprintf(", from %d to %d replicas", svc.Desired, n)
	}
	return update
}

func (d Deploy) watchStep(svc *fleet.Service) string {
	p := d.Change.Update
	watch := fmt.Sprintf("watch: until all have run for %s", cmp.Or(p.Monitor, servicespec.DefaultMonitor))
	switch {
	case svc == nil:
		return watch
	case p.FailureRatio > 0:
		return watch + fmt.Sprintf("; back to %s if more than %.0f%% fail", shortImage(svc.Image), 100*p.FailureRatio)
	}
	return watch + fmt.Sprintf("; back to %s if one fails", shortImage(svc.Image))
}

func (r *Runner) planStopFirst(ctx context.Context, svc fleet.Service, d Deploy) (Plan, error) {
	d.Change.Platforms = r.cluster.Platforms(ctx, d.Change.Image)
	nodes, err := r.eligibleNodes(ctx, &svc, d, silently)
	n := stoppedReplicas(svc)
	return Plan{Action: Replace, Changes: []string{"image"}, Steps: append(d.Source.steps(d.Change.Image),
		d.pullStep(len(nodes)),
		fmt.Sprintf("stop: service %s, all %d replicas", svc.Name, svc.Desired),
		fmt.Sprintf("start: %s of %s", words.Count(n, "replica"), shortImage(d.Change.Image)),
	)}, err
}

// scaleStep returns a change of a service's replicas, in words.
func scaleStep(svc fleet.Service, replicas int) string {
	switch n := replicas - svc.Desired; {
	case n == 0:
		return fmt.Sprintf("service %s has %s already: nothing to do", svc.Name, words.Count(replicas, "replica"))
	case replicas == 0:
		return fmt.Sprintf("stop: service %s, all %d replicas", svc.Name, svc.Desired)
	case n < 0:
		return fmt.Sprintf("scale: service %s from %d to %s, stop %d", svc.Name, svc.Desired,
			words.Count(replicas, "replica"), -n)
	default:
		return fmt.Sprintf("scale: service %s from %d to %s, start %d", svc.Name, svc.Desired,
			words.Count(replicas, "replica"), n)
	}
}
