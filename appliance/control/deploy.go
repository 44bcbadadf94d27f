package control

import (
	"cmp"
	"context"
	"regexp"
	"strings"

	"github.com/crawlbox/crawlbox/appliance/api"
	"github.com/crawlbox/crawlbox/appliance/deploy"
	"github.com/crawlbox/crawlbox/appliance/deploy/history"
	"github.com/crawlbox/crawlbox/appliance/fleet"
	"github.com/crawlbox/crawlbox/appliance/swarm/servicespec"
)

// What a deploy does unless the user says otherwise.
const (
	defaultShare  = "25%"
	defaultQuorum = "100%"
)

// serviceName is what Swarm takes as the name of a service.
var serviceName = regexp.MustCompile(`^[a-zA-Z0-9]([-_.a-zA-Z0-9]{0,61}[a-zA-Z0-9])?$`)

func (b *Backend) Deploy(ctx context.Context, req api.DeployRequest, fn func(deploy.Progress) error) error {
	change, err := b.toDeploy(ctx, req, "")
	return b.run(ctx, change, err, fn)
}

// DeployPlan says what Deploy would do.
func (b *Backend) DeployPlan(ctx context.Context, req api.DeployRequest) (deploy.Plan, error) {
	built, err := b.wouldBuild(ctx, &req)
	if err != nil {
		return deploy.Plan{}, err
	}
	change, err := b.toDeploy(ctx, req, built)
	return b.plan(ctx, change, err)
}

func (b *Backend) toDeploy(ctx context.Context, req api.DeployRequest, built string) (deploy.Change, error) {
	if req.Defined {
		return b.toDeployDefined(ctx, req, built)
	}
	svc, d, err := b.deployment(ctx, req)
	d.Entry = history.Entry{Kind: history.KindDeploy, By: api.PeerUser(ctx), Source: req.Source}
	return b.Runner.Deploy(svc, d), err
}

// Rollback is a deploy of what a service was before.
func (b *Backend) Rollback(ctx context.Context, req api.RollbackRequest, fn func(deploy.Progress) error) error {
	change, err := b.toRollBack(ctx, req)
	return b.run(ctx, change, err, fn)
}

func (b *Backend) toRollBack(ctx context.Context, req api.RollbackRequest) (deploy.Change, error) {
	running, err := b.service(ctx, req.Service)
	if err != nil {
		return nil, err
	}
	to, err := b.target(running.Name, req.Version)
	if err != nil {
		return nil, err
	}
	svc, d, err := b.deployment(ctx, api.DeployRequest{Service: running.Name, Image: to.Image + "@" + to.Digest})
	d.Entry = history.Entry{Kind: history.KindRollback, By: api.PeerUser(ctx), From: to.Original(), Spec: to.Spec}
	d.Change.Spec = to.Spec
	return b.Runner.Deploy(svc, d), err
}

// target is the version of a service to go back to.
func (b *Backend) target(service string, version int) (history.Entry, error) {
	if version == 0 {
		e, ok := b.Deploys.Previous(service)
		if !ok {
			return e, api.Conflict("service %s has no earlier version to go back to; see `crawlbox history %s`", service, service)
		}
		return e, nil
	}
	e, ok := b.Deploys.Find(service, version)
	switch {
	case !ok:
		return e, &api.Error{Code: api.CodeNotFound, Message: "service " + service + " has no such version; see `crawlbox history " + service + "`"}
	case e.Digest == "":
		return e, api.Conflict("version %d of %s never had an image", version, service)
	}
	return e, nil
}

// Update is a deploy of another image, or stops all replicas first.
func (b *Backend) Update(ctx context.Context, req api.UpdateRequest, fn func(deploy.Progress) error) error {
	change, err := b.toUpdate(ctx, req)
	return b.run(ctx, change, err, fn)
}

// UpdatePlan says what Update would do.
func (b *Backend) UpdatePlan(ctx context.Context, req api.UpdateRequest) (deploy.Plan, error) {
	change, err := b.toUpdate(ctx, req)
	return b.plan(ctx, change, err)
}

func (b *Backend) toUpdate(ctx context.Context, req api.UpdateRequest) (deploy.Change, error) {
	svc, err := b.service(ctx, req.Service)
	switch {
	case err != nil:
		return nil, err
	case b.Deploys == nil && req.StopFirstAll:
		return nil, b.onlyOn("what brings images to the nodes")
	case b.Deploys == nil:
		return b.Runner.SetImage(svc, req.Image), nil
	}
	_, d, err := b.deployment(ctx, api.DeployRequest{Service: svc.Name, Image: req.Image})
	d.Entry = history.Entry{Kind: history.KindUpdate, By: api.PeerUser(ctx)}
	if req.StopFirstAll {
		return b.Runner.StopFirst(svc, d), err
	}
	return b.Runner.Deploy(&svc, d), err
}

// Restart is a deploy of what runs, and nothing that a history would tell.
func (b *Backend) Restart(ctx context.Context, service string, fn func(deploy.Progress) error) error {
	change, err := b.toRestart(ctx, service)
	return b.run(ctx, change, err, fn)
}

// RestartPlan says what Restart would do.
func (b *Backend) RestartPlan(ctx context.Context, service string) (deploy.Plan, error) {
	change, err := b.toRestart(ctx, service)
	p, err := b.plan(ctx, change, err)
	p.Action, p.Changes = "", nil
	return p, err
}

func (b *Backend) toRestart(ctx context.Context, service string) (deploy.Change, error) {
	svc, err := b.service(ctx, service)
	if err != nil {
		return nil, err
	}
	_, d, err := b.deployment(ctx, api.DeployRequest{Service: svc.Name, Image: pinned(svc)})
	d.Change.Restart = true
	return b.Runner.Deploy(&svc, d), err
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
	if d.Pull, err = pullPolicy(req); err != nil {
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

func pullPolicy(req api.DeployRequest) (p deploy.PullPolicy, err error) {
	p.Timeout = cmp.Or(req.StageTimeout, deploy.DefaultPullPolicy.Timeout)
	if p.Quorum, err = deploy.ParseShare(cmp.Or(req.StageQuorum, defaultQuorum)); err != nil {
		err = api.Invalid("stage quorum: %s", err)
	}
	return p, err
}

// pinned is the image that a service runs, with its digest where that is known.
func pinned(svc fleet.Service) string {
	return strings.TrimSuffix(svc.Image+"@"+svc.Digest, "@")
}
