package swarm

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/network"
	"github.com/docker/docker/api/types/swarm"

	"github.com/crawlbox/crawlbox/appliance/swarm/servicespec"
)

// CreateDeployed makes a service of a deployment, with what services of the config
// file get that say nothing else.
func (e *Engine) CreateDeployed(ctx context.Context, name string, d servicespec.Deployment) (id string, err error) {
	spec, err := servicespec.New(name)
	if err != nil {
		return "", err
	}
	if _, _, err := e.apply(ctx, &spec, d); err != nil {
		return "", err
	}
	return e.Create(ctx, spec)
}

// CreateRun makes the service of a run from the one that it is of, by ID, as that is now; of one without, from what a
// deployment makes. ErrExists is wrapped where there is a service of its name.
func (e *Engine) CreateRun(ctx context.Context, of string, d servicespec.Deployment, r servicespec.Run) error {
	ctx, cancel := bounded(ctx)
	defer cancel()
	var spec swarm.ServiceSpec
	if of != "" {
		s, _, err := e.inspect(ctx, of)
		if err != nil {
			return err
		}
		spec = s.Spec
	} else {
		made, err := servicespec.New(r.ID)
		if err != nil {
			return err
		}
		if _, _, err := e.apply(ctx, &made, d); err != nil {
			return err
		}
		spec = made
	}
	if err := r.Apply(&spec); err != nil {
		return err
	}
	_, err := e.cli.ServiceCreate(ctx, spec, swarm.ServiceCreateOptions{QueryRegistry: r.Digest == ""})
	if cerrdefs.IsAlreadyExists(err) || cerrdefs.IsConflict(err) {
		return fmt.Errorf("%w: %s", ErrExists, r.ID)
	}
	return e.explain(err)
}

// ErrExists is wrapped where there is a service of the name already.
var ErrExists = errors.New("there is a service of this name")

// StopRun ends the tasks of a run, by its service's ID. Swarm goes on to know what became of them. Where somebody has
// ended it already, nothing is changed.
func (e *Engine) StopRun(ctx context.Context, id, label string) error {
	return e.changeService(ctx, id, false, func(s *swarm.ServiceSpec) error {
		servicespec.StopRun(s, label)
		return nil
	})
}

// RestartRun begins the tasks of a run again, by its service's ID, unless that was done so many times already.
func (e *Engine) RestartRun(ctx context.Context, id string, times int) error {
	return e.changeService(ctx, id, false, func(s *swarm.ServiceSpec) error {
		servicespec.RestartRun(s, times)
		return nil
	})
}

// Variables returns those of a service, by ID, that have the names.
func (e *Engine) Variables(ctx context.Context, id string, names []string) (map[string]string, error) {
	if len(names) == 0 {
		return nil, nil
	}
	s, _, err := e.inspect(ctx, id)
	if err != nil || s.Spec.TaskTemplate.ContainerSpec == nil {
		return nil, err
	}
	env := map[string]string{}
	for _, variable := range s.Spec.TaskTemplate.ContainerSpec.Env {
		if name, value, _ := strings.Cut(variable, "="); slices.Contains(names, name) {
			env[name] = value
		}
	}
	return env, nil
}

// apply brings a service to a deployment, and returns what it was and what it is.
func (e *Engine) apply(ctx context.Context, s *swarm.ServiceSpec,
	d servicespec.Deployment) (before, after servicespec.Plain, err error) {
	if before, err = servicespec.PlainOf(*s); err != nil {
		return nil, nil, err
	}
	if err := d.Apply(s); err != nil {
		return nil, nil, err
	}
	if d.Spec != nil {
		if err := e.resolveObjects(ctx, s); err != nil {
			return nil, nil, err
		}
	}
	d.OnHost = e.resolveNetworks(ctx, s)
	if err := d.TellQueue(s, before); err != nil {
		return nil, nil, err
	}
	after, err = servicespec.PlainOf(*s)
	return before, after, err
}

// Deploy brings a service, by ID, to another version in one change. It reports whether
// that makes its tasks others, so that Swarm replaces them.
func (e *Engine) Deploy(ctx context.Context, id string, d servicespec.Deployment) (replaced bool, err error) {
	err = e.changeService(ctx, id, false, func(s *swarm.ServiceSpec) error {
		before, after, err := e.apply(ctx, s, d)
		replaced = err == nil && !before.SameTasks(after)
		return err
	})
	return replaced, err
}

// Spec returns what a service, by ID, is asked to be, for Deployment.Spec. It names networks by their
// names, so that it is of use in a swarm that is restored, where all have other IDs.
func (e *Engine) Spec(ctx context.Context, id string) (json.RawMessage, error) {
	ctx, cancel := bounded(ctx)
	defer cancel()
	s, _, err := e.inspect(ctx, id)
	if err != nil {
		return nil, err
	}
	if err := e.nameNetworks(ctx, &s.Spec, map[string]string{}); err != nil {
		return nil, err
	}
	return json.Marshal(s.Spec)
}

// resolveObjects names the configs and secrets of a service that was once by the IDs that they have now.
func (e *Engine) resolveObjects(ctx context.Context, s *swarm.ServiceSpec) error {
	if c := s.TaskTemplate.ContainerSpec; c == nil || len(c.Configs)+len(c.Secrets) == 0 {
		return nil
	}
	ids, err := e.ids(ctx)
	if err != nil {
		return err
	}
	return ids.refer(s)
}

// resolveNetworks names networks by their ID, as Swarm does, so that a service as it
// is asked for compares with one as it is. What Swarm does not know it will refuse. It reports
// whether one is that of the machine.
func (e *Engine) resolveNetworks(ctx context.Context, s *swarm.ServiceSpec) (onHost bool) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	for i, a := range s.TaskTemplate.Networks {
		if n, err := e.cli.NetworkInspect(ctx, a.Target, network.InspectOptions{Scope: "swarm"}); err == nil {
			s.TaskTemplate.Networks[i].Target = n.ID
			onHost = onHost || n.Name == servicespec.HostNetwork
		}
	}
	return onHost
}

// Changes says which keys of a service, by ID, a deployment would change, in the
// words of the config file: image, environment.QUEUE, deploy.replicas. Values are
// not told: they may be secret.
func (e *Engine) Changes(ctx context.Context, id string, d servicespec.Deployment) ([]string, error) {
	s, _, err := e.inspect(ctx, id)
	if err != nil {
		return nil, err
	}
	before, after, err := e.apply(ctx, &s.Spec, d)
	if err != nil {
		return nil, err
	}
	return d.Changes(before, after), nil
}
