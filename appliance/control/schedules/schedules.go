// Package schedules holds the use cases of schedules: to make one, to look at them, to pause, resume and remove one. It
// changes the cluster's state alone, on any manager; the one that leads begins the runs.
package schedules

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/crawlbox/crawlbox/appliance/api"
	"github.com/crawlbox/crawlbox/appliance/fleet"
	"github.com/crawlbox/crawlbox/appliance/runs"
	"github.com/crawlbox/crawlbox/appliance/schedule"
)

// coming is how many planned times are shown of each schedule.
const coming = 10

// Engine holds the methods of *swarm.Engine that schedules need.
type Engine interface {
	HasRuns(ctx context.Context) (bool, error)
	Services(ctx context.Context) ([]fleet.Service, error)
}

// Schedules answers api.Schedules.
type Schedules struct {
	engine  Engine
	store   *schedule.Store
	ended   func(id string) (bool, error) // reports whether there is a record of a run
	explain func(error) error
}

// New returns the schedules in store. explain gives errors their code.
func New(e Engine, store *schedule.Store, ended func(id string) (bool, error), explain func(error) error) *Schedules {
	return &Schedules{e, store, ended, explain}
}

// Schedules implements api.Schedules.
func (s *Schedules) Schedules(ctx context.Context) ([]api.Schedule, error) {
	entries, err := s.store.List()
	if err != nil {
		return nil, s.explain(err)
	}
	live, err := s.live(ctx)
	if err != nil {
		return nil, s.explain(err)
	}
	list := []api.Schedule{}
	for _, e := range entries {
		list = append(list, shown(e, live[e.Name]))
	}
	return list, nil
}

func shown(e schedule.Entry, live []string) api.Schedule {
	now := time.Now()
	is := api.Schedule{Entry: e, Live: live, Behind: e.Position.Through.After(now.Add(schedule.Late))}
	var err error
	if is.Coming, err = e.Coming(now, coming); err != nil {
		is.Bad = err.Error()
	}
	return is
}

// live returns the runs of schedules that have not ended, by the name of the schedule.
func (s *Schedules) live(ctx context.Context) (map[string][]string, error) {
	if some, err := s.engine.HasRuns(ctx); err != nil || !some {
		return nil, err
	}
	services, err := s.engine.Services(ctx)
	if err != nil {
		return nil, err
	}
	list := map[string][]string{}
	for _, svc := range services {
		spec, err := runs.Parse(svc.Run)
		if !svc.IsRun() || err != nil || spec.Schedule == "" {
			continue
		}
		ended, err := s.ended(svc.Name)
		if err != nil {
			return nil, err
		}
		if !ended {
			list[spec.Schedule] = append(list[spec.Schedule], svc.Name)
		}
	}
	return list, nil
}

// AddSchedule implements api.Schedules.
func (s *Schedules) AddSchedule(ctx context.Context, req api.ScheduleRequest) (api.Schedule, error) {
	req.By = api.PeerUser(ctx)
	if err := req.Check(); err != nil {
		return api.Schedule{}, api.Invalid("%s", err)
	}
	services, err := s.engine.Services(ctx)
	if err != nil {
		return api.Schedule{}, s.explain(err)
	}
	i := slices.IndexFunc(services, func(svc fleet.Service) bool { return svc.Name == req.Service })
	switch {
	case i < 0 || services[i].IsRun():
		return api.Schedule{}, api.NotFound("unknown service %q; `crawlbox ls` lists them, and `crawlbox deploy` "+
			"makes one", req.Service)
	case services[i].IsOwn():
		return api.Schedule{}, api.Conflict("service %s is the cluster's own, and has no runs", req.Service)
	}
	var made schedule.Entry
	err = s.store.Update("add schedule "+req.Name, func(list []schedule.Entry) ([]schedule.Entry, error) {
		if i := schedule.Find(list, req.Name); i >= 0 {
			switch {
			case list[i].Config:
				return nil, ofConfig(req.Name)
			case !req.Replace:
				return nil, api.Conflict("there is a schedule %s already; --replace changes it", req.Name)
			}
		}
		list = schedule.With(list, req.Schedule, false, time.Now())
		made = list[schedule.Find(list, req.Name)]
		return list, nil
	})
	return shown(made, nil), s.said(err)
}

func ofConfig(name string) error {
	return api.Conflict("schedule %s is of crawlbox.yaml; change it there, or pause it", name)
}

// said gives an error its code, unless it has one.
func (s *Schedules) said(err error) error {
	if known := (*api.Error)(nil); errors.As(err, &known) {
		return known
	}
	return s.explain(err)
}

// change changes one schedule.
func (s *Schedules) change(what, name string, fn func(list []schedule.Entry, i int) ([]schedule.Entry, error)) error {
	return s.said(s.store.Update(what+" schedule "+name, func(list []schedule.Entry) ([]schedule.Entry, error) {
		i := schedule.Find(list, name)
		if i < 0 {
			return nil, api.NotFound("unknown schedule %q; `crawlbox schedule ls` lists them", name)
		}
		return fn(list, i)
	}))
}

// RemoveSchedule implements api.Schedules.
func (s *Schedules) RemoveSchedule(_ context.Context, name string) error {
	return s.change("remove", name, func(list []schedule.Entry, i int) ([]schedule.Entry, error) {
		if list[i].Config {
			return nil, ofConfig(name)
		}
		return slices.Delete(list, i, i+1), nil
	})
}

// PauseSchedule implements api.Schedules.
func (s *Schedules) PauseSchedule(ctx context.Context, name string) error {
	by := api.PeerUser(ctx)
	return s.change("pause", name, func(list []schedule.Entry, i int) ([]schedule.Entry, error) {
		if list[i].Paused == nil {
			list[i].Paused = &schedule.Pause{By: by, At: time.Now().UTC()}
		}
		return list, nil
	})
}

// ResumeSchedule implements api.Schedules. What waits is dropped, and so is a time that a wrong clock has come to.
func (s *Schedules) ResumeSchedule(_ context.Context, name string) error {
	return s.change("resume", name, func(list []schedule.Entry, i int) ([]schedule.Entry, error) {
		events := list[i].Position.Events
		list[i].Paused = nil
		list[i].Position = schedule.Position{Through: time.Now().UTC(), Events: events}
		return list, nil
	})
}
