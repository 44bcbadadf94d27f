package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/crawlbox/crawlbox/appliance/deploy"
	"github.com/crawlbox/crawlbox/appliance/lifecycle"
	"github.com/crawlbox/crawlbox/appliance/swarm"
	"github.com/crawlbox/crawlbox/configs"
)

// reconciler keeps the services of the swarm at those of the config file:
// at the start, when the file changes, and when the engine comes back. What could
// not begin is tried again after retryInterval; what was tried and went back is not,
// until the file changes.
type reconciler struct {
	engine *swarm.Engine
	runner *deploy.Runner
	past   *deploys
	load   func() (configs.Config, error)
	file   string
	log    *slog.Logger
	kick   chan struct{}

	broken  atomic.Pointer[string] // why the file is not in force; nil if it is
	unready atomic.Pointer[string] // why the last round did not come to its end

	mu    sync.Mutex
	cfg   configs.Config    // the last one that was whole
	told  map[string]string // what was logged last of a subject
	notes map[string]string // what the user shall know of a service
	fresh map[string]bool   // services whose definition has changed since the start
	jobs  map[string]*job   // changes under way, by service
}

const retryInterval = 15 * time.Second

func newReconciler(past *deploys, cfg configs.Config, load func() (configs.Config, error)) *reconciler {
	return &reconciler{engine: past.engine, runner: past.runner, past: past, cfg: cfg, load: load, file: cfg.File, log: past.log, kick: make(chan struct{}, 1),
		told: map[string]string{}, notes: map[string]string{}, fresh: map[string]bool{}, jobs: map[string]*job{}}
}

// Again asks for another round. It does not block.
func (r *reconciler) Again() {
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
				if r.Reload() == nil {
					r.log.Info("the config file changed", "file", r.file, "services", len(r.Config().Services))
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

// Reload reads the file again. A broken one changes nothing.
func (r *reconciler) Reload() error {
	cfg, err := r.load()
	if err != nil {
		r.tell(r.file, slog.LevelError, "the config file is broken; the state before it stays", "error", err)
		r.broken.Store(line("the config file is broken and the state before it stays: ", err))
		return err
	}
	r.broken.Store(nil)
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.told, r.file)
	r.takeUp(cfg)
	return nil
}

// takeUp makes a config the one in force.
func (r *reconciler) takeUp(cfg configs.Config) {
	before := map[string]string{}
	for _, s := range r.cfg.Services {
		before[s.Name] = s.Hash
	}
	for _, s := range cfg.Services {
		if before[s.Name] != s.Hash {
			r.fresh[s.Name] = true
			delete(r.notes, s.Name)
		}
		delete(before, s.Name)
	}
	for gone := range before {
		delete(r.notes, gone)
	}
	r.cfg = cfg
}

func (r *reconciler) Config() configs.Config {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.cfg
}

// round brings the cluster to the config and says whether to try again.
func (r *reconciler) round(ctx context.Context) (retry bool) {
	err := errors.Join(r.settings(ctx), r.resume(ctx), r.apply(ctx))
	if err == nil || ctx.Err() != nil {
		r.forget("")
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
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, service := range slices.Sorted(maps.Keys(r.notes)) {
		list = append(list, "service "+service+": "+r.notes[service])
	}
	return list
}

// afterPush lets h serve and asks for another round when an image was pushed: a
// service may wait for it.
func (r *reconciler) afterPush(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		h.ServeHTTP(w, req)
		if req.Method == http.MethodPut && strings.Contains(req.URL.Path, "/manifests/") {
			r.Again()
		}
	})
}

// tell logs what is said about a subject once, until it changes.
func (r *reconciler) tell(subject string, level slog.Level, msg string, args ...any) {
	text := fmt.Sprint(append([]any{msg}, args...)...)
	r.mu.Lock()
	told := r.told[subject] == text
	r.told[subject] = text
	r.mu.Unlock()
	if told {
		return
	}
	r.log.Log(context.Background(), level, msg, args...)
}

// forget lets what was said about a subject be said again.
func (r *reconciler) forget(subject string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.told, subject)
}

// settings are those of `docker swarm update`.
func (r *reconciler) settings(ctx context.Context) error {
	var s swarm.Settings
	wanted := r.Config().Swarm
	if h := wanted.Heartbeat; h > 0 {
		s.Heartbeat = &h
	}
	if n := int64(wanted.TaskHistory); n >= 0 {
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
