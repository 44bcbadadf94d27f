package control

import (
	"cmp"
	"context"
	"fmt"
	"regexp"
	"time"

	"github.com/crawlbox/crawlbox/appliance/api"
	"github.com/crawlbox/crawlbox/appliance/deploy"
	"github.com/crawlbox/crawlbox/appliance/deploy/history"
	"github.com/crawlbox/crawlbox/appliance/fleet"
	"github.com/crawlbox/crawlbox/appliance/swarm"
	"github.com/crawlbox/crawlbox/appliance/swarm/servicespec"
)

// What a deploy does unless the user says otherwise.
const (
	defaultShare        = "25%"
	defaultQuorum       = "100%"
	DefaultStageTimeout = 5 * time.Minute
)

// serviceName is what Swarm takes as the name of a service.
var serviceName = regexp.MustCompile(`^[a-zA-Z0-9]([-_.a-zA-Z0-9]{0,61}[a-zA-Z0-9])?$`)

func (b *Backend) Deploy(ctx context.Context, req api.DeployRequest, fn func(api.Event) error) error {
	if req.Defined {
		return b.deployDefined(ctx, req, fn)
	}
	return b.deployAs(ctx, req, history.Entry{Kind: history.KindDeploy, Source: req.Source}, fn)
}

func (b *Backend) Rollback(ctx context.Context, req api.RollbackRequest, fn func(api.Event) error) error {
	services, err := b.Engine.Services(ctx)
	if err != nil {
		return b.explain(err)
	}
	svc, err := findService(services, req.Service)
	if err != nil {
		return err
	}
	to, err := b.Deploys.Target(svc, req.Version)
	if err != nil {
		return err
	}
	again := api.DeployRequest{Service: svc.Name, Image: to.Image + "@" + to.Digest}
	return b.deployAs(ctx, again, history.Entry{Kind: history.KindRollback, From: cmp.Or(to.From, to.Version), Spec: to.Spec}, fn)
}

func (b *Backend) History(_ context.Context, service string) ([]history.Entry, error) {
	list := b.Deploys.List(service)
	if len(list) == 0 {
		return nil, unknown("service", service, b.Deploys.Services(), "it was never deployed by crawlbox; `crawlbox ls` lists what runs")
	}
	for i := range list {
		list[i].Spec, list[i].Source = nil, nil // they may hold passwords, and nobody asked for them
	}
	return list, nil
}

// Source is what a service was built of that runs.
func (b *Backend) Source(ctx context.Context, service string) (history.Source, error) {
	services, err := b.Engine.Services(ctx)
	if err != nil {
		return history.Source{}, b.explain(err)
	}
	svc, err := findService(services, service)
	if source := b.Deploys.Source(svc.Name); source != nil && err == nil {
		return *source, nil
	}
	return history.Source{}, err
}

func (b *Backend) DeployPlan(ctx context.Context, req api.DeployRequest) (api.Plan, error) {
	if req.Defined {
		return b.planDefined(ctx, req)
	}
	svc, d, err := b.deployment(ctx, req)
	if err != nil {
		return api.Plan{}, err
	}
	return b.forecast(d.Service)(b.Runner.PlanDeploy(ctx, svc, d, ""))
}

// deployAs deploys, writes down how that goes, and says what a task wrote that
// failed.
func (b *Backend) deployAs(ctx context.Context, req api.DeployRequest, e history.Entry, fn func(api.Event) error) error {
	svc, d, err := b.deployment(ctx, req)
	if err != nil {
		return err
	}
	e.By = api.PeerUser(ctx)
	d.Change.Spec = e.Spec
	see := serial(fn)
	return b.report(d.Service, see, func(emit deploy.Emit) (deploy.Summary, error) {
		sum, err := b.Deploys.Run(ctx, e, d, func(d deploy.Deploy) (deploy.Summary, error) {
			return b.Runner.Deploy(ctx, svc, d, emit)
		})
		b.lastWords(ctx, d.Service, err, see)
		return sum, err
	})
}

