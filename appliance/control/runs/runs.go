// Package runs holds the use cases of runs: to begin one, to look at those that run and at those of which a record is
// kept, to stop one. It is a room of its own beside package control, since a run is no change of a service: it makes
// one, and the manager that leads sees to its end.
package runs

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/crawlbox/crawlbox/appliance/api"
	"github.com/crawlbox/crawlbox/appliance/base/naming"
	"github.com/crawlbox/crawlbox/appliance/base/words"
	"github.com/crawlbox/crawlbox/appliance/fleet"
	"github.com/crawlbox/crawlbox/appliance/runs"
	"github.com/crawlbox/crawlbox/appliance/runs/starter"
	"github.com/crawlbox/crawlbox/appliance/swarm"
	"github.com/crawlbox/crawlbox/appliance/swarm/servicespec"
)

// Engine holds the methods of *swarm.Engine that runs need.
type Engine interface {
	HasRuns(ctx context.Context) (bool, error)
	Service(ctx context.Context, idOrName string) (fleet.Service, error)
	Services(ctx context.Context) ([]fleet.Service, error)
	Snapshot(ctx context.Context) (fleet.Snapshot, error)
	StopRun(ctx context.Context, id, label string) error
	Variables(ctx context.Context, id string, names []string) (map[string]string, error)
}

// Runs answers api.Runs.
type Runs struct {
	engine  Engine
	starter *starter.Starter
	store   *runs.Store
	explain func(error) error
	some    atomic.Bool // went on when it was looked last
}

// New returns the runs that engine and store have. explain gives errors their code.
func New(e Engine, s *starter.Starter, store *runs.Store, explain func(error) error) *Runs {
	return &Runs{engine: e, starter: s, store: store, explain: explain}
}

// Begin implements api.Runs.
func (r *Runs) Begin(ctx context.Context, req api.RunRequest) (runs.Record, error) {
	if req.Service != "" {
		if err := r.known(ctx, req.Service); err != nil {
			return runs.Record{}, err
		}
	}
	return r.begin(ctx, runs.Spec{
		ID:       req.Name,
		Service:  req.Service,
		Image:    req.Image,
		Args:     req.Args,
		Command:  req.Command,
		Replicas: req.Replicas,
		Retries:  req.Retries,
		Timeout:  req.Timeout,
	}, req.Env)
}

// known refuses what no run can be of.
func (r *Runs) known(ctx context.Context, service string) error {
	switch svc, err := r.engine.Service(ctx, service); {
	case err != nil && !errors.Is(err, swarm.ErrNotFound):
		return r.explain(err)
	case err != nil || svc.Name != service:
	case svc.IsRun():
		return api.Conflict("%s is a run; begin it again with `crawlbox rerun %[1]s`", service)
	case svc.IsOwn():
		return api.Conflict("service %s is the cluster's own, and has no runs", service)
	default:
		return nil
	}
	services, err := r.engine.Services(ctx)
	if err != nil {
		return r.explain(err)
	}
	var names []string
	for _, svc := range services {
		if !svc.IsRun() {
			names = append(names, svc.Name)
		}
	}
	hint := "`crawlbox ls` lists them; an image has a : or a / in its name"
	if near := words.Nearest(service, names); near != "" {
		hint = fmt.Sprintf("did you mean %q?", near)
	}
	return api.NotFound("unknown service %q; %s", service, hint)
}

func (r *Runs) begin(ctx context.Context, spec runs.Spec, variables map[string]string) (runs.Record, error) {
	now := time.Now().UTC()
	spec.At, spec.By = now, api.PeerUser(ctx)
	spec.ID = cmp.Or(spec.ID, runs.NewID(spec.Group(), now))
	if err := spec.Check(); err != nil {
		return runs.Record{}, api.Invalid("%s", err)
	}
	if (fleet.Service{Name: spec.ID}).IsOwn() {
		return runs.Record{}, api.Invalid("names that begin with %s are the cluster's own", fleet.OwnServices)
	}
	begun, err := r.starter.Start(ctx, spec, variables)
	switch {
	case errors.Is(err, starter.ErrExists):
		return runs.Record{}, api.Conflict("there is a run or a service %s already; choose another --name", spec.ID)
	case errors.Is(err, servicespec.ErrNoProgram):
		return runs.Record{}, api.Invalid("%s", err)
	case err != nil:
		return runs.Record{}, r.explain(err)
	}
	return runs.Record{Spec: begun, State: runs.Waiting}, nil
}

// Rerun implements api.Runs.
func (r *Runs) Rerun(ctx context.Context, id string) (runs.Record, error) {
	was, err := r.find(ctx, id)
	if err != nil {
		return runs.Record{}, err
	}
	spec := was.Spec
	spec.ID, spec.Schedule, spec.Planned, spec.Env = "", "", time.Time{}, nil
	return r.begin(ctx, spec, was.Variables)
}

