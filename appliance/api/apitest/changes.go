package apitest

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/crawlbox/crawlbox/appliance/api"
	"github.com/crawlbox/crawlbox/appliance/deploy"
	"github.com/crawlbox/crawlbox/appliance/deploy/history"
	"github.com/crawlbox/crawlbox/appliance/fleet"
)

// taskTook is how long the first task of a change takes to start or stop; the
// next ones take as much longer each.
const taskTook = 100 * time.Millisecond

// Scale implements Backend. Services change one after another, by name. No
// task of "broken" ever starts, so that it fails with one note.
func (c *Cluster) Scale(ctx context.Context, req api.ScaleRequest, fn func(deploy.Progress) error) error {
	for _, name := range req.Auto {
		s, err := c.found(name)
		if err != nil {
			return err
		}
		e := deploy.Progress{Service: name, Stage: history.StageUnchanged, Running: s.Running, Desired: s.Desired}
		e.Done = &deploy.Summary{}
		if err := fn(e); err != nil {
			return err
		}
	}
	names := slices.Sorted(maps.Keys(req.Replicas))
	for _, name := range names {
		s, err := c.found(name)
		if err != nil {
			return err
		}
		if s.Mode == fleet.ModeGlobal {
			return fail(api.CodeInvalid, "%s is a global service; it runs once on every node and cannot be scaled",
				name)
		}
	}
	for _, name := range names {
		if err := c.scale(ctx, name, req.Replicas[name], fn); err != nil {
			return err
		}
	}
	return nil
}

// Autoscale implements Backend.
func (c *Cluster) Autoscale(_ context.Context, req api.AutoscaleRequest) error {
	s, err := c.found(req.Service)
	switch {
	case err != nil:
		return err
	case s.Mode == fleet.ModeGlobal:
		return fail(api.CodeInvalid, "service %s is global", s.Name)
	}
	c.change(s.Name, func(s *fleet.Service) {
		if s.Autoscale = nil; req.Rule != nil {
			s.Autoscale = &fleet.Autoscale{Rule: *req.Rule, Set: -1}
		}
	})
	return nil
}

// Autoscaled implements Backend: of each service the queue has 480 items.
func (c *Cluster) Autoscaled(_ context.Context, service string) ([]fleet.Scaling, error) {
	if service != "" {
		if s, err := c.found(service); err != nil {
			return nil, err
		} else if s.Autoscale == nil {
			return nil, fail(api.CodeConflict, "service %s follows no queue", service)
		}
	}
	if err := c.manager(); err != nil {
		return nil, err
	}
	defer c.mu.Unlock()
	list := []fleet.Scaling{}
	for _, s := range c.services {
		if s.Autoscale != nil && (service == "" || service == s.Name) {
			list = append(list, fleet.Scaling{
				Service:   s.Name,
				Autoscale: *s.Autoscale,
				Replicas:  s.Desired,
				Waiting:   480,
				InFlight:  20,
				Leased:    true,
				PerMinute: 6,
				Wanted:    3,
				Now:       "480 waiting, 20 in flight, 200 a replica: 3 wanted",
				At:        c.now,
			})
		}
	}
	return list, nil
}

func (c *Cluster) scale(ctx context.Context, name string, n int, fn func(deploy.Progress) error) error {
	s, err := c.found(name)
	if err != nil {
		return err
	}
	e := deploy.Progress{
		Service:  name,
		Stage:    history.StageScale,
		Running:  s.Running,
		Desired:  n,
		Stopping: max(0, s.Running-n),
	}
	if err := c.begin(ctx, e, fn); err != nil {
		return err
	}
	if name == "broken" && n > 0 {
		e.Note = "broken.1 on h2: No such image: localhost:8003/broken:9"
		if err := fn(e); err != nil {
			return err
		}
		return fail(api.CodeFailed, "broken: 0 of %d replicas run; see `crawlbox ps broken`", n)
	}
	done := deploy.Summary{}
	for e.Running != n {
		if e.Running < n {
			e.Running++
			done.Started++
		} else {
			e.Running--
			e.Stopping--
			done.Stopped++
		}
		if err := fn(e); err != nil {
			return err
		}
	}
	c.resize(name, n)
	e.Done = finish(done)
	return fn(e)
}

// Start implements Backend: a service that runs is left alone, another gets what it had, or
// 3 replicas.
func (c *Cluster) Start(ctx context.Context, req api.StartRequest, fn func(deploy.Progress) error) error {
	for _, name := range req.Services {
		s, err := c.found(name)
		if err != nil {
			return err
		}
		if s.Running > 0 {
			e := deploy.Progress{Service: name, Stage: history.StageUnchanged, Running: s.Running, Desired: s.Desired}
			e.Done = &deploy.Summary{}
			if err := fn(e); err != nil {
				return err
			}
			continue
		}
		if err := c.scale(ctx, name, cmp.Or(s.Desired, s.Before, 3), fn); err != nil {
			return err
		}
	}
	return nil
}

