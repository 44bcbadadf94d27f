package services

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"sync/atomic"

	"github.com/crawlbox/crawlbox/appliance/deploy"
	"github.com/crawlbox/crawlbox/configs"
	"github.com/crawlbox/crawlbox/configs/compose"
)

// Current is the Controller of a manager while that leads the cluster, and answers as far as it can while it does not.
// Its methods may be called from any goroutine.
type Current struct {
	file *File
	now  atomic.Pointer[Controller]
}

// NewCurrent returns the one of a manager with a file, which does not lead yet.
func NewCurrent(file *File) *Current { return &Current{file: file} }

// Lead has a controller be the current one until over is called.
func (c *Current) Lead(now *Controller) (over func()) {
	c.now.Store(now)
	return func() { c.now.CompareAndSwap(now, nil) }
}

// Leads reports whether there is a controller.
func (c *Current) Leads() bool { return c.now.Load() != nil }

// errMoved is the error of what needs the controller of a manager that does not lead.
var errMoved = errors.New("this manager does not lead the cluster now; run the same command again")

// Reload is Controller.Reload.
func (c *Current) Reload() error {
	if now := c.now.Load(); now != nil {
		return now.Reload()
	}
	return c.file.Read()
}

// Config returns this manager's config with the services that are in force.
func (c *Current) Config() configs.Config {
	if now := c.now.Load(); now != nil {
		return now.Config()
	}
	cfg, _, _ := c.file.Config()
	return cfg
}

// Change is Controller.Change.
func (c *Current) Change(svc compose.Service, req Request) deploy.Change {
	if now := c.now.Load(); now != nil {
		return now.Change(svc, req)
	}
	return moved{}
}

// moved is a change that can't be made here.
type moved struct{}

func (moved) Plan(context.Context) (deploy.Plan, error) { return deploy.Plan{}, errMoved }
func (moved) Run(context.Context, deploy.Emit) error    { return errMoved }

// KeepAway is Controller.KeepAway.
func (c *Current) KeepAway(service, by string) (defined bool, err error) {
	if now := c.now.Load(); now != nil {
		return now.KeepAway(service, by)
	}
	return false, errMoved
}

// LetBack is Controller.LetBack.
func (c *Current) LetBack(service string) error {
	if now := c.now.Load(); now != nil {
		return now.LetBack(service)
	}
	return errMoved
}

// IsAway is Controller.IsAway.
func (c *Current) IsAway(svc compose.Service) bool {
	now := c.now.Load()
	return now != nil && now.IsAway(svc)
}

// Again asks for another round, where there is a controller.
func (c *Current) Again() {
	if now := c.now.Load(); now != nil {
		now.Again()
	}
}

// Notes returns what is known of the file and, where this manager leads, of the services.
func (c *Current) Notes() []Note {
	list := c.file.Notes()
	if now := c.now.Load(); now != nil {
		list = append(list, now.Notes()...)
	}
	return list
}

// AfterPush lets h serve and asks for another round when an image was pushed: a
// service may wait for it.
func (c *Current) AfterPush(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		h.ServeHTTP(w, req)
		if req.Method == http.MethodPut && strings.Contains(req.URL.Path, "/manifests/") {
			c.Again()
		}
	})
}
