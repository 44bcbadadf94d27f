package services

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/crawlbox/crawlbox/appliance/deploy"
	"github.com/crawlbox/crawlbox/appliance/deploy/history"
	"github.com/crawlbox/crawlbox/configs/compose"
)

// byConfig is named as the author of a change that the config file asks for.
const byConfig = "crawlbox.yaml"

// act takes one step, or begins it. Changes of services go on by themselves, each on
// its own, and ask for another round when they are done.
func (c *Controller) act(ctx context.Context, s step) error {
	switch s.action {
	case keep:
		c.settle(s.service)
		return nil
	case report:
		c.note(s.service, Gone, s.why)
		return nil
	case refuse:
		c.note(s.service, Foreign, s.why)
		return nil
	case away:
		c.note(s.service, Removed, s.why)
		return nil
	case wait:
		return fmt.Errorf("service %s: %s", s.service, s.why)
	case remove:
		c.clearNote(s.service)
		c.launch(ctx, s, c.runner.Remove(*s.now))
		return nil
	}
	if err := c.start(ctx, s); err != nil {
		return fmt.Errorf("%s service %s: %w", s.action, s.service, err)
	}
	return nil
}

// start brings a service to its definition, unless that is under way or was tried.
func (c *Controller) start(ctx context.Context, s step) error {
	svc := s.definition
	if e, tried := c.tried(svc); tried && s.now != nil {
		if e.Result == history.Running {
			return nil // its end asks for another round
		}
		c.note(svc.Name, Untaken, explainSkipped(svc.Name, e))
		return nil
	}
	image, from, err := c.imageOf(ctx, svc, s.now)
	if errors.Is(err, errNotBuilt) {
		c.note(svc.Name, NotDeployed, err.Error())
		return nil
	}
	if err != nil {
		return err
	}
	if from != nil && from.Note != "" {
		c.logOnce(svc.Name, slog.LevelWarn, "service "+svc.Name+": "+from.Note)
	}
	d := deployOf(svc, image, from)
	d.Change.KeepReplicas = s.keepReplicas
	d.Entry = history.Entry{Kind: history.KindConfig, By: byConfig, Definition: svc.Hash}
	c.launch(ctx, s, c.runner.Deploy(s.now, d))
	return nil
}

// launch runs a change by itself, unless one of its service is under way.
func (c *Controller) launch(ctx context.Context, s step, change deploy.Change) {
	j, mine := c.jobs.begin(s.service, s.definition.Hash)
	if !mine {
		return
	}
	var once sync.Once
	end := func(err error) {
		once.Do(func() {
			c.jobs.end(s.service, j, err)
			if err == nil {
				c.Again()
			}
		})
	}
	go func() {
		err := change.Run(ctx, func(p deploy.Progress) {
			j.emit(p)
			if p.Stage == history.StageRemove { // another one of the name need not wait for containers
				end(nil)
			}
		})
		c.tellEnd(ctx, s, err)
		end(err)
		if err != nil { // what did not come to change anything is tried again
			time.AfterFunc(retry, c.Again)
		}
	}()
}

// tried returns the entry of the history in which a definition was tried last, if it is
// the last that was tried at all and the file has not changed since.
func (c *Controller) tried(svc compose.Service) (history.Entry, bool) {
	c.mu.Lock()
	fresh := c.fresh[svc.Name]
	c.mu.Unlock()
	for _, e := range c.past.List(svc.Name) {
		if e.Result == history.Running {
			return e, true
		}
		if e.Definition != "" {
			untouched := e.Stage == history.StagePull || e.Result == history.Interrupted
			return e, !fresh && e.Definition == svc.Hash && !untouched
		}
	}
	return history.Entry{}, false
}

// explainSkipped says why a definition is not in force though it is in the file.
func explainSkipped(service string, e history.Entry) string {
	again := fmt.Sprintf("change it there, or try it again with `crawlbox deploy %s`", service)
	cause := strings.TrimPrefix(e.Cause(), service+": ")
	switch {
	case e.Result == history.RolledBack:
		return fmt.Sprintf("what crawlbox.yaml says was tried and the version before is back: %s; %s", cause, again)
	case e.Result == history.Failed && e.Stage == history.StageUpdate:
		return fmt.Sprintf("Swarm did not take what crawlbox.yaml says, so nothing has changed: %s; %s", cause, again)
	case e.Result == history.Failed:
		return fmt.Sprintf("what crawlbox.yaml says was tried and failed, and another version was deployed since and "+
			"stays: %s; %s", cause, again)
	}
	return fmt.Sprintf("another version than crawlbox.yaml says was deployed since (see `crawlbox history %s`) and "+
		"stays; %s", service, again)
}

// tellEnd says how a change went that the controller began. It is called before the
// job ends: the next round is to know that the definition was tried.
func (c *Controller) tellEnd(ctx context.Context, s step, err error) {
	if s.action != remove { // there may be another one of the name
		c.wasTried(s.service)
	}
	switch {
	case ctx.Err() != nil: // the next start sees to it
	case errors.As(err, new(deploy.ConflictError)): // another change of it is under way, whose end asks for a round
	case err == nil:
		c.log.Info(string(s.action)+" service "+s.service, "why", s.why)
	case s.action == remove: // it is gone and its containers take long, or the next round tries again
		c.log.Warn("failed to follow the removal of a service", "service", s.service, "error", err)
	default:
		c.note(s.service, Untaken, fmt.Sprintf("%s it as crawlbox.yaml says: %s", s.action,
			strings.TrimPrefix(err.Error(), s.service+": ")))
	}
}
