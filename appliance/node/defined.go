package node

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/crawlbox/crawlbox/appliance/api"
	"github.com/crawlbox/crawlbox/appliance/control"
	"github.com/crawlbox/crawlbox/appliance/deploy"
	"github.com/crawlbox/crawlbox/appliance/fleet"
	"github.com/crawlbox/crawlbox/appliance/swarm"
	"github.com/crawlbox/crawlbox/appliance/swarm/servicespec"
	"github.com/crawlbox/crawlbox/configs/compose"
)

// errNotBuilt is of a service with `build:` that has no image yet: crawlbox builds
// when it is told to, and not by itself when it starts.
var errNotBuilt = errors.New("not deployed yet")

// imageOf is the image that a service of the config file is to run, with its digest:
// the one that its definition names, or the one that was built for it last.
func (r *reconciler) imageOf(ctx context.Context, svc compose.Service, now *fleet.Service) (image string, from *deploy.Source, err error) {
	if svc.Compose.Build == nil {
		image, from, err := r.past.sources.Resolve(ctx, svc.Compose.Image)
		// A service with an image that nobody pushed would start later, by its tag,
		// with whatever each node finds under it then.
		if errors.Is(err, swarm.ErrNoImage) {
			return "", nil, fmt.Errorf("%w %s; it starts once that is pushed", swarm.ErrNoImage, svc.Compose.Image)
		}
		return image, from, err
	}
	if now != nil && now.Managed && now.Digest != "" && r.builtFor(svc, now.Image) {
		return now.Image + "@" + now.Digest, nil, nil
	}
	if last := r.past.lastGood(svc.Name); last != nil && r.builtFor(svc, last.Image) {
		return last.Image, nil, nil
	}
	return "", nil, fmt.Errorf("%w: run `crawlbox deploy %s`", errNotBuilt, svc.Name)
}

// builtFor says whether an image was built for a service.
func (r *reconciler) builtFor(svc compose.Service, image string) bool {
	b, _ := svc.Build()
	return strings.HasPrefix(image, fmt.Sprintf("localhost:%d/%s:", r.Config().Registry.Port, b.Repository))
}

// definedDeploy is the deploy that brings a service to its definition.
func definedDeploy(svc compose.Service, image string, from *deploy.Source) deploy.Deploy {
	policy, said := servicespec.DefinedPolicy(svc)
	share := deploy.ShareOf(policy.Parallelism)
	if svc.Mode() == compose.ModeReplicated && !said {
		share = deploy.DefaultShare
	}
	constraints := []string{}
	if d := svc.Compose.Deploy; d != nil {
		constraints = append(constraints, d.Placement.Constraints...)
	}
	return deploy.Deploy{
		Service: svc.Name, Share: share, Source: from,
		Stage:  deploy.StagePolicy{Quorum: deploy.ShareOf(0), Timeout: control.DefaultStageTimeout},
		Change: servicespec.Deployment{Image: image, Definition: &svc, Constraints: constraints, Update: policy},
	}
}

// Asked is the deploy of a definition that a person asks for, and the service that
// there is. What was stopped starts again.
func (r *reconciler) Asked(ctx context.Context, svc compose.Service, image string) (*fleet.Service, deploy.Deploy, error) {
	snap, err := r.engine.Snapshot(ctx)
	if err != nil {
		return nil, deploy.Deploy{}, err
	}
	var now *fleet.Service
	if s, there := snap.Service(svc.Name); there {
		now = &s
	}
	switch {
	case now != nil && !now.Managed:
		return nil, deploy.Deploy{}, api.Conflict("a service %s exists that is not from %s; remove it with `crawlbox rm %s`, or rename the one in the file", svc.Name, r.file, svc.Name)
	case now != nil && now.Pending != "":
		return nil, deploy.Deploy{}, api.Conflict("service %s is being updated; see `crawlbox ps %s`", svc.Name, svc.Name)
	}
	var from *deploy.Source
	if image == "" {
		if image, from, err = r.imageOf(ctx, svc, now); errors.Is(err, errNotBuilt) {
			err = api.Conflict("service %s: %s", svc.Name, err)
		}
		if err != nil {
			return nil, deploy.Deploy{}, err
		}
	}
	dep := definedDeploy(svc, image, from)
	dep.Change.KeepReplicas = now != nil && now.Desired > 0 && deploy.KeepReplicas(*now, svc.Replicas())
	return now, dep, nil
}
