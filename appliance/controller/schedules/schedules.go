// Package schedules begins the runs of schedules: on the manager that leads, when they are due. How far each schedule
// has come stands in the cluster's state, so that the next leader goes on where the last one stopped.
//
//	due ──▶ the newest state ──Decide──▶ runs begun, by names that a time has once ──▶ older ones stopped ──▶ noted
//
// A leader may die at any of these steps, or be one for some seconds longer than it should: what is begun and not noted
// is decided the same way once more, and finds its name taken, by a run or by its record.
package schedules

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/crawlbox/crawlbox/appliance/base/planned"
	"github.com/crawlbox/crawlbox/appliance/controller"
	"github.com/crawlbox/crawlbox/appliance/fleet"
	"github.com/crawlbox/crawlbox/appliance/runs"
	"github.com/crawlbox/crawlbox/appliance/runs/starter"
	"github.com/crawlbox/crawlbox/appliance/schedule"
)

const (
	// every is how often it looks.
	every = time.Second
	// atOnce bounds the schedules whose runs are begun at a time.
	atOnce = 8
	// maxRound bounds how long what was read is acted on. It is less than controller/runs leaves the service of a run
	// where it is after its end, so that what was not read yet still has its name taken.
	maxRound = 8 * time.Second
	// maxTimes bounds the expressions that are kept as they were read.
	maxTimes = 1000
)

// Engine holds the methods of *swarm.Engine that the controller needs.
type Engine interface {
	Services(ctx context.Context) ([]fleet.Service, error)
	StopRun(ctx context.Context, id, label string) error
}

// Starter begins runs. *starter.Starter is one.
type Starter interface {
	Start(ctx context.Context, spec runs.Spec, variables map[string]string) (runs.Spec, error)
}

// Options are what the controller works with.
type Options struct {
	Store   *schedule.Store
	Engine  Engine
	Starter Starter
	// Ended reports whether there is a record of a run. (*runs.Store).Has is one.
	Ended func(id string) (bool, error)
	// Sync brings the cluster's state here up to date with that of the other managers.
	Sync func(ctx context.Context) error
	// Defined returns the schedules of the config file that is in force; an error: it is not known.
	Defined func() ([]schedule.Schedule, error)
	Now     func() time.Time
	Log     *slog.Logger
}

type keeper struct {
	Options

	mu    sync.Mutex
	times map[string]planned.Times // by expression and zone
}

// New returns the loop.
func New(o Options) *controller.Loop {
	k := &keeper{Options: o, times: map[string]planned.Times{}}
	loop := controller.New("schedules", k.round)
	loop.First, loop.Every, loop.Retry, loop.RetryMost = every, every, every, 5*time.Second
	return loop
}

func (k *keeper) round(ctx context.Context) error {
	if err := k.define(); err != nil {
		return err
	}
	due, err := k.due()
	if err != nil || len(due) == 0 {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, maxRound)
	defer cancel()
	if err := k.Sync(ctx); err != nil {
		return err
	}
	if due, err = k.due(); err != nil || len(due) == 0 {
		return err
	}
	services, err := k.Engine.Services(ctx)
	if err != nil {
		return err
	}
	live, err := k.live(services)
	if err != nil {
		return err
	}
	var mu sync.Mutex
	var outcomes []schedule.Outcome
	var all errgroup.Group
	all.SetLimit(atOnce)
	for _, e := range due {
		all.Go(func() error {
			after, err := k.act(ctx, e, services, live[e.Name])
			if err == nil && !after.Equal(e.Position) {
				mu.Lock()
				defer mu.Unlock()
				outcomes = append(outcomes, schedule.Outcome{Of: e, After: after})
			}
			return err
		})
	}
	err = all.Wait()
	if len(outcomes) == 0 {
		return err
	}
	if failed := k.Store.Note(outcomes); failed != nil {
		return errors.Join(err, failed)
	}
	for _, o := range outcomes {
		k.tell(o)
	}
	return err
}

// define keeps the schedules of the config file as that says. Where it can't be understood, they stay, which is told
// with its services.
func (k *keeper) define() error {
	defined, unknown := k.Defined()
	list, err := k.Store.List()
	if err != nil || unknown != nil || !schedule.Differs(list, defined) {
		return err
	}
	now := k.Now()
	err = k.Store.Update("apply the schedules of the config file", func(l []schedule.Entry) ([]schedule.Entry, error) {
		return schedule.WithConfig(l, defined, now), nil
	})
	if err == nil {
		k.Log.Info("the schedules of the config file are in force", "schedules", len(defined))
	}
	return err
}

