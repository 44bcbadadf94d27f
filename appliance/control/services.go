package control

import (
	"context"
	"maps"
	"slices"

	"golang.org/x/sync/errgroup"

	"github.com/crawlbox/crawlbox/appliance/api"
	"github.com/crawlbox/crawlbox/appliance/deploy"
	"github.com/crawlbox/crawlbox/appliance/fleet"
)

// toScale checks all that is asked before anything changes.
func (b *Backend) toScale(ctx context.Context, req api.ScaleRequest) (map[string]deploy.Change, error) {
	if req.Now && b.Deploys == nil {
		return nil, b.onlyOn("what reaches the containers of other nodes")
	}
	services, err := b.Engine.Services(ctx)
	if err != nil {
		return nil, b.explain(err)
	}
	todo := map[string]deploy.Change{}
	for name, n := range req.Replicas {
		svc, err := findService(services, name)
		switch {
		case err != nil:
			return nil, err
		case n < 0:
			return nil, api.Invalid("%s=%d: the number of replicas can't be negative; stop a service with `crawlbox stop %s`", name, n, name)
		case svc.Mode == fleet.ModeGlobal || svc.Mode == "global-job":
			return nil, api.Invalid("service %s is global: it runs once on every node and can't be scaled; drain nodes, or remove it with `crawlbox rm %s`", name, name)
		}
		if todo[name] = b.Runner.Scale(svc, n); req.Now {
			todo[name] = b.Runner.StopNow(svc)
		}
	}
	return todo, nil
}

// ScalePlan says what Scale would do.
func (b *Backend) ScalePlan(ctx context.Context, req api.ScaleRequest) (plan deploy.Plan, err error) {
	todo, err := b.toScale(ctx, req)
	for _, name := range slices.Sorted(maps.Keys(todo)) {
		p, err := todo[name].Plan(ctx)
		if err != nil {
			return plan, b.explain(err)
		}
		plan.Steps = append(plan.Steps, p.Steps...)
	}
	return plan, err
}

func (b *Backend) Scale(ctx context.Context, req api.ScaleRequest, fn func(deploy.Progress) error) error {
	todo, err := b.toScale(ctx, req)
	if err != nil {
		return err
	}
	see := serial(fn)
	group, ctx := errgroup.WithContext(ctx)
	for _, change := range todo {
		group.Go(func() error { return b.run(ctx, change, nil, see) })
	}
	return group.Wait()
}

func (b *Backend) RemoveService(ctx context.Context, ref string, fn func(deploy.Progress) error) error {
	svc, err := b.service(ctx, ref)
	if err != nil {
		return err
	}
	return b.run(ctx, b.Runner.Remove(svc), nil, fn)
}

// service finds a service by name or ID.
func (b *Backend) service(ctx context.Context, ref string) (fleet.Service, error) {
	services, err := b.Engine.Services(ctx)
	if err != nil {
		return fleet.Service{}, b.explain(err)
	}
	return findService(services, ref)
}
