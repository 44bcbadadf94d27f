package control

import (
	"cmp"
	"context"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/crawlbox/crawlbox/appliance/api"
	"github.com/crawlbox/crawlbox/appliance/deploy"
	"github.com/crawlbox/crawlbox/appliance/fleet"
	"github.com/crawlbox/crawlbox/appliance/swarm"
)

// Changes answers api.Changes by the engine of this node: what brings images to other
// nodes, or reaches their containers, is elsewhere unless a Deploys makes the changes.
type Changes struct {
	engine *swarm.Engine
	runner *deploy.Runner
	log    *slog.Logger
	Errors

	// toUpdate decides how a service gets another image.
	toUpdate func(ctx context.Context, req api.UpdateRequest) (deploy.Change, error)
	// reach returns why the containers of other nodes can't be reached from here, if they
	// can't.
	reach func() error
}

// NewChanges returns the changes that runner makes by engine alone.
func NewChanges(engine *swarm.Engine, runner *deploy.Runner, log *slog.Logger, errs Errors) *Changes {
	c := &Changes{engine: engine, runner: runner, log: log, Errors: errs}
	c.toUpdate = c.toSetImage
	c.reach = func() error { return c.onlyOn("what reaches the containers of other nodes") }
	return c
}

func (c *Changes) Update(ctx context.Context, req api.UpdateRequest, fn func(deploy.Progress) error) error {
	change, err := c.toUpdate(ctx, req)
	return c.run(ctx, change, err, fn)
}

func (c *Changes) UpdatePlan(ctx context.Context, req api.UpdateRequest) (deploy.Plan, error) {
	change, err := c.toUpdate(ctx, req)
	return c.plan(ctx, change, err)
}

func (c *Changes) toSetImage(ctx context.Context, req api.UpdateRequest) (deploy.Change, error) {
	svc, err := c.service(ctx, req.Service)
	switch {
	case err != nil:
		return nil, err
	case req.StopFirstAll:
		return nil, c.onlyOn("what brings images to the nodes")
	}
	return c.runner.SetImage(svc, req.Image), nil
}

// toScale checks all that is asked before anything changes.
func (c *Changes) toScale(ctx context.Context, req api.ScaleRequest) (map[string]deploy.Change, error) {
	if req.Now {
		if err := c.reach(); err != nil {
			return nil, err
		}
	}
	snap, err := c.engine.Snapshot(ctx)
	if err != nil {
		return nil, c.explain(err)
	}
	todo := map[string]deploy.Change{}
	for _, name := range req.Auto {
		if todo[name], err = c.toAuto(snap.Services, name, api.PeerUser(ctx)); err != nil {
			return nil, err
		}
	}
	for name, n := range req.Replicas {
		svc, err := findUsers(snap.Services, name)
		switch {
		case err != nil:
			return nil, err
		case n < 0:
			return nil, api.Invalid("%s=%d: the number of replicas can't be negative; stop a service with `crawlbox "+
				"stop %s`", name, n, name)
		case svc.Mode == fleet.ModeGlobal || svc.Mode == "global-job":
			return nil, api.Invalid("service %s is global: it runs once on every node and can't be scaled; drain "+
				"nodes, or remove it with `crawlbox rm %s`", name, name)
		}
		if why := fleet.Crowded(n, snap.Nodes); why != "" {
			return nil, api.Invalid("%s=%d: %s", name, n, why)
		}
		if why := neverRuns(svc, n, snap.Nodes); why != "" {
			return nil, api.Invalid("%s=%d: %s", name, n, why)
		}
		switch todo[name] = c.runner.Scale(svc, n); {
		case req.Now:
			todo[name] = c.runner.StopNow(svc)
		case (svc.IsFinished() || svc.IsStopped()) && n > 0:
			todo[name] = c.runner.Start(svc, n)
		}
		todo[name] = c.byHand(svc, n, api.PeerUser(ctx), todo[name])
	}
	return todo, nil
}

// neverRuns returns why nodes can never run more replicas of a service than it has; empty: they can.
func neverRuns(svc fleet.Service, replicas int, nodes []fleet.Node) string {
	if replicas <= svc.Desired || svc.IsJob() {
		return ""
	}
	needs := svc.Needs()
	return needs.Refuse(replicas, fleet.Eligible(nodes, needs).Fit)
}

