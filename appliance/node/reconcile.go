package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/crawlbox/crawlbox/appliance/fleet"
	"github.com/crawlbox/crawlbox/appliance/lifecycle"
	"github.com/crawlbox/crawlbox/appliance/rollout"
	"github.com/crawlbox/crawlbox/appliance/swarm"
	"github.com/crawlbox/crawlbox/configs"
)

// reconciler keeps the services of the swarm at those of the config file:
// at the start, when the file changes, and when the engine comes back. What
// failed is tried again after retryInterval.
type reconciler struct {
	engine *swarm.Engine
	runner *rollout.Runner
	load   func() (configs.Config, error)
	file   string
	log    *slog.Logger
	kick   chan struct{}
	cfg    configs.Config // the last one that was whole
	told   map[string]string

	broken  atomic.Pointer[string] // why the file is not in force; nil if it is
	unready atomic.Pointer[string] // why the last round did not come to its end
}

const retryInterval = 15 * time.Second

func newReconciler(e *swarm.Engine, r *rollout.Runner, cfg configs.Config, load func() (configs.Config, error), log *slog.Logger) *reconciler {
	return &reconciler{engine: e, runner: r, cfg: cfg, load: load, file: cfg.File, log: log, kick: make(chan struct{}, 1), told: map[string]string{}}
}

// again asks for another round. It does not block.
func (r *reconciler) again() {
	select {
	case r.kick <- struct{}{}:
	default:
	}
}

func (r *reconciler) component() lifecycle.Component {
	return lifecycle.Func(func(ctx context.Context, ready func()) error {
		changes, err := configs.Watch(ctx, r.file, r.log)
		if err != nil {
			return err
		}
		// A round may take as long as the update that it resumes.
		ready()
		retry := r.round(ctx)
		for {
			select {
			case <-ctx.Done():
				return nil
			case <-changes:
				if r.reload() {
					retry = r.round(ctx)
				}
			case <-r.kick:
				retry = r.round(ctx)
			case <-after(retry):
				retry = r.round(ctx)
			}
		}
	})
}

func after(again bool) <-chan time.Time {
	if !again {
		return nil
	}
	return time.After(retryInterval)
}

// reload reads the file again. A broken one changes nothing.
func (r *reconciler) reload() bool {
	cfg, err := r.load()
	if err != nil {
		r.log.Error("the config file is broken; the state before it stays", "error", err)
		r.broken.Store(line("the config file is broken and the state before it stays: ", err))
		return false
	}
	r.broken.Store(nil)
	r.log.Info("the config file changed", "file", r.file, "services", len(cfg.Services))
	r.cfg = cfg
	return true
}

// round brings the cluster to the config and says whether to try again.
func (r *reconciler) round(ctx context.Context) (retry bool) {
	err := errors.Join(r.settings(ctx), r.resume(ctx), r.apply(ctx))
	if err == nil || ctx.Err() != nil {
		delete(r.told, "")
		r.unready.Store(nil)
		return false
	}
	if !errors.Is(err, swarm.ErrUnreachable) && !errors.Is(err, swarm.ErrStopped) { // the status says so anyway
		r.unready.Store(line("", err))
	}
	r.tell("", slog.LevelError, "apply the config", "error", err)
	return !errors.Is(err, swarm.ErrNotManager)
}

func line(before string, err error) *string {
	text := before + strings.ReplaceAll(err.Error(), "\n", "; ")
	return &text
}

// problems are what the user shall know of the config. It may be called from
// any goroutine.
func (r *reconciler) problems() (list []string) {
	for _, p := range []*atomic.Pointer[string]{&r.broken, &r.unready} {
		if text := p.Load(); text != nil {
			list = append(list, *text)
		}
	}
	return list
}

// afterPush lets h serve and asks for another round when an image was pushed: a
// service may wait for it.
func (r *reconciler) afterPush(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		h.ServeHTTP(w, req)
		if req.Method == http.MethodPut && strings.Contains(req.URL.Path, "/manifests/") {
			r.again()
		}
	})
}

