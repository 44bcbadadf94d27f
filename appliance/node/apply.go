package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/crawlbox/crawlbox/appliance/deploy"
	"github.com/crawlbox/crawlbox/appliance/deploy/history"
	"github.com/crawlbox/crawlbox/appliance/fleet"
	"github.com/crawlbox/crawlbox/configs/compose"
)

// byConfig is who a change is by that the config file asks for.
const byConfig = "crawlbox.yaml"

// apply begins what there is to do. Changes of services go on by themselves, each on
// its own, and ask for another round when they are done.
func (r *reconciler) apply(ctx context.Context) error {
	snap, err := r.engine.Snapshot(ctx)
	if err != nil {
		return err
	}
	cfg := r.Config()
	byName := map[string]compose.Service{}
	defs := make([]deploy.Definition, 0, len(cfg.Services))
	for _, s := range cfg.Services {
		byName[s.Name] = s
		defs = append(defs, deploy.Definition{Name: s.Name, Hash: s.Hash, Replicas: s.Replicas()})
	}
	var errs []error
	steps := deploy.Plan(snap, defs, cfg.Prune)
	r.inForce(defs, steps)
	for _, step := range steps {
		var now *fleet.Service
		if svc, there := snap.Service(step.Service); there {
			now = &svc
		}
		errs = append(errs, r.do(ctx, step, byName[step.Service], now))
	}
	return errors.Join(errs...)
}

// inForce takes back what was to be known of services that are as they are defined.
func (r *reconciler) inForce(defs []deploy.Definition, steps []deploy.Step) {
	for _, d := range defs {
		if !slices.ContainsFunc(steps, func(s deploy.Step) bool { return s.Service == d.Name }) {
			r.Settled(d.Name)
		}
	}
}

// do takes one step, or begins it.
func (r *reconciler) do(ctx context.Context, step deploy.Step, svc compose.Service, now *fleet.Service) (err error) {
	switch step.Action {
	case deploy.Report, deploy.Refuse:
		r.tell(step.Service, slog.LevelWarn, "service "+step.Service+": "+step.Why)
		return nil
	case deploy.Wait:
		return fmt.Errorf("service %s: %s", step.Service, step.Why)
	case deploy.Remove:
		if err = r.engine.Remove(ctx, step.ID); err == nil {
			r.forget(step.Service)
			r.log.Info(string(step.Action)+" service "+step.Service, "why", step.Why)
		}
	default:
		err = r.start(ctx, step, svc, now)
	}
	if err != nil {
		return fmt.Errorf("%s service %s: %w", step.Action, step.Service, err)
	}
	return nil
}

// start brings a service to its definition, unless that is under way or was tried.
func (r *reconciler) start(ctx context.Context, step deploy.Step, svc compose.Service, now *fleet.Service) error {
	if e, tried := r.tried(svc); tried && now != nil {
		if e.Result == history.Running {
			return nil // whoever ends it asks for another round
		}
		r.note(svc.Name, whyNotAgain(svc.Name, e))
		return nil
	}
	image, from, err := r.imageOf(ctx, svc, now)
	if errors.Is(err, errNotBuilt) {
		r.note(svc.Name, err.Error())
		return nil
	}
	if err != nil {
		return err
	}
	j, mine := r.Begin(svc.Name, svc.Hash)
	if !mine {
		return nil
	}
	if from != nil && from.Note != "" {
		r.tell(svc.Name, slog.LevelWarn, "service "+svc.Name+": "+from.Note)
	}
	dep := definedDeploy(svc, image, from)
	dep.Change.KeepReplicas = step.KeepReplicas
	go func() {
		sum, err := r.Run(ctx, svc, now, dep, history.Entry{Kind: history.KindConfig, By: byConfig}, j.Emit)
		r.tellEnd(ctx, step, err)
		j.End(sum, err)
		if err == nil {
			r.Again()
			return
		}
		// What did not come to change anything is tried again.
		time.AfterFunc(retryInterval, r.Again)
	}()
	return nil
}

// tried is the entry of the history in which a definition was tried last, if it is
// the last that was tried at all and the file has not changed since.
func (r *reconciler) tried(svc compose.Service) (history.Entry, bool) {
	r.mu.Lock()
	fresh := r.fresh[svc.Name]
	r.mu.Unlock()
	for _, e := range r.past.List(svc.Name) {
		if e.Result == history.Running {
			return e, true
		}
		if e.Definition != "" {
			untouched := e.Stage == history.StageStage || e.Result == history.Interrupted
			return e, !fresh && e.Definition == svc.Hash && !untouched
		}
	}
	return history.Entry{}, false
}

// whyNotAgain says why a definition is not in force though it is in the file.
func whyNotAgain(service string, e history.Entry) string {
	again := fmt.Sprintf("change it there, or try it again with `crawlbox deploy %s`", service)
	if e.Result == history.RolledBack {
		return fmt.Sprintf("what crawlbox.yaml says was tried and the version before runs on: %s; %s", e.Why, again)
	}
	return fmt.Sprintf("another version than crawlbox.yaml says was deployed since (see `crawlbox history %s`) and stays; %s", service, again)
}

// Run deploys a service of the config file and writes that down.
func (r *reconciler) Run(ctx context.Context, svc compose.Service, now *fleet.Service, dep deploy.Deploy, e history.Entry, emit deploy.Emit) (deploy.Summary, error) {
	e.Definition = svc.Hash
	return r.past.Run(ctx, e, dep, func(d deploy.Deploy) (deploy.Summary, error) {
		return r.runner.Deploy(ctx, now, d, emit)
	})
}

// tellEnd says how a change went that the reconciler began. It is called before the
// job ends: the next round is to know that the definition was tried.
func (r *reconciler) tellEnd(ctx context.Context, step deploy.Step, err error) {
	r.Settled(step.Service)
	switch {
	case ctx.Err() != nil: // the next start sees to it
	case err == nil:
		r.log.Info(string(step.Action)+" service "+step.Service, "why", step.Why)
	default:
		r.note(step.Service, fmt.Sprintf("%s it as crawlbox.yaml says: %s", step.Action, err))
	}
}

// note keeps what the user shall know of a service, and logs it once.
func (r *reconciler) note(service, text string) {
	text = *line("", errors.New(text))
	r.mu.Lock()
	r.notes[service] = text
	r.mu.Unlock()
	r.tell(service, slog.LevelWarn, "service "+service+": "+text)
}

// Settled takes back what was to be known of a service.
func (r *reconciler) Settled(service string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.notes, service)
	delete(r.told, service)
	delete(r.fresh, service)
}
