package control

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/crawlbox/crawlbox/appliance/api"
	"github.com/crawlbox/crawlbox/appliance/base/bound"
	"github.com/crawlbox/crawlbox/appliance/base/words"
	"github.com/crawlbox/crawlbox/appliance/controller/services"
	"github.com/crawlbox/crawlbox/appliance/deploy"
	"github.com/crawlbox/crawlbox/appliance/deploy/history"
	"github.com/crawlbox/crawlbox/appliance/fleet"
	"github.com/crawlbox/crawlbox/appliance/swarm/servicespec"
	"github.com/crawlbox/crawlbox/configs/compose"
)

// What a deploy does unless the user says otherwise.
const (
	defaultShare  = "25%"
	defaultQuorum = "100%"
)

// Deploys answers api.Deploys, and api.Changes so that an update is a deploy too.
type Deploys struct {
	*Changes
	sources Sources
	past    History
	defined Defined
	builds  *Builds
	scaled  func() (list []fleet.Scaling, leads bool)
}

// NewDeploys makes of changes deploys that are written down in past, and those of services
// that the config file defines. scaled returns what services do that follow a queue.
func NewDeploys(changes *Changes, sources Sources, past History, defined Defined, builds *Builds,
	scaled func() (list []fleet.Scaling, leads bool)) *Deploys {
	d := &Deploys{
		Changes: changes,
		sources: sources,
		past:    past,
		defined: defined,
		builds:  builds,
		scaled:  scaled,
	}
	d.toUpdate = d.toDeployUpdate
	d.reach = func() error { return nil }
	return d
}

func (r *Deploys) Deploy(ctx context.Context, req api.DeployRequest, fn func(deploy.Progress) error) error {
	change, err := r.toDeploy(ctx, req, nil)
	return r.run(ctx, change, err, fn)
}

func (r *Deploys) DeployPlan(ctx context.Context, req api.DeployRequest) (deploy.Plan, error) {
	built, err := r.wouldBuild(ctx, &req)
	if err != nil {
		return deploy.Plan{}, err
	}
	change, err := r.toDeploy(ctx, req, built)
	return r.plan(ctx, change, err)
}

func (r *Deploys) toDeploy(ctx context.Context, req api.DeployRequest, built *deploy.Build) (deploy.Change, error) {
	if req.Defined || r.defines(req.Service) {
		if err := onlyDefined(req); err != nil {
			return nil, err
		}
		return r.toDeployDefined(ctx, req, built)
	}
	svc, d, err := r.deployment(ctx, req, built)
	d.Entry = history.Entry{Kind: history.KindDeploy, By: api.PeerUser(ctx), Source: req.Source}
	return r.runner.Deploy(svc, d), err
}

// defines reports whether the config file that is in force has a service of a name.
func (r *Deploys) defines(service string) bool {
	return slices.ContainsFunc(r.defined.Config().Services, func(d compose.Service) bool { return d.Name == service })
}

// onlyDefined refuses what only the config file says of its services.
func onlyDefined(req api.DeployRequest) error {
	given := req.Replicas != nil || len(req.Env) > 0 || req.CPUs > 0 || req.Memory > 0 || req.MaxPerNode > 0 ||
		req.Constraints != nil || req.Parallelism != "" || req.Delay > 0 || req.Monitor > 0 || req.FailureRatio > 0 ||
		req.StartFirst
	if given {
		return api.Invalid("%s is a service of crawlbox.yaml: write there what it is given, or choose another name",
			req.Service)
	}
	return nil
}

// Rollback implements api.Deploys: it is a deploy of what a service was before.
func (r *Deploys) Rollback(ctx context.Context, req api.RollbackRequest, fn func(deploy.Progress) error) error {
	change, err := r.toRollBack(ctx, req)
	return r.run(ctx, change, err, fn)
}

func (r *Deploys) toRollBack(ctx context.Context, req api.RollbackRequest) (deploy.Change, error) {
	running, err := r.service(ctx, req.Service)
	if err != nil {
		return nil, err
	}
	to, err := r.target(running.Name, req.Version)
	if err != nil {
		return nil, err
	}
	svc, d, err := r.deployment(ctx, api.DeployRequest{Service: running.Name, Image: to.Image + "@" + to.Digest}, nil)
	d.Entry = history.Entry{Kind: history.KindRollback, By: api.PeerUser(ctx), From: to.Original(), Spec: to.Spec}
	d.Change.Spec = to.Spec
	return r.runner.Deploy(svc, d), err
}

// target returns the version of a service to go back to.
func (r *Deploys) target(service string, version int) (history.Entry, error) {
	if version == 0 {
		e, ok := r.past.Previous(service)
		if !ok {
			return e, api.Conflict("service %s has no earlier version to go back to; name one that "+
				"`crawlbox history %s` lists", service, service)
		}
		return e, nil
	}
	e, ok := r.past.Find(service, version)
	switch {
	case !ok:
		return e, api.NotFound("service %s has no version %d; see `crawlbox history %s`", service, version, service)
	case e.Digest == "":
		return e, api.Conflict("version %d of %s never had an image", version, service)
	}
	return e, nil
}

