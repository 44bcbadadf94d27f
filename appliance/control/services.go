package control

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/crawlbox/crawlbox/appliance/api"
	"github.com/crawlbox/crawlbox/appliance/deploy"
	"github.com/crawlbox/crawlbox/appliance/fleet"
)

// toScale checks all that is asked before anything changes.
func (b *Backend) toScale(ctx context.Context, req api.ScaleRequest) (map[string]fleet.Service, error) {
	if req.Now && b.Deploys == nil {
		return nil, b.onlyOn("what reaches the containers of other nodes")
	}
	services, err := b.Engine.Services(ctx)
	if err != nil {
		return nil, b.explain(err)
	}
	todo := map[string]fleet.Service{}
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
		todo[name] = svc
	}
	return todo, nil
}

// ScalePlan says what Scale would do.
func (b *Backend) ScalePlan(ctx context.Context, req api.ScaleRequest) (plan api.Plan, err error) {
	todo, err := b.toScale(ctx, req)
	for _, name := range slices.Sorted(maps.Keys(todo)) {
		step := deploy.PlanScale(todo[name], req.Replicas[name])
		if req.Now {
			step += "; killed, without their grace time"
		}
		plan.Steps = append(plan.Steps, step)
	}
	return plan, err
}

func (b *Backend) Scale(ctx context.Context, req api.ScaleRequest, fn func(api.Event) error) error {
	todo, err := b.toScale(ctx, req)
	if err != nil {
		return err
	}
	emit := serial(fn)
	group, ctx := errgroup.WithContext(ctx)
	for name, svc := range todo {
		group.Go(func() error {
			return b.report(svc.Name, emit, func(e deploy.Emit) (deploy.Summary, error) {
				if req.Now {
					return b.Runner.StopNow(ctx, svc, e)
				}
				return b.Runner.Scale(ctx, svc, req.Replicas[name], e)
			})
		})
	}
	return group.Wait()
}

func (b *Backend) RemoveService(ctx context.Context, ref string, fn func(api.Event) error) error {
	services, err := b.Engine.Services(ctx)
	if err != nil {
		return b.explain(err)
	}
	svc, err := findService(services, ref)
	if err != nil {
		return err
	}
	return b.report(svc.Name, serial(fn), func(e deploy.Emit) (deploy.Summary, error) {
		return b.Runner.Remove(ctx, svc, e)
	})
}

// report runs a change, sends its progress where it differs from what was sent
// last, and ends with its summary.
func (b *Backend) report(service string, fn func(api.Event) error, change func(deploy.Emit) (deploy.Summary, error)) error {
	var last api.Event
	var gone error // the client's; the change goes on or ends by its own context
	sum, err := change(func(step string, p deploy.Progress) {
		e := event(service, step, p)
		if e == last || gone != nil {
			return
		}
		last, gone = e, fn(e)
	})
	if err != nil {
		return b.explain(err)
	}
	if gone != nil {
		return gone
	}
	last.Done = summary(sum)
	return fn(last)
}

func event(service, step string, p deploy.Progress) api.Event {
	e := api.Event{Service: service, Step: step, Running: p.Running, Complete: p.Complete, Desired: p.Desired, Stopping: p.Stopping - p.Lost}
	if p.From != "" {
		e.Copied = api.Copied{From: p.From, Bytes: p.Bytes, Total: p.Total}
	}
	if p.Nodes > 0 {
		e.Staged = api.Staged{Have: p.Have, Nodes: p.Nodes, Late: p.Late, Bytes: p.Bytes, Total: p.Total}
	}
	switch {
	case p.LastErr != "" && p.LastNode != "":
		e.Note = p.LastErr + " (on " + p.LastNode + ")"
	case p.LastErr != "":
		e.Note = p.LastErr
	case p.Lost > 0:
		e.Note = fmt.Sprintf("%d on nodes that are down are left to Swarm", p.Lost)
	}
	return e
}

func summary(s deploy.Summary) *api.Summary {
	return &api.Summary{Took: s.Took, Started: s.Started, P50: s.P50, P95: s.P95,
		Slowest: s.Slowest, SlowestTook: s.SlowestTook, Stopped: s.Stopped}
}

// serial lets several changes share one stream.
func serial(fn func(api.Event) error) func(api.Event) error {
	var mu sync.Mutex
	return func(e api.Event) error {
		mu.Lock()
		defer mu.Unlock()
		return fn(e)
	}
}
