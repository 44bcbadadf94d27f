// Package services brings the services of the swarm to those of the config file that is in force in the cluster (see
// File): at the start, when that changes, and when the engine comes back. What could not begin is tried again after a
// while; what was tried and went back is not, until the file changes.
//
// Each manager has a File. The Controller runs on the one that leads, and a new one is made whenever that is another.
package services

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/crawlbox/crawlbox/appliance/base/words"
	"github.com/crawlbox/crawlbox/appliance/controller"
	"github.com/crawlbox/crawlbox/appliance/deploy"
	"github.com/crawlbox/crawlbox/appliance/deploy/history"
	"github.com/crawlbox/crawlbox/appliance/fleet"
	"github.com/crawlbox/crawlbox/appliance/lifecycle"
	"github.com/crawlbox/crawlbox/appliance/swarm"
	"github.com/crawlbox/crawlbox/configs"
)

const retry = 15 * time.Second

// Engine holds the methods of *swarm.Engine that the controller needs.
type Engine interface {
	Snapshot(ctx context.Context) (fleet.Snapshot, error)
	Configure(ctx context.Context, s swarm.Settings) error
}

// Sources name images with their digests. *deploy.Sources are ones.
type Sources interface {
	Resolve(ctx context.Context, named string) (pinned string, from *deploy.Source, err error)
}

// Controller keeps the services of the swarm at those of the config file. Its methods may
// be called from any goroutine.
type Controller struct {
	*controller.Loop
	engine   Engine
	sources  Sources
	runner   *deploy.Runner
	past     *history.Store
	file     *File
	log      *slog.Logger
	jobs     jobs
	removals removals

	unready atomic.Pointer[string] // why the last round did not come to its end

	mu     sync.Mutex
	cfg    configs.Config    // in force
	rev    string            // of cfg
	logged map[string]string // what was logged last of a subject
	notes  map[string]Note   // what is known of a service
	fresh  map[string]bool   // services whose definition has changed since the start
}

// New returns the controller of the services that are in force by a file. removed keeps which of them were removed by
// hand.
func New(
	engine Engine, sources Sources, runner *deploy.Runner, past *history.Store, removed Document, file *File,
	log *slog.Logger,
) *Controller {
	c := &Controller{
		engine:   engine,
		sources:  sources,
		runner:   runner,
		past:     past,
		file:     file,
		log:      log,
		jobs:     jobs{byService: map[string]*job{}},
		removals: removals{doc: removed},
		logged:   map[string]string{},
		notes:    map[string]Note{},
		fresh:    map[string]bool{},
	}
	c.cfg, c.rev, _ = file.Config()
	c.Loop = controller.New("services", c.round)
	c.Retry, c.RetryMost = retry, retry
	return c
}

func (c *Controller) Part() lifecycle.Part {
	return lifecycle.Part{Name: c.Name, Component: lifecycle.Func(func(ctx context.Context, ready func()) error {
		// A round may take as long as the update that it resumes.
		ready()
		go c.watch(ctx)
		return c.Run(ctx)
	})}
}

// watch asks for another round whenever other services are in force, until ctx ends.
func (c *Controller) watch(ctx context.Context) {
	for {
		changed := c.file.doc.Changed()
		if c.follow() {
			c.Again()
		}
		select {
		case <-ctx.Done():
			return
		case <-changed:
		}
	}
}

// Reload reads this manager's file again, which is in force then if it has changed. A broken one changes nothing.
func (c *Controller) Reload() error {
	err := c.file.Read()
	c.file.sync()
	c.follow()
	return err
}

// follow reports whether other services are in force than before.
func (c *Controller) follow() bool {
	cfg, rev, _ := c.file.Config()
	c.mu.Lock()
	defer c.mu.Unlock()
	if rev == c.rev {
		return false
	}
	c.rev = rev
	c.setConfig(cfg)
	return true
}

// setConfig makes a config the one in force. The caller holds mu.
func (c *Controller) setConfig(cfg configs.Config) {
	before := map[string]string{}
	for _, s := range c.cfg.Services {
		before[s.Name] = s.Hash
	}
	for _, s := range cfg.Services {
		if before[s.Name] != s.Hash {
			c.fresh[s.Name] = true
			delete(c.notes, s.Name)
		}
		delete(before, s.Name)
	}
	for gone := range before {
		delete(c.notes, gone)
	}
	c.cfg = cfg
}

// Config returns the config in force.
func (c *Controller) Config() configs.Config {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.cfg
}

// round brings the cluster to the config. An error is one that is worth another try.
func (c *Controller) round(ctx context.Context) error {
	services := controller.Round(c.observe, decide, c.act)
	err := errors.Join(c.settings(ctx), c.runner.ResumeStopped(ctx), services(ctx))
	if err == nil || ctx.Err() != nil {
		c.forget("")
		c.unready.Store(nil)
		return nil
	}
	if !swarm.IsUnreachable(err) { // the status says so anyway
		c.unready.Store(new(words.Brief(err, "failure")))
	}
	c.logOnce("", slog.LevelError, "failed to apply the config", "error", err)
	if errors.Is(err, swarm.ErrNotManager) {
		return nil
	}
	return err
}

func (c *Controller) observe(ctx context.Context) (s seen, err error) {
	if _, _, err := c.file.Config(); err != nil {
		return s, err
	}
	s.config, s.removed = c.Config(), map[string]removal{}
	for _, svc := range s.config.Services {
		was, there, err := c.removals.of(svc)
		if err != nil {
			return s, err
		}
		if there {
			s.removed[svc.Name] = was
		}
	}
	if s.snapshot, err = c.engine.Snapshot(ctx); err == nil {
		c.forgetOthers(s)
	}
	return s, err
}

// settings applies the settings of `docker swarm update`.
func (c *Controller) settings(ctx context.Context) error {
	var s swarm.Settings
	wanted := c.Config().Swarm
	if h := wanted.Heartbeat; h > 0 {
		s.Heartbeat = &h
	}
	if n := int64(wanted.TaskHistory); n >= 0 {
		s.TaskHistory = &n
	}
	if err := c.engine.Configure(ctx, s); err != nil {
		return fmt.Errorf("set the swarm's heartbeat and task history: %w", err)
	}
	return nil
}

// logOnce logs what is said about a subject once, until it changes.
func (c *Controller) logOnce(subject string, level slog.Level, msg string, args ...any) {
	text := fmt.Sprint(append([]any{msg}, args...)...)
	c.mu.Lock()
	told := c.logged[subject] == text
	c.logged[subject] = text
	c.mu.Unlock()
	if told {
		return
	}
	c.log.Log(context.Background(), level, msg, args...)
}

// forget lets what was said about a subject be said again.
func (c *Controller) forget(subject string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.logged, subject)
}
