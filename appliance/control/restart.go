package control

import (
	"context"

	"github.com/crawlbox/crawlbox/appliance/api"
	"github.com/crawlbox/crawlbox/appliance/deploy"
	"github.com/crawlbox/crawlbox/appliance/fleet"
)

// Restart is a deploy of what runs, and nothing that a history would tell.
func (b *Backend) Restart(ctx context.Context, service string, fn func(api.Event) error) error {
	svc, d, err := b.toRestart(ctx, service)
	if err != nil {
		return err
	}
	d.At = func(string) error { return nil }
	see := serial(fn)
	return b.report(svc.Name, see, func(emit deploy.Emit) (deploy.Summary, error) {
		sum, err := b.Runner.Deploy(ctx, svc, d, emit)
		b.lastWords(ctx, svc.Name, err, see)
		return sum, err
	})
}

func (b *Backend) toRestart(ctx context.Context, service string) (*fleet.Service, deploy.Deploy, error) {
	services, err := b.Engine.Services(ctx)
	if err != nil {
		return nil, deploy.Deploy{}, b.explain(err)
	}
	svc, err := findService(services, service)
	if err != nil {
		return nil, deploy.Deploy{}, err
	}
	_, d, err := b.deployment(ctx, api.DeployRequest{Service: svc.Name, Image: pinned(svc)})
	d.Change.Restart = true
	return &svc, d, err
}

// RestartPlan says what Restart would do.
func (b *Backend) RestartPlan(ctx context.Context, service string) (api.Plan, error) {
	svc, d, err := b.toRestart(ctx, service)
	if err != nil {
		return api.Plan{}, err
	}
	f, err := b.Runner.PlanDeploy(ctx, svc, d, "")
	return api.Plan{Service: svc.Name, Steps: f.Steps}, b.explain(err)
}