// deployment is what a request asks for, with what it leaves open, and the service
// that there is, or nil.
func (b *Backend) deployment(ctx context.Context, req api.DeployRequest) (*fleet.Service, deploy.Deploy, error) {
	if !serviceName.MatchString(req.Service) {
		return nil, deploy.Deploy{}, api.Invalid("%q can't be the name of a service; use letters, digits and dashes, 63 at most", req.Service)
	}
	services, err := b.Engine.Services(ctx)
	if err != nil {
		return nil, deploy.Deploy{}, b.explain(err)
	}
	var svc *fleet.Service
	for _, s := range services {
		if s.Name == req.Service || s.ID == req.Service {
			svc = &s
		}
	}
	d := deploy.Deploy{Service: req.Service, StartTimeout: req.StartTimeout}
	if svc != nil {
		d.Service = svc.Name
	}
	if d.Share, err = deploy.ParseShare(cmp.Or(req.Parallelism, defaultShare)); err != nil {
		return nil, d, api.Invalid("parallelism: %s", err)
	}
	if d.Stage, err = stagePolicy(req); err != nil {
		return nil, d, err
	}
	switch {
	case svc == nil:
	case svc.Mode != fleet.ModeReplicated && svc.Mode != fleet.ModeGlobal:
		return nil, d, api.Invalid("service %s is a %s, which Swarm can't update; remove it with `crawlbox rm %s` and deploy it anew", svc.Name, svc.Mode, svc.Name)
	case svc.Mode == fleet.ModeGlobal && req.Replicas != nil:
		return nil, d, api.Invalid("service %s is global: it runs once on every node, so it has no number of replicas", svc.Name)
	case req.Image == svc.Name:
		return nil, d, api.Invalid("%s is a service; name a folder or an image to deploy, or replace its replicas with `crawlbox restart %s`", svc.Name, svc.Name)
	}
	if d.Change, err = changeOf(req); err != nil {
		return nil, d, err
	}
	if svc == nil || req.Image != pinned(*svc) || svc.Digest == "" { // else it runs, and stays as it is
		d.Change.Image, d.Source, err = b.Sources.Resolve(ctx, req.Image)
	}
	return svc, d, b.explain(err)
}

// changeOf is what a request says of the service.
func changeOf(req api.DeployRequest) (servicespec.Deployment, error) {
	c := servicespec.Deployment{Image: req.Image, Replicas: req.Replicas, Env: req.Env, Constraints: req.Constraints,
		Update: servicespec.UpdatePolicy{Delay: req.Delay, Monitor: req.Monitor,
			FailureRatio: float32(req.FailureRatio), StartFirst: req.StartFirst}}
	if req.CPUs > 0 {
		nano := int64(req.CPUs * 1e9)
		c.CPUs = &nano
	}
	if req.Memory > 0 {
		c.Memory = &req.Memory
	}
	if req.MaxPerNode > 0 {
		c.MaxPerNode = &req.MaxPerNode
	}
	for _, text := range req.Constraints {
		if _, err := fleet.ParseConstraint(text); err != nil {
			return c, api.Invalid("%s", err)
		}
	}
	return c, nil
}

// lastWordsLines is how much of what a failed task wrote is shown.
const lastWordsLines = 5

// lastWords shows what the task wrote last by which a version was found bad.
func (b *Backend) lastWords(ctx context.Context, service string, failed error, fn func(api.Event) error) {
	task := deploy.FailedTask(failed)
	if task == "" {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	err := b.Engine.Logs(ctx, task, true, swarm.LogOptions{Tail: lastWordsLines}, func(l swarm.LogLine) error {
		return fn(api.Event{Service: service, Step: deploy.StageWatch, Note: "log: " + l.Text})
	})
	if err != nil {
		b.Log.Debug("read what a failed task wrote", "task", task, "error", fmt.Sprint(err))
	}
}