func (r *Deploys) toDeployUpdate(ctx context.Context, req api.UpdateRequest) (deploy.Change, error) {
	svc, err := r.service(ctx, req.Service)
	if err != nil {
		return nil, err
	}
	_, d, err := r.deployment(ctx, api.DeployRequest{Service: svc.Name, Image: req.Image}, nil)
	d.Entry = history.Entry{Kind: history.KindUpdate, By: api.PeerUser(ctx)}
	if req.StopFirstAll {
		return r.runner.StopFirst(svc, d), err
	}
	return r.runner.Deploy(&svc, d), err
}

// Restart implements api.Deploys: it is a deploy of what runs, and nothing that a history would tell.
func (r *Deploys) Restart(ctx context.Context, service string, fn func(deploy.Progress) error) error {
	change, err := r.toRestart(ctx, service)
	return r.run(ctx, change, err, fn)
}

func (r *Deploys) RestartPlan(ctx context.Context, service string) (deploy.Plan, error) {
	change, err := r.toRestart(ctx, service)
	p, err := r.plan(ctx, change, err)
	p.Action, p.Changes = "", nil
	return p, err
}

func (r *Deploys) toRestart(ctx context.Context, service string) (deploy.Change, error) {
	svc, err := r.service(ctx, service)
	if err != nil {
		return nil, err
	}
	if svc.IsStopped() {
		return nil, api.Conflict("service %s is stopped, so there is nothing to replace; start it with "+
			"`crawlbox start %s`", svc.Name, svc.Name)
	}
	_, d, err := r.deployment(ctx, api.DeployRequest{Service: svc.Name, Image: svc.Pinned()}, nil)
	d.Change.Restart = true
	return r.runner.Deploy(&svc, d), err
}

func (r *Deploys) History(_ context.Context, service string) ([]history.Entry, error) {
	list := r.past.List(service)
	if len(list) == 0 {
		return nil, unknown("service", service, r.past.Services(),
			"it was never deployed by crawlbox; `crawlbox ls` lists what runs")
	}
	for i := range list {
		list[i].Spec, list[i].Source = nil, nil // they may hold passwords, and were not asked for
		list[i].TookNS = list[i].Took
	}
	return list, nil
}

func (r *Deploys) Source(ctx context.Context, service string) (history.Source, error) {
	services, err := r.engine.Services(ctx)
	if err != nil {
		return history.Source{}, r.explain(err)
	}
	svc, err := findService(services, service)
	if source := r.past.Source(svc.Name); source != nil && err == nil {
		return *source, nil
	}
	return history.Source{}, err
}

// deployment returns the deploy that a request asks for, completed with defaults, and
// the existing service or nil. built says what is done before, for a plan without the image.
func (r *Deploys) deployment(ctx context.Context, req api.DeployRequest,
	built *deploy.Build) (*fleet.Service, deploy.Deploy, error) {
	services, err := r.engine.Services(ctx)
	if err != nil {
		return nil, deploy.Deploy{}, r.explain(err)
	}
	var svc *fleet.Service
	for _, s := range services {
		if s.Name == req.Service || s.ID == req.Service {
			svc = &s
		}
	}
	d := deploy.Deploy{Service: req.Service, StartTimeout: req.StartTimeout, Built: built}
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
	case svc.IsRun():
		return nil, d, api.Conflict("there is a run %s; choose another name, or end it with `crawlbox run stop %[1]s`",
			svc.Name)
	case svc.Mode != fleet.ModeReplicated && svc.Mode != fleet.ModeGlobal:
		return nil, d, api.Invalid("service %s is a %s, which Swarm can't update; remove it with `crawlbox rm %s` "+
			"and deploy it anew", svc.Name, svc.Mode, svc.Name)
	case svc.Mode == fleet.ModeGlobal && req.Replicas != nil:
		return nil, d, api.Invalid("service %s is global: it runs once on every node, so it has no number of replicas",
			svc.Name)
	case req.Image == svc.Name:
		return nil, d, api.Invalid("%s is a service; name a directory or an image to deploy, or replace its replicas "+
			"with `crawlbox restart %s`", svc.Name, svc.Name)
	}
	if d.Change, err = changeOf(req); err != nil {
		return nil, d, err
	}
	if err := r.bear(ctx, req.Replicas); err != nil {
		return nil, d, err
	}
	// Else it is not there yet, or runs, and stays as it is.
	if built == nil && (svc == nil || req.Image != svc.Pinned() || svc.Digest == "") {
		d.Change.Image, d.Source, err = r.sources.Resolve(ctx, req.Image)
	}
	return svc, d, r.explain(err)
}

// bear refuses more replicas than the nodes bear.
func (r *Deploys) bear(ctx context.Context, replicas *int) error {
	if replicas == nil || *replicas <= bound.MaxDensity {
		return nil
	}
	nodes, err := r.engine.Nodes(ctx)
	if err != nil {
		return r.explain(err)
	}
	if why := fleet.Crowded(*replicas, nodes); why != "" {
		return api.Invalid("--replicas: %s", why)
	}
	return nil
}

