// Package starter begins runs: it makes the service of a run from what was asked for. A person and a schedule come
// through this one door, so that a name is taken once, whoever takes it: Swarm's raft lets a service in once, and a
// name that a record has is refused.
package starter

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/crawlbox/crawlbox/appliance/deploy"
	"github.com/crawlbox/crawlbox/appliance/fleet"
	"github.com/crawlbox/crawlbox/appliance/runs"
	"github.com/crawlbox/crawlbox/appliance/swarm"
	"github.com/crawlbox/crawlbox/appliance/swarm/servicespec"
)

// Engine holds the methods of *swarm.Engine that a Starter needs.
type Engine interface {
	// Service returns a service, by ID or name. swarm.ErrNotFound is wrapped where there is none.
	Service(ctx context.Context, idOrName string) (fleet.Service, error)
	Nodes(ctx context.Context) ([]fleet.Node, error)
	Platforms(ctx context.Context, image string) []fleet.Platform
	CreateRun(ctx context.Context, of string, d servicespec.Deployment, r servicespec.Run) error
}

// Sources finds out what images are. *deploy.Sources is one.
type Sources interface {
	Resolve(ctx context.Context, named string) (pinned string, from *deploy.Source, err error)
}

// Starter begins runs. Its methods may be called at the same time.
type Starter struct {
	Engine  Engine
	Sources Sources
	Store   *runs.Store
	// Queue returns what a service of an image is told of the cluster's queue; nil: nothing.
	Queue func(ctx context.Context, pinned string) *servicespec.Queue
	// Program returns what an image runs by itself, where the cluster's registry has it.
	Program func(ctx context.Context, pinned string) (entrypoint, command []string)
}

// ErrExists is wrapped where there is, or was, a run of the same ID.
var ErrExists = errors.New("there is a run of this name already")

// Start begins a run of the spec's service as that is now, with the spec's image where it names one; or, where there is
// no such service, of the image alone. It returns the spec in full. ErrExists is wrapped where it was begun before.
func (s *Starter) Start(ctx context.Context, spec runs.Spec, variables map[string]string) (runs.Spec, error) {
	of, err := s.service(ctx, spec.Service)
	if err != nil {
		return spec, err
	}
	d := servicespec.Deployment{}
	if err := s.choose(ctx, &spec, &d, of); err != nil {
		return spec, err
	}
	for name := range variables {
		spec.Env = append(spec.Env, name)
	}
	slices.Sort(spec.Env)
	if err := spec.Check(); err != nil {
		return spec, err
	}
	if err := s.bear(ctx, spec); err != nil {
		return spec, err
	}
	switch has, err := s.Store.Has(spec.ID); {
	case err != nil:
		return spec, err
	case has:
		return spec, fmt.Errorf("%w: %s", ErrExists, spec.ID)
	}
	run := servicespec.Run{Spec: spec, Variables: variables}
	if len(spec.Args) > 0 {
		run.Entry, run.Program = s.Program(ctx, spec.Pinned())
	}
	err = s.Engine.CreateRun(ctx, of.ID, d, run)
	if errors.Is(err, swarm.ErrExists) {
		return spec, fmt.Errorf("%w: %s", ErrExists, spec.ID)
	}
	return spec, err
}

// service returns a service by its name; the zero Service: there is none.
func (s *Starter) service(ctx context.Context, name string) (fleet.Service, error) {
	if name == "" {
		return fleet.Service{}, nil
	}
	svc, err := s.Engine.Service(ctx, name)
	if errors.Is(err, swarm.ErrNotFound) || err == nil && svc.Name != name {
		return fleet.Service{}, nil
	}
	return svc, err
}

// choose completes the spec with its image, and says how to run one that is of no service.
func (s *Starter) choose(ctx context.Context, spec *runs.Spec, d *servicespec.Deployment, of fleet.Service) error {
	if of.ID != "" && spec.Image == "" {
		spec.Image, spec.Digest = of.Image, of.Digest
	}
	if of.ID != "" {
		return nil
	}
	pinned, from, err := s.Sources.Resolve(ctx, spec.Pinned())
	if err == nil && from != nil && from.Copy != nil {
		err = from.Copy(ctx, func(bytes, total int64) {})
	}
	if err != nil {
		return err
	}
	spec.Image, spec.Digest, _ = strings.Cut(pinned, "@")
	*d = servicespec.Deployment{
		Image:     pinned,
		Platforms: s.Engine.Platforms(ctx, pinned),
		Queue:     s.Queue(ctx, pinned),
	}
	return nil
}

// bear refuses more tasks than the nodes bear.
func (s *Starter) bear(ctx context.Context, spec runs.Spec) error {
	nodes, err := s.Engine.Nodes(ctx)
	if err != nil {
		return err
	}
	if why := fleet.Crowded(spec.Replicas, nodes); why != "" {
		return deploy.Conflict("%s", why)
	}
	return nil
}