// live returns the runs that have a service, and those services.
func (r *Runs) live(ctx context.Context) (list []runs.Record, services []fleet.Service, err error) {
	if !r.some.Load() { // where there were some, the question would take as long as the services themselves
		some, err := r.engine.HasRuns(ctx)
		if err != nil || !some {
			return nil, nil, r.explain(err)
		}
	}
	snap, err := r.engine.Snapshot(ctx)
	if err != nil {
		return nil, nil, r.explain(err)
	}
	r.some.Store(slices.ContainsFunc(snap.Services, fleet.Service.IsRun))
	for _, svc := range snap.Services {
		spec, err := runs.Parse(svc.Run)
		if !svc.IsRun() || err != nil {
			continue
		}
		stop, _ := runs.ParseStop(svc.RunStop) // the leader says that it can't be read
		spec.ID = svc.Name
		is := runs.NewRecord(spec, stop, snap.TasksOf(svc.ID), snap.Taken.UTC())
		list, services = append(list, is), append(services, svc)
	}
	return list, services, nil
}

// Run implements api.Runs.
func (r *Runs) Run(ctx context.Context, id string) (runs.Record, error) {
	is, err := r.find(ctx, id)
	if err != nil {
		return is, err
	}
	is.Usual, err = r.store.Usual(is)
	return is, r.explain(err)
}

// find returns the record where there is one, which has what the nodes said.
func (r *Runs) find(ctx context.Context, id string) (runs.Record, error) {
	is, kept, err := r.store.Find(id)
	if kept || err != nil {
		return is, r.explain(err)
	}
	is, svc, err := r.liveOne(ctx, id)
	if err != nil {
		return is, err
	}
	is.Variables, err = r.engine.Variables(ctx, svc.ID, is.Env)
	return underWay(is), r.explain(err)
}

// underWay is a run of which no record is kept yet: that it has ended is said once its record says why.
func underWay(r runs.Record) runs.Record {
	if !r.Ended.IsZero() {
		r.State, r.Why, r.ExitCode, r.Ended = runs.Running, "", 0, time.Time{}
	}
	return r
}

func (r *Runs) liveOne(ctx context.Context, id string) (runs.Record, fleet.Service, error) {
	list, services, err := r.live(ctx)
	if err != nil {
		return runs.Record{}, fleet.Service{}, err
	}
	i := slices.IndexFunc(list, func(r runs.Record) bool { return r.ID == id })
	if i < 0 {
		return runs.Record{}, fleet.Service{}, r.unknown(id)
	}
	return list[i], services[i], nil
}

func (r *Runs) unknown(id string) error {
	if naming.CheckService(id) != nil {
		return api.Invalid("%.64q is no ID of a run; `crawlbox runs` lists them", id)
	}
	return api.NotFound("unknown run %q; `crawlbox runs` lists them", id)
}

// Runs implements api.Runs.
func (r *Runs) Runs(ctx context.Context, q api.RunQuery) ([]runs.Record, error) {
	kept, err := r.store.List()
	if err != nil {
		return nil, r.explain(err)
	}
	live, _, err := r.live(ctx)
	if err != nil {
		return nil, err
	}
	ended := map[string]bool{}
	for _, is := range kept {
		ended[is.ID] = true
	}
	list := []runs.Record{}
	for _, is := range live {
		if !ended[is.ID] {
			list = append(list, underWay(is).Head())
		}
	}
	list = slices.DeleteFunc(append(list, kept...), func(is runs.Record) bool { return !means(q, is) })
	runs.SortNewest(list)
	if q.Most > 0 {
		list = list[:min(len(list), q.Most)]
	}
	return list, nil
}

// means reports whether a query chooses a run.
func means(q api.RunQuery, is runs.Record) bool {
	of := q.Of == "" || slices.Contains([]string{is.Service, is.Schedule, is.Group()}, q.Of)
	bad := !is.Ended.IsZero() && is.State != runs.Done
	return of && (!q.Failed || bad) && (q.Since.IsZero() || is.At.After(q.Since))
}

// StopRun implements api.Runs.
func (r *Runs) StopRun(ctx context.Context, id string) error {
	switch has, err := r.store.Has(id); {
	case err != nil:
		return r.explain(err)
	case has:
		return api.Conflict("run %s has ended", id)
	}
	_, svc, err := r.liveOne(ctx, id)
	if err != nil {
		return err
	}
	label, err := runs.Stop{At: time.Now().UTC(), By: api.PeerUser(ctx)}.Label()
	if err != nil {
		return err
	}
	return r.explain(r.engine.StopRun(ctx, svc.ID, label))
}

// RemoveRun implements api.Runs.
func (r *Runs) RemoveRun(ctx context.Context, id string) error {
	there, err := r.store.Remove(id)
	if there || err != nil {
		return r.explain(err)
	}
	if _, _, err := r.liveOne(ctx, id); err != nil {
		return err
	}
	return api.Conflict("run %s has not ended; end it with `crawlbox run stop %[1]s`", id)
}
