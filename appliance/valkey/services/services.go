// Package services runs the engines of package valkey as services of Swarm. It is apart from that since who decides
// needs no Swarm, and no Docker.
package services

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"time"

	"github.com/crawlbox/crawlbox/appliance/deploy"
	"github.com/crawlbox/crawlbox/appliance/fleet"
	"github.com/crawlbox/crawlbox/appliance/swarm/servicespec"
	"github.com/crawlbox/crawlbox/appliance/valkey"
	"github.com/crawlbox/crawlbox/configs"
)

const (
	// downFor is how long a manager may be down before its replica is made elsewhere.
	downFor = 15 * time.Minute
	// Beside data Valkey has what its clients and replica are to get, and while it writes its journal anew pages that
	// change meanwhile are there twice.
	memoryFactor = 2
	memorySpare  = 256 << 20
)

// Engine is what is asked of Swarm. *swarm.Engine is one.
type Engine interface {
	Nodes(ctx context.Context) ([]fleet.Node, error)
	KeepOwn(ctx context.Context, list []servicespec.Valkey) error
	Tasks(ctx context.Context, service string) ([]fleet.Task, error)
	StartAgain(ctx context.Context, service string) error
	Try(ctx context.Context, image string, command []string) (said string, err error)
}

// Sources finds images. *deploy.Sources is one.
type Sources interface {
	Resolve(ctx context.Context, named string) (pinned string, from *deploy.Source, err error)
}

// Cluster implements valkey.Cluster.
type Cluster struct {
	engine  Engine
	sources Sources
	log     *slog.Logger
	down    map[string]time.Time // since when managers are, by ID
	ready   map[string]bool      // nodes that run tasks, by ID
	waits   map[string]wait      // by service
}

// New returns the cluster of a manager that leads.
func New(engine Engine, sources Sources, log *slog.Logger) *Cluster {
	return &Cluster{
		engine: engine, sources: sources, log: log, down: map[string]time.Time{}, waits: map[string]wait{},
	}
}

// Managers implements valkey.Cluster.
func (c *Cluster) Managers(ctx context.Context) (list []valkey.Manager, err error) {
	nodes, err := c.engine.Nodes(ctx)
	if err != nil {
		return nil, err
	}
	c.ready = map[string]bool{}
	for _, n := range nodes {
		c.ready[n.ID] = n.State == fleet.StateReady && n.Availability == fleet.AvailabilityActive
		addr, err := netip.ParseAddr(n.Addr)
		if err != nil {
			continue
		}
		if !n.Away() {
			delete(c.down, n.ID)
		} else if c.down[n.ID].IsZero() {
			c.down[n.ID] = time.Now()
		}
		since, down := c.down[n.ID]
		list = append(list, valkey.Manager{
			Engine: valkey.Engine{Node: n.ID, Name: n.Display, Addr: netip.AddrPortFrom(addr.Unmap(), 0)},
			Leads:  n.Leader,
			Usable: n.Role == fleet.RoleManager && n.Availability == fleet.AvailabilityActive &&
				(!down || time.Since(since) < downFor),
		})
	}
	return list, nil
}

// Image implements valkey.Cluster.
func (c *Cluster) Image(ctx context.Context, named string) (string, error) {
	pinned, from, err := c.sources.Resolve(ctx, named)
	if err == nil && from != nil && from.Copy != nil {
		err = from.Copy(ctx, func(int64, int64) {})
	}
	if err != nil {
		return "", fmt.Errorf("the image %s of the queue's engine can't be had (%w): give this machine a way to its "+
			"registry; or, without the Internet, `docker pull` and `docker save` it elsewhere, `docker load` it here, "+
			"push it as localhost:8003/NAME:TAG and set queue.image to that", named, err)
	}
	said, err := c.engine.Try(ctx, pinned, valkey.Trial())
	if err == nil {
		err = valkey.Judge(said)
	}
	if err != nil {
		return "", fmt.Errorf("queue.image %s can't keep it (%w): name another there, such as the default %s", named,
			err, configs.DefaultValkey)
	}
	return pinned, nil
}

// Run implements valkey.Cluster.
func (c *Cluster) Run(ctx context.Context, d valkey.Document) error {
	keys := servicespec.NewSecret("pem", d.Keys.File())
	var list []servicespec.Valkey
	for _, e := range d.Engines {
		config := servicespec.NewSecret("conf", []byte(valkey.Config(d.Password, e.Memory)))
		list = append(list, servicespec.Valkey{
			Name:    e.Service(),
			Node:    e.Node,
			Image:   e.Image,
			Command: append([]string{"valkey-server", config.Path()}, e.Args("/data", keys.Path())...),
			Secrets: []servicespec.Secret{config, keys},
			Memory:  memoryFactor*e.Memory + memorySpare,
		})
	}
	if err := c.engine.KeepOwn(ctx, list); err != nil {
		return fmt.Errorf("keep the services of the queue: %w", err)
	}
	return c.startStuck(ctx, d.Engines)
}