// toStart checks all that is asked before anything changes.
func (c *Changes) toStart(ctx context.Context, req api.StartRequest) (map[string]deploy.Change, error) {
	snap, err := c.engine.Snapshot(ctx)
	if err != nil {
		return nil, c.explain(err)
	}
	todo := map[string]deploy.Change{}
	for _, name := range req.Services {
		svc, err := findUsers(snap.Services, name)
		if err != nil {
			return nil, err
		}
		todo[name] = c.runner.Start(svc, 0)
		if svc.IsStopped() || svc.IsFinished() {
			todo[name] = c.byHand(svc, cmp.Or(svc.Desired, svc.Before, 1), api.PeerUser(ctx), todo[name])
		}
	}
	return todo, nil
}

func (c *Changes) Start(ctx context.Context, req api.StartRequest, fn func(deploy.Progress) error) error {
	todo, err := c.toStart(ctx, req)
	return c.runAll(ctx, todo, err, fn)
}

func (c *Changes) StartPlan(ctx context.Context, req api.StartRequest) (deploy.Plan, error) {
	todo, err := c.toStart(ctx, req)
	return c.planAll(ctx, todo, err)
}

func (c *Changes) ScalePlan(ctx context.Context, req api.ScaleRequest) (deploy.Plan, error) {
	todo, err := c.toScale(ctx, req)
	return c.planAll(ctx, todo, err)
}

// planAll returns what several changes would do, unless they could not be decided.
func (c *Changes) planAll(ctx context.Context, todo map[string]deploy.Change, undecided error) (plan deploy.Plan,
	err error) {
	for _, name := range slices.Sorted(maps.Keys(todo)) {
		p, err := todo[name].Plan(ctx)
		if err != nil {
			return plan, c.explain(err)
		}
		plan.Steps = append(plan.Steps, p.Steps...)
	}
	return plan, undecided
}

func (c *Changes) Scale(ctx context.Context, req api.ScaleRequest, fn func(deploy.Progress) error) error {
	todo, err := c.toScale(ctx, req)
	return c.runAll(ctx, todo, err, fn)
}

// runAll makes several changes at the same time, unless they could not be decided.
func (c *Changes) runAll(ctx context.Context, todo map[string]deploy.Change, undecided error,
	fn func(deploy.Progress) error) error {
	if undecided != nil {
		return undecided
	}
	see := serial(fn)
	group, ctx := errgroup.WithContext(ctx)
	for _, change := range todo {
		group.Go(func() error { return c.run(ctx, change, nil, see) })
	}
	return group.Wait()
}

func (c *Changes) RemoveService(ctx context.Context, ref string, fn func(deploy.Progress) error) error {
	svc, err := c.service(ctx, ref)
	if err != nil {
		return err
	}
	return c.run(ctx, c.runner.Remove(svc), nil, fn)
}

// service finds a service by name or ID.
func (c *Changes) service(ctx context.Context, ref string) (fleet.Service, error) {
	services, err := c.engine.Services(ctx)
	if err != nil {
		return fleet.Service{}, c.explain(err)
	}
	return findUsers(services, ref)
}

// run makes a change, unless it could not be decided, shows how far it is, and what the
// task wrote last by which a version was found bad. The change goes on or ends by its own
// context when the client is gone.
func (c *Changes) run(ctx context.Context, change deploy.Change, undecided error,
	see func(deploy.Progress) error) error {
	if undecided != nil {
		return c.explain(undecided)
	}
	var gone error
	var last deploy.Progress
	err := change.Run(ctx, func(p deploy.Progress) {
		if last = p; gone == nil {
			gone = see(p)
		}
	})
	c.showFailureLog(ctx, err, last, see)
	return c.explain(cmp.Or(err, gone))
}

// plan returns what a change would do, unless it could not be decided.
func (c *Changes) plan(ctx context.Context, change deploy.Change, undecided error) (deploy.Plan, error) {
	if undecided != nil {
		return deploy.Plan{}, c.explain(undecided)
	}
	p, err := change.Plan(ctx)
	return p, c.explain(err)
}

// serial lets several changes share one stream.
func serial(fn func(deploy.Progress) error) func(deploy.Progress) error {
	var mu sync.Mutex
	return func(p deploy.Progress) error {
		mu.Lock()
		defer mu.Unlock()
		return fn(p)
	}
}

// failureLogLines is how much of what a failed task wrote is shown.
const failureLogLines = 5

