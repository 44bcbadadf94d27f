package services

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/crawlbox/crawlbox/appliance/deploy"
	"github.com/crawlbox/crawlbox/appliance/deploy/history"
	"github.com/crawlbox/crawlbox/appliance/fleet"
	"github.com/crawlbox/crawlbox/appliance/swarm"
	"github.com/crawlbox/crawlbox/appliance/swarm/servicespec"
	"github.com/crawlbox/crawlbox/configs/compose"
)

// errNotBuilt is returned for a service with `build:` that has no image yet: crawlbox builds
// when it is told to, and not by itself when it starts.
var errNotBuilt = errors.New("not deployed yet")

// Request holds what a person says who asks for a service of the config file.
type Request struct {
	By           string
	Image        string        // that it should run; empty: the one that its definition names, or that was built last
	Built        *deploy.Build // what is done before, for a plan without the image
	StartTimeout time.Duration
	Pull         deploy.PullPolicy
}

// Change returns the change that brings a service to its definition. What was stopped
// starts again. It waits for another change of the service to its definition that is under
// way, and follows one that is the same.
func (c *Controller) Change(svc compose.Service, req Request) deploy.Change {
	return asked{Controller: c, svc: svc, req: req}
}

// asked is a change to a definition that a person asks for.
type asked struct {
	*Controller
	svc compose.Service
	req Request
}

func (a asked) Plan(ctx context.Context) (deploy.Plan, error) {
	change, err := a.change(ctx)
	if err != nil {
		return deploy.Plan{}, err
	}
	return change.Plan(ctx)
}

func (a asked) Run(ctx context.Context, emit deploy.Emit) error {
	name, hash := a.svc.Name, a.svc.Hash
	for {
		j, mine := a.jobs.begin(name, hash)
		if mine {
			err := a.run(ctx, func(p deploy.Progress) { emit(p); j.emit(p) })
			a.jobs.end(name, j, err)
			a.Again() // to say what came of it
			return err
		}
		if same := j.hash == hash && a.req.Image == ""; same {
			err := j.follow(ctx, emit)
			if ctx.Err() != nil || !errors.Is(err, context.Canceled) {
				return err
			}
			continue
		}
		emit(deploy.Progress{
			Service: name,
			Stage:   history.StageWait,
			Desired: a.svc.Replicas(),
			Note:    "waits for another change of it that is under way",
		})
		if err := j.follow(ctx, func(deploy.Progress) {}); ctx.Err() != nil {
			return err
		}
	}
}

func (a asked) run(ctx context.Context, emit deploy.Emit) error {
	change, err := a.change(ctx)
	if err != nil {
		return err
	}
	if err = change.Run(ctx, emit); err == nil && a.IsAway(a.svc) {
		err = a.LetBack(a.svc.Name)
	}
	a.clearNote(a.svc.Name) // it was tried
	return err
}

// change compares the definition with the service that there is.
func (a asked) change(ctx context.Context) (deploy.Change, error) {
	snap, err := a.engine.Snapshot(ctx)
	if err != nil {
		return nil, err
	}
	now := serviceOf(snap, a.svc.Name)
	switch {
	case now != nil && !now.Managed && now.Deploy == "":
		return nil, deploy.Conflict("service %s: %s", now.Name, refusal(*now))
	case now != nil && now.Pending != "":
		return nil, deploy.Conflict("service %s is being updated; see `crawlbox ps %s`", now.Name, now.Name)
	}
	image, from := a.req.Image, (*deploy.Source)(nil)
	switch {
	case image == "":
		if image, from, err = a.imageOf(ctx, a.svc, now); errors.Is(err, errNotBuilt) {
			err = deploy.Conflict("service %s: %s", a.svc.Name, err)
		}
	case a.req.Built == nil && !strings.Contains(image, "@"):
		image, from, err = a.sources.Resolve(ctx, image)
	}
	if err != nil {
		return nil, err
	}
	d := deployOf(a.svc, image, from)
	d.Change.KeepReplicas = now != nil && now.Desired > 0 && keepsReplicas(*now, a.svc)
	d.StartTimeout, d.Pull, d.Built = a.req.StartTimeout, a.req.Pull, a.req.Built
	d.Entry = history.Entry{Kind: history.KindDeploy, By: a.req.By, Definition: a.svc.Hash}
	d.IfChanged = now != nil && now.Hash == a.svc.Hash
	return a.runner.Deploy(now, d), nil
}

// imageOf returns the image that a service of the config file is to run, with its digest:
// the one that its definition names, or the one that was built for it last.
func (c *Controller) imageOf(ctx context.Context, svc compose.Service,
	now *fleet.Service) (image string, from *deploy.Source, err error) {
	if svc.Compose.Build == nil {
		image, from, err := c.sources.Resolve(ctx, svc.Compose.Image)
		// A service with an image that was not pushed would start later, by its tag,
		// with whatever each node finds under it then.
		if errors.Is(err, swarm.ErrNoImage) {
			return "", nil, fmt.Errorf("%w %s; it starts once that is pushed", swarm.ErrNoImage, svc.Compose.Image)
		}
		return image, from, err
	}
	if now != nil && now.Managed && now.Digest != "" && c.builtFor(svc, now.Image) {
		return now.Image + "@" + now.Digest, nil, nil
	}
	if last := c.runner.LastGood(svc.Name); last != nil && c.builtFor(svc, last.Image) {
		return last.Image, nil, nil
	}
	return "", nil, fmt.Errorf("%w: run `crawlbox deploy %s`", errNotBuilt, svc.Name)
}

func (c *Controller) builtFor(svc compose.Service, image string) bool {
	b, _ := svc.Build()
	return strings.HasPrefix(image, fmt.Sprintf("localhost:%d/%s:", c.Config().Registry.Port, b.Repository))
}

// deployOf returns the deploy that brings a service to its definition.
func deployOf(svc compose.Service, image string, from *deploy.Source) deploy.Deploy {
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
		Service: svc.Name,
		Share:   share,
		Source:  from,
		Pull:    deploy.DefaultPullPolicy,
		Change:  servicespec.Deployment{Image: image, Definition: &svc, Constraints: constraints, Update: policy},
	}
}