// changeOf returns the settings of the service that a request names.
func changeOf(req api.DeployRequest) (servicespec.Deployment, error) {
	c := servicespec.Deployment{
		Image:       req.Image,
		Replicas:    req.Replicas,
		Env:         req.Env,
		Constraints: req.Constraints,
		Update: servicespec.UpdatePolicy{Delay: req.Delay, Monitor: req.Monitor,
			FailureRatio: float32(req.FailureRatio), StartFirst: req.StartFirst},
	}
	if req.CPUs > 0 {
		c.CPUs = new(int64(req.CPUs * 1e9))
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

// Definitions implements api.Deploys. It reads the config file again: a user who has just written it means what it says
// now.
func (r *Deploys) Definitions(context.Context) ([]api.Definition, error) {
	if err := r.defined.Reload(); err != nil {
		return nil, r.notRead(err)
	}
	list := []api.Definition{}
	for _, svc := range r.defined.Config().Services {
		d := api.Definition{
			Name:  svc.Name,
			Image: svc.Compose.Image,
			File:  svc.File,
			Away:  r.defined.IsAway(svc),
		}
		if build, ok := svc.Build(); ok {
			d.Build = &build
		}
		list = append(list, d)
	}
	return list, nil
}

// RemoveService implements api.Changes. A service of the config file is kept away until somebody
// wants it again; one that only has the name of one there makes way for that.
func (r *Deploys) RemoveService(ctx context.Context, ref string, fn func(deploy.Progress) error) error {
	svc, err := r.service(ctx, ref)
	if err != nil {
		return err
	}
	defer r.defined.Again()
	if !svc.Managed {
		return r.run(ctx, r.runner.Remove(svc), nil, fn)
	}
	defined, err := r.defined.KeepAway(svc.Name, api.PeerUser(ctx))
	if err != nil {
		return r.explain(err)
	}
	err = r.run(ctx, r.runner.Remove(svc), nil, func(p deploy.Progress) error {
		if defined && p.Note == "" {
			p.Note = fmt.Sprintf("crawlbox.yaml defines it: it stays away until its definition there changes, or "+
				"`crawlbox deploy %s` brings it back", svc.Name)
		}
		return fn(p)
	})
	if _, stays := r.service(ctx, svc.ID); stays == nil && defined {
		err = errors.Join(err, r.explain(r.defined.LetBack(svc.Name)))
	}
	return err
}

// notRead returns the error of a config file that was read again.
func (r *Deploys) notRead(err error) error {
	broken, is := errors.AsType[*services.BrokenError](err)
	if !is {
		return r.explain(err)
	}
	return api.Invalid("%s; see `crawlbox config check`", words.Brief(broken.Err, "mistake"))
}

// toDeployDefined returns the change of a service to what the config file says.
func (r *Deploys) toDeployDefined(ctx context.Context, req api.DeployRequest,
	built *deploy.Build) (deploy.Change, error) {
	svc, err := r.definition(req.Service)
	if err != nil {
		return nil, err
	}
	pull, err := pullPolicy(req)
	return r.defined.Change(svc, services.Request{
		By:           api.PeerUser(ctx),
		Image:        req.Image,
		Built:        built,
		StartTimeout: req.StartTimeout,
		Pull:         pull,
	}), err
}

// wouldBuild names in a request the image that would be built for it, and says so. It is nil where
// none would.
func (r *Deploys) wouldBuild(ctx context.Context, req *api.DeployRequest) (*deploy.Build, error) {
	what := req.Build
	if what == nil && req.Defined && req.Image == "" {
		svc, err := r.definition(req.Service)
		if err != nil {
			return nil, err
		}
		if build, ok := svc.Build(); ok {
			what = &api.ToBuild{From: build.Context, Repository: build.Repository, Tag: build.Tag,
				Platform: build.Platform}
		}
	}
	if what == nil {
		return nil, nil
	}
	tag, err := r.builds.freeTag(ctx, what.Repository, what.Tag)
	req.Image = r.builds.name(what.Repository, tag)
	b := &deploy.Build{Step: fmt.Sprintf("build: %s as %s, and push it", what.From, req.Image)}
	if what.Platform != "" {
		b.Platforms = []fleet.Platform{fleet.ParsePlatform(what.Platform)}
	}
	return b, err
}

// definition finds a service of the config file, as the file is now.
func (r *Deploys) definition(name string) (compose.Service, error) {
	if err := r.defined.Reload(); err != nil {
		return compose.Service{}, r.notRead(err)
	}
	var known []string
	for _, svc := range r.defined.Config().Services {
		if svc.Name == name {
			return svc, nil
		}
		known = append(known, svc.Name)
	}
	return compose.Service{}, unknown("service", name, known, r.defined.Config().File+" has none of this name")
}
