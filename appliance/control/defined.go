package control

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/crawlbox/crawlbox/appliance/api"
	"github.com/crawlbox/crawlbox/appliance/deploy"
	"github.com/crawlbox/crawlbox/appliance/deploy/history"
	"github.com/crawlbox/crawlbox/appliance/fleet"
	"github.com/crawlbox/crawlbox/configs/compose"
)

// stepUnchanged is the step of a deploy that finds nothing to do.
const stepUnchanged = "unchanged"

// stepWait is the step of a deploy while somebody else changes the service.
const stepWait = "wait"

// Definitions reads the config file anew: who has just written it means what it says
// now.
func (b *Backend) Definitions(context.Context) ([]api.Definition, error) {
	if err := b.Defined.Reload(); err != nil {
		return nil, brokenFile(err)
	}
	list := []api.Definition{}
	for _, svc := range b.Defined.Config().Services {
		d := api.Definition{Name: svc.Name, Image: svc.Compose.Image, File: svc.File}
		if build, ok := svc.Build(); ok {
			d.Build = &build
		}
		list = append(list, d)
	}
	return list, nil
}

func brokenFile(err error) error {
	return api.Invalid("%s", strings.ReplaceAll(err.Error(), "\n", "; "))
}

// deployDefined brings one service to what the config file says.
func (b *Backend) deployDefined(ctx context.Context, req api.DeployRequest, fn func(api.Event) error) error {
	svc, err := b.definition(req.Service)
	if err != nil {
		return err
	}
	see := serial(fn)
	return b.report(svc.Name, see, func(emit deploy.Emit) (deploy.Summary, error) {
		for {
			j, mine := b.Defined.Begin(svc.Name, svc.Hash)
			if mine {
				sum, err := b.deployNow(ctx, svc, req, func(step string, p deploy.Progress) { emit(step, p); j.Emit(step, p) })
				j.End(sum, err)
				b.Defined.Again() // to say what came of it
				b.lastWords(ctx, svc.Name, err, see)
				return sum, err
			}
			if same := j.Hash() == svc.Hash && req.Image == ""; same {
				sum, err := j.Follow(ctx, emit)
				if ctx.Err() != nil || !errors.Is(err, context.Canceled) {
					return sum, err
				}
				continue
			}
			emit(stepWait, deploy.Progress{Desired: svc.Replicas(), LastErr: "waits for another change of it that is under way"})
			if _, err := j.Follow(ctx, func(string, deploy.Progress) {}); ctx.Err() != nil {
				return deploy.Summary{}, err
			}
		}
	})
}

// deployNow is a deploy that nobody else is at.
func (b *Backend) deployNow(ctx context.Context, svc compose.Service, req api.DeployRequest, emit deploy.Emit) (deploy.Summary, error) {
	now, dep, err := b.asked(ctx, svc, req)
	if err != nil {
		return deploy.Summary{}, err
	}
	if now != nil && now.Hash == svc.Hash {
		changes, err := b.Engine.Changes(ctx, now.ID, dep.Change)
		if err != nil {
			return deploy.Summary{}, err
		}
		if len(changes) == 0 {
			dep.Source.Tell(emit)
			emit(stepUnchanged, deploy.Progress{Running: now.Running + now.Complete, Complete: now.Complete, Desired: now.Desired, Done: true})
			return deploy.Summary{}, nil
		}
	}
	sum, err := b.Defined.Run(ctx, svc, now, dep, history.Entry{Kind: history.KindDeploy, By: api.PeerUser(ctx)}, emit)
	b.Defined.Settled(svc.Name) // it was tried
	return sum, err
}

// planDefined says what deployDefined would do.
func (b *Backend) planDefined(ctx context.Context, req api.DeployRequest) (api.Plan, error) {
	svc, err := b.definition(req.Service)
	if err != nil {
		return api.Plan{}, err
	}
	var built string
	if build, ok := svc.Build(); ok && req.Image == "" {
		tag, err := b.freeTag(ctx, api.BuildRequest{Repository: build.Repository, Tag: build.Tag})
		if err != nil {
			return api.Plan{}, err
		}
		req.Image = fmt.Sprintf("localhost:%d/%s:%s", b.Cfg.Registry.Port, build.Repository, tag)
		built = fmt.Sprintf("build: %s as %s, and push it", build.Context, req.Image)
	}
	now, dep, err := b.asked(ctx, svc, req)
	if err != nil {
		return api.Plan{}, b.explain(err)
	}
	return b.forecast(svc.Name)(b.Runner.PlanDeploy(ctx, now, dep, built))
}

// definition finds a service of the config file, as the file is now.
func (b *Backend) definition(name string) (compose.Service, error) {
	if err := b.Defined.Reload(); err != nil {
		return compose.Service{}, brokenFile(err)
	}
	var known []string
	for _, svc := range b.Defined.Config().Services {
		if svc.Name == name {
			return svc, nil
		}
		known = append(known, svc.Name)
	}
	return compose.Service{}, unknown("service", name, known, b.Cfg.File+" has none of this name")
}

// asked is the deploy of a definition that a person asks for, and the service that
// there is.
func (b *Backend) asked(ctx context.Context, svc compose.Service, req api.DeployRequest) (*fleet.Service, deploy.Deploy, error) {
	now, dep, err := b.Defined.Asked(ctx, svc, req.Image)
	if err != nil {
		return nil, deploy.Deploy{}, err
	}
	dep.StartTimeout = req.StartTimeout
	dep.Stage, err = stagePolicy(req)
	return now, dep, err
}

func stagePolicy(req api.DeployRequest) (p deploy.StagePolicy, err error) {
	p.Timeout = cmp.Or(req.StageTimeout, DefaultStageTimeout)
	if p.Quorum, err = deploy.ParseShare(cmp.Or(req.StageQuorum, defaultQuorum)); err != nil {
		err = api.Invalid("stage quorum: %s", err)
	}
	return p, err
}

// forecast gives what would be done the form of the API.
func (b *Backend) forecast(service string) func(deploy.Forecast, error) (api.Plan, error) {
	return func(f deploy.Forecast, err error) (api.Plan, error) {
		return api.Plan{Service: service, Action: string(f.Action), Changes: f.Changes, Steps: f.Steps}, b.explain(err)
	}
}

// pinned is the image that a service runs, with its digest where that is known.
func pinned(svc fleet.Service) string {
	return strings.TrimSuffix(svc.Image+"@"+svc.Digest, "@")
}