func (c *Cluster) StartPlan(_ context.Context, req api.StartRequest) (plan deploy.Plan, err error) {
	for _, name := range req.Services {
		if _, err := c.found(name); err != nil {
			return plan, err
		}
		plan.Steps = append(plan.Steps, "start: service "+name)
	}
	return plan, nil
}

func (c *Cluster) Update(ctx context.Context, req api.UpdateRequest, fn func(deploy.Progress) error) error {
	s, err := c.found(req.Service)
	if err != nil {
		return err
	}
	_, repository, _ := strings.Cut(req.Image, "/")
	known := slices.ContainsFunc(someImages(c.now),
		func(i fleet.Image) bool { return i.Repository+":"+i.Tag == repository })
	if !known {
		return fail(api.CodeNotFound, "no image %s in the registry; push it first", req.Image)
	}
	e := deploy.Progress{Service: s.Name, Stage: history.StageUpdate, Desired: s.Desired}
	if err := c.begin(ctx, e, fn); err != nil {
		return err
	}
	for e.Running < e.Desired {
		e.Running++
		if err := fn(e); err != nil {
			return err
		}
	}
	c.change(s.Name, func(s *fleet.Service) { s.Image, s.Update = req.Image, "completed" })
	e.Done = finish(deploy.Summary{Started: s.Desired, Stopped: s.Running})
	return fn(e)
}

func (c *Cluster) RemoveService(ctx context.Context, service string, fn func(deploy.Progress) error) error {
	s, err := c.found(service)
	if err != nil {
		return err
	}
	e := deploy.Progress{Service: s.Name, Stage: history.StageRemove, Running: s.Running, Stopping: s.Running}
	if err := c.begin(ctx, e, fn); err != nil {
		return err
	}
	c.mu.Lock()
	c.services = slices.DeleteFunc(c.services, func(v fleet.Service) bool { return v.Name == s.Name })
	c.tasks = slices.DeleteFunc(c.tasks, func(v fleet.Task) bool { return v.Service == s.Name })
	c.away = c.away || s.Name == "robot"
	c.mu.Unlock()
	for e.Stopping > 0 {
		e.Running--
		e.Stopping--
		if err := fn(e); err != nil {
			return err
		}
	}
	e.Done = finish(deploy.Summary{Stopped: s.Running})
	return fn(e)
}

// begin sends the first event, and waits for ever where the service is held.
func (c *Cluster) begin(ctx context.Context, e deploy.Progress, fn func(deploy.Progress) error) error {
	if err := fn(e); err != nil {
		return err
	}
	c.mu.Lock()
	held := c.hold[e.Service]
	c.mu.Unlock()
	if held {
		return c.wait(ctx, e.Service)
	}
	return nil
}

func (c *Cluster) found(service string) (fleet.Service, error) {
	if err := c.manager(); err != nil {
		return fleet.Service{}, err
	}
	defer c.mu.Unlock()
	s, err := c.service(service)
	if err != nil {
		return fleet.Service{}, err
	}
	return *s, nil
}

// resize gives a service n running tasks: it keeps those of its first slots.
func (c *Cluster) resize(service string, n int) {
	c.change(service, func(s *fleet.Service) {
		if n == 0 {
			s.Before = s.Desired
		}
		s.Desired, s.Running, s.Complete = n, n, 0
		kept := map[int]bool{}
		c.tasks = slices.DeleteFunc(c.tasks, func(t fleet.Task) bool {
			keep := t.Service != s.Name || t.State == fleet.TaskRunning && t.Slot <= n
			kept[t.Slot] = kept[t.Slot] || keep && t.Service == s.Name
			return !keep
		})
		for slot := 1; slot <= n; slot++ {
			if !kept[slot] {
				c.tasks = append(c.tasks, someTask(*s, slot, slot%2+1, fleet.TaskRunning, c.now))
			}
		}
	})
}

func (c *Cluster) change(service string, f func(*fleet.Service)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if s, err := c.service(service); err == nil {
		f(s)
	}
}

func finish(s deploy.Summary) *deploy.Summary {
	s.Took = time.Duration(max(s.Started, s.Stopped)) * taskTook
	if s.Started > 0 {
		s.P50, s.P95 = s.Took/2, s.Took*19/20
		s.Slowest, s.SlowestTook = "h2", s.Took
	}
	return &s
}
