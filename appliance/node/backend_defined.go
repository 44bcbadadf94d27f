package node

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/crawlbox/crawlbox/appliance/api"
	"github.com/crawlbox/crawlbox/appliance/fleet"
	"github.com/crawlbox/crawlbox/appliance/history"
	"github.com/crawlbox/crawlbox/appliance/rollout"
	"github.com/crawlbox/crawlbox/configs"
)

// stepUnchanged is the step of a deploy that finds nothing to do.
const stepUnchanged = "unchanged"

// stepWait is the step of a deploy while somebody else changes the service.
const stepWait = "wait"

// Definitions reads the config file anew: who has just written it means what it says
// now.
func (b *backend) Definitions(context.Context) ([]api.Definition, error) {
	if b.defined == nil {
		return nil, b.onlyOn("the config file with the services")
	}
	if err := b.defined.reload(); err != nil {
		return nil, brokenFile(err)
	}
	list := []api.Definition{}
	for _, svc := range b.defined.config().Services {
		d := api.Definition{Name: svc.Name, Image: svc.Compose.Image, File: svc.File}
		if build, ok := svc.Build(); ok {
			d.Build = &build
		}
		list = append(list, d)
	}
	return list, nil
}

func brokenFile(err error) error { return invalid("%s", *line("", err)) }

// deployDefined brings one service to what the config file says.
func (b *backend) deployDefined(ctx context.Context, req api.DeployRequest, fn func(api.Event) error) error {
	svc, err := b.definition(req.Service)
	if err != nil {
		return err
	}
	see := serial(fn)
	return b.report(svc.Name, see, func(emit rollout.Emit) (rollout.Summary, error) {
		for {
			j, mine := b.defined.begin(svc.Name, svc.Hash)
			if mine {
				sum, err := b.deployNow(ctx, svc, req, func(step string, p rollout.Progress) { emit(step, p); j.emit(step, p) })
				b.defined.end(svc.Name, j, sum, err)
				b.defined.again() // to say what came of it
				b.lastWords(ctx, svc.Name, err, see)
				return sum, err
			}
			if same := j.hash == svc.Hash && req.Image == ""; same {
				sum, err := j.follow(ctx, emit)
				if ctx.Err() != nil || !errors.Is(err, context.Canceled) {
					return sum, err
				}
				continue
			}
			emit(stepWait, rollout.Progress{Desired: svc.Replicas(), LastErr: "waits for another change of it that is under way"})
			if _, err := j.follow(ctx, func(string, rollout.Progress) {}); ctx.Err() != nil {
				return rollout.Summary{}, err
			}
		}
	})
}

// deployNow is a deploy that nobody else is at.
func (b *backend) deployNow(ctx context.Context, svc configs.Service, req api.DeployRequest, emit rollout.Emit) (rollout.Summary, error) {
	now, dep, err := b.defined.asked(ctx, svc, req)
	if err != nil {
		return rollout.Summary{}, err
	}
	if now != nil && now.Hash == svc.Hash {
		changes, err := b.engine.Changes(ctx, now.ID, dep.Change)
		if err != nil {
			return rollout.Summary{}, err
		}
		if len(changes) == 0 {
			dep.Source.Tell(emit)
			emit(stepUnchanged, rollout.Progress{Running: now.Running + now.Complete, Complete: now.Complete, Desired: now.Desired, Done: true})
			return rollout.Summary{}, nil
		}
	}
	sum, err := b.defined.run(ctx, svc, now, dep, history.Entry{Kind: history.KindDeploy, By: api.PeerUser(ctx)}, emit)
	b.defined.settled(svc.Name) // it was tried
	return sum, err
}

// planDefined says what deployDefined would do.
func (b *backend) planDefined(ctx context.Context, req api.DeployRequest) (api.Plan, error) {
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
		req.Image = fmt.Sprintf("localhost:%d/%s:%s", b.cfg.Registry.Port, build.Repository, tag)
		built = fmt.Sprintf("build: %s as %s, and push it", build.Context, req.Image)
	}
	now, dep, err := b.defined.asked(ctx, svc, req)
	if err != nil {
		return api.Plan{}, b.explain(err)
	}
	return b.forecast(svc.Name)(b.runner.PlanDeploy(ctx, now, dep, built))
}

// definition finds a service of the config file, as the file is now.
func (b *backend) definition(name string) (configs.Service, error) {
	if b.defined == nil {
		return configs.Service{}, b.onlyOn("the config file with the services")
	}
	if err := b.defined.reload(); err != nil {
		return configs.Service{}, brokenFile(err)
	}
	var known []string
	for _, svc := range b.defined.config().Services {
		if svc.Name == name {
			return svc, nil
		}
		known = append(known, svc.Name)
	}
	return configs.Service{}, unknown("service", name, known, b.defined.file+" has none of this name")
}

// asked is the deploy of a definition that a person asks for, and the service that
// there is. What was stopped starts again.
func (r *reconciler) asked(ctx context.Context, svc configs.Service, req api.DeployRequest) (*fleet.Service, rollout.Deploy, error) {
	snap, err := r.engine.Snapshot(ctx)
	if err != nil {
		return nil, rollout.Deploy{}, err
	}
	var now *fleet.Service
	if s, there := snap.Service(svc.Name); there {
		now = &s
	}
	switch {
	case now != nil && !now.Managed:
		return nil, rollout.Deploy{}, conflict("a service %s exists that is not from %s; remove it with `crawlbox rm %s`, or rename the one in the file", svc.Name, r.file, svc.Name)
	case now != nil && now.Pending != "":
		return nil, rollout.Deploy{}, conflict("service %s is being updated; see `crawlbox ps %s`", svc.Name, svc.Name)
	}
	image := req.Image
	var from *rollout.Source
	if image == "" {
		if image, from, err = r.imageOf(ctx, svc, now); errors.Is(err, errNotBuilt) {
			err = conflict("service %s: %s", svc.Name, err)
		}
		if err != nil {
			return nil, rollout.Deploy{}, err
		}
	}
	dep := definedDeploy(svc, image, from)
	dep.Change.KeepReplicas = now != nil && now.Desired > 0 && rollout.KeepReplicas(*now, svc.Replicas())
	dep.StartTimeout = req.StartTimeout
	dep.Stage, err = stagePolicy(req)
	return now, dep, err
}

func stagePolicy(req api.DeployRequest) (p rollout.StagePolicy, err error) {
	p.Timeout = cmp.Or(req.StageTimeout, defaultStageTimeout)
	if p.Quorum, err = rollout.ParseShare(cmp.Or(req.StageQuorum, defaultQuorum)); err != nil {
		err = invalid("stage quorum: %s", err)
	}
	return p, err
}

// forecast gives what would be done the form of the API.
func (b *backend) forecast(service string) func(rollout.Forecast, error) (api.Plan, error) {
	return func(f rollout.Forecast, err error) (api.Plan, error) {
		return api.Plan{Service: service, Action: string(f.Action), Changes: f.Changes, Steps: f.Steps}, b.explain(err)
	}
}

// pinned is the image that a service runs, with its digest where that is known.
func pinned(svc fleet.Service) string {
	return strings.TrimSuffix(svc.Image+"@"+svc.Digest, "@")
}
