package control

import (
	"context"

	"github.com/crawlbox/crawlbox/appliance/api"
	"github.com/crawlbox/crawlbox/appliance/deploy"
	"github.com/crawlbox/crawlbox/appliance/deploy/history"
	"github.com/crawlbox/crawlbox/appliance/fleet"
)

// Update is a deploy of another image, or stops all replicas first.
func (b *Backend) Update(ctx context.Context, req api.UpdateRequest, fn func(api.Event) error) error {
	svc, err := b.toUpdate(ctx, req)
	switch {
	case err != nil:
		return err
	case b.Deploys == nil && req.StopFirstAll:
		return b.onlyOn("what brings images to the nodes")
	case b.Deploys == nil:
		return b.report(svc.Name, serial(fn), func(e deploy.Emit) (deploy.Summary, error) {
			return b.Runner.Update(ctx, svc, req.Image, e)
		})
	case !req.StopFirstAll:
		return b.deployAs(ctx, api.DeployRequest{Service: svc.Name, Image: req.Image}, history.Entry{Kind: history.KindUpdate}, fn)
	}
	_, d, err := b.deployment(ctx, api.DeployRequest{Service: svc.Name, Image: req.Image})
	if err != nil {
		return err
	}
	return b.report(svc.Name, serial(fn), func(emit deploy.Emit) (deploy.Summary, error) {
		return b.Deploys.Run(ctx, history.Entry{Kind: history.KindUpdate, By: api.PeerUser(ctx)}, d, func(d deploy.Deploy) (deploy.Summary, error) {
			return b.Runner.UpdateStopped(ctx, svc, d, emit)
		})
	})
}

// UpdatePlan says what Update would do.
func (b *Backend) UpdatePlan(ctx context.Context, req api.UpdateRequest) (api.Plan, error) {
	svc, err := b.toUpdate(ctx, req)
	if err != nil {
		return api.Plan{}, err
	}
	_, d, err := b.deployment(ctx, api.DeployRequest{Service: svc.Name, Image: req.Image})
	switch {
	case err != nil:
		return api.Plan{}, err
	case req.StopFirstAll:
		return b.forecast(svc.Name)(b.Runner.PlanUpdateStopped(ctx, svc, d))
	}
	return b.forecast(svc.Name)(b.Runner.PlanDeploy(ctx, &svc, d, ""))
}

func (b *Backend) toUpdate(ctx context.Context, req api.UpdateRequest) (fleet.Service, error) {
	services, err := b.Engine.Services(ctx)
	if err != nil {
		return fleet.Service{}, b.explain(err)
	}
	return findService(services, req.Service)
}