// due returns the schedules about which there may be something to do.
func (k *keeper) due() (due []schedule.Entry, err error) {
	list, err := k.Store.List()
	if err != nil {
		return nil, err
	}
	now := k.Now()
	for _, e := range list {
		if e.Paused != nil {
			continue
		}
		times, err := k.timesOf(e.Schedule)
		if err != nil { // it is told where schedules are listed
			continue
		}
		next := times.Next(e.Position.Through)
		if len(e.Position.Waiting) > 0 || !next.IsZero() && !e.Due(next).After(now) {
			due = append(due, e)
		}
	}
	return due, nil
}

func (k *keeper) timesOf(s schedule.Schedule) (planned.Times, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	name := s.Cron + "\n" + s.Zone
	if t, ok := k.times[name]; ok {
		return t, nil
	}
	t, err := s.Times()
	if err == nil && len(k.times) < maxTimes {
		k.times[name] = t
	}
	return t, err
}

// live returns the runs of schedules that have not ended, by the name of the schedule.
func (k *keeper) live(services []fleet.Service) (map[string][]schedule.Live, error) {
	list := map[string][]schedule.Live{}
	for _, svc := range services {
		spec, err := runs.Parse(svc.Run)
		if !svc.IsRun() || err != nil || spec.Schedule == "" {
			continue
		}
		ended, err := k.Ended(svc.Name)
		if err != nil {
			return nil, err
		}
		if !ended {
			is := schedule.Live{ID: svc.Name, Planned: spec.Planned, Stopping: svc.RunStop != ""}
			list[spec.Schedule] = append(list[spec.Schedule], is)
		}
	}
	return list, nil
}

// act does what there is to do about a schedule, and returns how far it has come.
func (k *keeper) act(ctx context.Context, e schedule.Entry, services []fleet.Service,
	live []schedule.Live) (after schedule.Position, err error) {
	times, err := k.timesOf(e.Schedule)
	if err != nil {
		return e.Position, err
	}
	now := k.Now().UTC()
	plan := e.Decide(times, e.Position, live, now)
	for n, planned := range plan.Begin {
		if err := k.begin(ctx, e.Schedule, planned, services); ctx.Err() != nil {
			return e.Position, ctx.Err()
		} else if err != nil {
			return plan.Failed(n, e.Position, now, err), nil
		}
	}
	for _, id := range plan.Stop {
		if err := k.stop(ctx, e.Schedule, id, services); err != nil {
			return e.Position, err
		}
	}
	return plan.Begun(), nil
}

func (k *keeper) begin(ctx context.Context, s schedule.Schedule, planned time.Time, services []fleet.Service) error {
	if !slices.ContainsFunc(services, func(svc fleet.Service) bool { return svc.Name == s.Service && !svc.IsRun() }) {
		return fmt.Errorf("unknown service %q; deploy it, or change or remove the schedule", s.Service)
	}
	run, err := k.Starter.Start(ctx, s.Run(planned, k.Now()), nil)
	if errors.Is(err, starter.ErrExists) {
		return nil
	}
	if err == nil {
		k.Log.Info("a schedule has begun a run", "schedule", s.Name, "run", run.ID)
	}
	return err
}

// stop ends a run that a later one replaces.
func (k *keeper) stop(ctx context.Context, s schedule.Schedule, id string, services []fleet.Service) error {
	i := slices.IndexFunc(services, func(svc fleet.Service) bool { return svc.Name == id })
	label, err := runs.Stop{At: k.Now().UTC(), By: "schedule " + s.Name}.Label()
	if i < 0 || err != nil {
		return err
	}
	return k.Engine.StopRun(ctx, services[i].ID, label)
}

// tell logs what schedules lists too.
func (k *keeper) tell(o schedule.Outcome) {
	known := o.Of.Position.Events
	for _, e := range o.After.Events {
		if !slices.Contains(known, e) {
			k.Log.Info("a schedule has begun no run", "schedule", o.Of.Name, "planned", e.Last, "what", e.Kind,
				"times", e.Count, "why", e.Why)
		}
	}
}