// tell logs what is said about a subject once, until it changes.
func (r *reconciler) tell(subject string, level slog.Level, msg string, args ...any) {
	text := fmt.Sprint(append([]any{msg}, args...)...)
	if r.told[subject] == text {
		return
	}
	r.told[subject] = text
	r.log.Log(context.Background(), level, msg, args...)
}

// settings are those of `docker swarm update`.
func (r *reconciler) settings(ctx context.Context) error {
	var s swarm.Settings
	if h := r.cfg.Swarm.Heartbeat; h > 0 {
		s.Heartbeat = &h
	}
	if n := int64(r.cfg.Swarm.TaskHistory); n >= 0 {
		s.TaskHistory = &n
	}
	if err := r.engine.Configure(ctx, s); err != nil {
		return fmt.Errorf("set the swarm's heartbeat and task history: %w", err)
	}
	return nil
}

// resume takes up updates that a manager did not live to end.
func (r *reconciler) resume(ctx context.Context) error {
	services, err := r.engine.Services(ctx)
	if err != nil {
		return err
	}
	var errs []error
	for _, svc := range services {
		if svc.Pending != "" {
			errs = append(errs, r.runner.Resume(ctx, svc))
		}
	}
	return errors.Join(errs...)
}

func (r *reconciler) apply(ctx context.Context) error {
	snap, err := r.engine.Snapshot(ctx)
	if err != nil {
		return err
	}
	byName := map[string]configs.Service{}
	defs := make([]rollout.Definition, 0, len(r.cfg.Services))
	for _, s := range r.cfg.Services {
		byName[s.Name] = s
		defs = append(defs, rollout.Definition{Name: s.Name, Hash: s.Hash, Replicas: s.Replicas()})
	}
	var errs []error
	for _, step := range rollout.Plan(snap, defs, r.cfg.Prune) {
		errs = append(errs, r.do(ctx, step, byName[step.Service], fleet.Finishes(snap.TasksOf(step.ID))))
	}
	return errors.Join(errs...)
}

// do takes one step; finishes is about the service as it runs now.
func (r *reconciler) do(ctx context.Context, step rollout.Step, svc configs.Service, finishes bool) (err error) {
	switch step.Action {
	case rollout.Report, rollout.Refuse:
		r.tell(step.Service, slog.LevelWarn, "service "+step.Service+": "+step.Why)
		return nil
	case rollout.Wait:
		return fmt.Errorf("service %s: %s", step.Service, step.Why)
	case rollout.Remove:
		err = r.engine.Remove(ctx, step.ID)
	default:
		err = r.define(ctx, step, svc, finishes)
	}
	if err != nil {
		return fmt.Errorf("%s service %s: %w", step.Action, step.Service, err)
	}
	delete(r.told, step.Service)
	r.log.Info(string(step.Action)+" service "+step.Service, "why", step.Why)
	return nil
}

func (r *reconciler) define(ctx context.Context, step rollout.Step, svc configs.Service, finishes bool) error {
	spec, err := swarm.ServiceSpec(svc)
	if err != nil {
		return err
	}
	// A service with an image that nobody pushed would start later, by its tag,
	// with whatever each node finds under it then.
	if _, err := r.engine.Digest(ctx, svc.Compose.Image); errors.Is(err, swarm.ErrNoImage) {
		return fmt.Errorf("%w %s; it starts once that is pushed", swarm.ErrNoImage, svc.Compose.Image)
	}
	if finishes && !svc.SaysFailureAction() {
		swarm.TolerateEnd(&spec)
	}
	if step.Action == rollout.Create {
		_, err = r.engine.Create(ctx, spec)
		return err
	}
	return r.engine.Replace(ctx, step.ID, spec, step.KeepReplicas)
}