// showFailureLog shows the last lines of the task whose failure made a version a bad one,
// beside what was shown last.
func (c *Changes) showFailureLog(ctx context.Context, failed error, last deploy.Progress,
	see func(deploy.Progress) error) {
	_, task := deploy.FailedTask(failed)
	if task == "" {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	said, err := lastWords(ctx, c.engine, task, failureLogLines)
	for _, text := range said {
		last.Note = "log: " + text
		_ = see(last)
	}
	if err != nil {
		c.log.Debug("failed to read what a failed task wrote", "task", task, "error", err)
	}
}

func (c *Changes) byQueue() error { return c.onlyOn("what scales services by their queues") }

func (c *Changes) Autoscale(context.Context, api.AutoscaleRequest) error { return c.byQueue() }

func (c *Changes) Autoscaled(context.Context, string) ([]fleet.Scaling, error) {
	return nil, c.byQueue()
}

// Autoscale implements api.Changes.
func (r *Deploys) Autoscale(ctx context.Context, req api.AutoscaleRequest) error {
	svc, err := r.service(ctx, req.Service)
	if err != nil {
		return err
	}
	why := "no longer follows a queue"
	switch {
	case req.Rule == nil && svc.Autoscale == nil:
		return api.Conflict("service %s does not follow a queue", svc.Name)
	case req.Rule != nil && svc.Mode != fleet.ModeReplicated:
		return api.Invalid("service %s is %s, and has no number of replicas that could follow a queue", svc.Name,
			svc.Mode)
	case req.Rule != nil:
		why = "follows a queue: " + req.Rule.String()
	}
	if err := r.engine.SetAutoscale(ctx, svc.ID, req.Rule); err != nil {
		return r.explain(err)
	}
	return r.explain(r.runner.Scaled(ctx, svc, svc.Desired, api.PeerUser(ctx), why))
}

// Autoscaled implements api.Changes.
func (r *Deploys) Autoscaled(ctx context.Context, service string) ([]fleet.Scaling, error) {
	services, err := r.engine.Services(ctx)
	if err != nil {
		return nil, r.explain(err)
	}
	if service != "" {
		svc, err := findFollowing(services, service)
		if err != nil {
			return nil, err
		}
		services = []fleet.Service{svc}
	}
	known, _ := r.scaled()
	list := []fleet.Scaling{}
	for _, svc := range services {
		if svc.Autoscale == nil {
			continue
		}
		is := fleet.Scaling{
			Service:   svc.Name,
			Autoscale: *svc.Autoscale,
			Replicas:  svc.Desired,
			Wanted:    -1,
			Now:       "it is looked at in a moment",
		}
		if is.Paused != "" {
			is.Now = is.PausedNow(svc.Name)
		}
		for _, k := range known {
			if k.Service == svc.Name && k.Rule == is.Rule && k.Paused == is.Paused {
				k.Replicas = svc.Desired
				is = k
			}
		}
		list = append(list, is)
	}
	slices.SortFunc(list, func(a, b fleet.Scaling) int { return strings.Compare(a.Service, b.Service) })
	return list, nil
}

// byHand is a change by which a person takes a service from its queue.
type byHand struct {
	deploy.Change
	note func(ctx context.Context) error
}

func (b byHand) Run(ctx context.Context, emit deploy.Emit) error {
	if err := b.note(ctx); err != nil {
		return err
	}
	return b.Change.Run(ctx, emit)
}

// byHand has the history say of a service that follows a queue that a person gives it another number of replicas.
func (c *Changes) byHand(svc fleet.Service, replicas int, by string, change deploy.Change) deploy.Change {
	if svc.Autoscale == nil || svc.Autoscale.Paused != "" {
		return change
	}
	return byHand{change, func(ctx context.Context) error {
		return c.explain(c.runner.Scaled(ctx, svc, replicas, by, fleet.PausedWhy(svc.Name)))
	}}
}

// toAuto returns the change that has a service follow its queue again.
func (c *Changes) toAuto(services []fleet.Service, name, by string) (deploy.Change, error) {
	svc, err := findFollowing(services, name)
	if err != nil {
		return nil, err
	}
	return c.runner.ScaleByQueue(svc, by), nil
}

// findFollowing finds a service that follows a queue.
func findFollowing(services []fleet.Service, ref string) (fleet.Service, error) {
	svc, err := findService(services, ref)
	if err == nil && svc.Autoscale == nil {
		err = api.Conflict("service %s follows no queue; `crawlbox autoscale %s --queue KEY --per-replica N --max N` "+
			"has it do so", svc.Name, svc.Name)
	}
	return svc, err
}
