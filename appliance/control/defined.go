package control

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/crawlbox/crawlbox/appliance/api"
	"github.com/crawlbox/crawlbox/appliance/controller/services"
	"github.com/crawlbox/crawlbox/appliance/deploy"
	"github.com/crawlbox/crawlbox/configs/compose"
)

// Definitions implements api.Deploys. It reads the config file again: a user who has just written it means what it says
// now.
func (r *Deploys) Definitions(context.Context) ([]api.Definition, error) {
	if err := r.defined.Reload(); err != nil {
		return nil, brokenFile(err)
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

func brokenFile(err error) error {
	return api.Invalid("%s", strings.ReplaceAll(err.Error(), "\n", "; "))
}

// toDeployDefined returns the change of a service to what the config file says.
func (r *Deploys) toDeployDefined(ctx context.Context, req api.DeployRequest, built string) (deploy.Change, error) {
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

// wouldBuild names in a request the image that would be built for it, and says so in a line. It
// is empty where none would.
func (r *Deploys) wouldBuild(ctx context.Context, req *api.DeployRequest) (string, error) {
	what := req.Build
	if what == nil && req.Defined && req.Image == "" {
		svc, err := r.definition(req.Service)
		if err != nil {
			return "", err
		}
		if build, ok := svc.Build(); ok {
			what = &api.ToBuild{From: build.Context, Repository: build.Repository, Tag: build.Tag}
		}
	}
	if what == nil {
		return "", nil
	}
	tag, err := r.builds.freeTag(ctx, what.Repository, what.Tag)
	req.Image = r.builds.name(what.Repository, tag)
	return fmt.Sprintf("build: %s as %s, and push it", what.From, req.Image), err
}

// definition finds a service of the config file, as the file is now.
func (r *Deploys) definition(name string) (compose.Service, error) {
	if err := r.defined.Reload(); err != nil {
		return compose.Service{}, brokenFile(err)
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
