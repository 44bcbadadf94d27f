package swarm

import (
	"context"
	"errors"
	"strings"
	"time"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/swarm"

	"github.com/crawlbox/crawlbox/appliance/base/scalerule"
	"github.com/crawlbox/crawlbox/appliance/fleet"
	"github.com/crawlbox/crawlbox/appliance/swarm/servicespec"
)

// Create makes a service. Its image is pinned by digest if a registry knows
// it; otherwise every node takes what it has under that name.
func (e *Engine) Create(ctx context.Context, spec swarm.ServiceSpec) (id string, err error) {
	ctx, cancel := bounded(ctx)
	defer cancel()
	resp, err := e.cli.ServiceCreate(ctx, spec, swarm.ServiceCreateOptions{QueryRegistry: true})
	if err != nil {
		return "", e.explain(err)
	}
	return resp.ID, nil
}

// KeepOwn has the services of the cluster's own that are listed run as they are there, and removes others and their
// secrets.
func (e *Engine) KeepOwn(ctx context.Context, list []servicespec.Valkey) error {
	ctx, cancel := bounded(ctx)
	defer cancel()
	services, err := e.cli.ServiceList(ctx, swarm.ServiceListOptions{})
	if err != nil {
		return e.explain(err)
	}
	is := map[string]swarm.Service{}
	for _, s := range services {
		if strings.HasPrefix(s.Spec.Name, fleet.OwnServices) {
			is[s.Spec.Name] = s
		}
	}
	used := map[string]bool{}
	for _, v := range list {
		var ids []string
		for _, s := range v.Secrets {
			id, err := e.ensureSecret(ctx, s)
			if err != nil {
				return e.explain(err)
			}
			ids, used[s.Name] = append(ids, id), true
		}
		spec, err := v.Spec(ids)
		if err != nil {
			return err
		}
		was, there := is[v.Name]
		delete(is, v.Name)
		switch {
		case !there:
			_, err = e.cli.ServiceCreate(ctx, spec, swarm.ServiceCreateOptions{})
		case was.Spec.Labels[fleet.LabelHash] != spec.Labels[fleet.LabelHash] || !runsOnce(was):
			spec.TaskTemplate.ForceUpdate = was.Spec.TaskTemplate.ForceUpdate
			_, err = e.cli.ServiceUpdate(ctx, was.ID, was.Version, spec, swarm.ServiceUpdateOptions{})
		}
		if err != nil && outcomeOf(err) != soon && !cerrdefs.IsAlreadyExists(err) && !cerrdefs.IsConflict(err) {
			return e.explain(err)
		}
	}
	for _, s := range is {
		if err := e.cli.ServiceRemove(ctx, s.ID); err != nil && !cerrdefs.IsNotFound(err) {
			return e.explain(err)
		}
	}
	return e.removeSecrets(ctx, func(name string) bool {
		return strings.HasPrefix(name, fleet.OwnServices) && !used[name]
	})
}

// StartAgain has Swarm start a service of the cluster's own anew, by name.
func (e *Engine) StartAgain(ctx context.Context, service string) error {
	return e.changeService(ctx, service, false, func(s *swarm.ServiceSpec) error {
		s.TaskTemplate.ForceUpdate++
		return nil
	})
}

// runsOnce reports whether a service has one replica, whoever scaled it.
func runsOnce(s swarm.Service) bool {
	_, n := modeOf(s.Spec.Mode)
	return n == 1
}

// ensureSecret returns the ID of a secret, which it makes where there is none of the name.
func (e *Engine) ensureSecret(ctx context.Context, s servicespec.Secret) (id string, err error) {
	is, _, err := e.cli.SecretInspectWithRaw(ctx, s.Name)
	if !cerrdefs.IsNotFound(err) {
		return is.ID, err
	}
	made, err := e.cli.SecretCreate(ctx, swarm.SecretSpec{Annotations: swarm.Annotations{Name: s.Name}, Data: s.Data()})
	return made.ID, err
}

// removeSecrets removes secrets by their names, but those that a task has yet.
func (e *Engine) removeSecrets(ctx context.Context, which func(name string) bool) error {
	list, err := e.cli.SecretList(ctx, swarm.SecretListOptions{})
	if err != nil {
		return e.explain(err)
	}
	for _, s := range list {
		if which(s.Spec.Name) {
			_ = e.cli.SecretRemove(ctx, s.ID) // it is tried again
		}
	}
	return nil
}

// Scale sets the number of replicas of a service, by ID.
func (e *Engine) Scale(ctx context.Context, id string, replicas int) error {
	return e.changeService(ctx, id, false, func(s *swarm.ServiceSpec) error { return servicespec.Scale(s, replicas) })
}

// Autoscale sets the number of replicas of a service, by ID, that follows a queue. A nil queue is for engines that know
// none.
func (e *Engine) Autoscale(ctx context.Context, id string, a servicespec.Autoscaled, queue *servicespec.Queue) error {
	return e.changeService(ctx, id, false, func(s *swarm.ServiceSpec) error {
		if err := a.Apply(s); err != nil || !a.Again {
			return err
		}
		return servicespec.Deployment{Queue: queue}.TellQueue(s, nil)
	})
}

// SetAutoscale has the replicas of a service, by ID, follow a rule, nil: none.
func (e *Engine) SetAutoscale(ctx context.Context, id string, r *scalerule.Rule) error {
	return e.changeService(ctx, id, false, func(s *swarm.ServiceSpec) error {
		return servicespec.SetAutoscale(s, r, false)
	})
}

// PauseAutoscale has a service, by ID, not follow its queue for a reason; empty: follow it again.
func (e *Engine) PauseAutoscale(ctx context.Context, id, why string) error {
	return e.changeService(ctx, id, false, func(s *swarm.ServiceSpec) error {
		servicespec.PauseAutoscale(s, why)
		return nil
	})
}

// Start starts a service, by ID, with the number of replicas given: one that was stopped, or
// one whose replicas have ended, all at once. A nil queue is for engines that know none.
func (e *Engine) Start(ctx context.Context, id string, replicas int, queue *servicespec.Queue) error {
	return e.changeService(ctx, id, false, func(s *swarm.ServiceSpec) error {
		if err := servicespec.Start(s, replicas); err != nil {
			return err
		}
		d := servicespec.Deployment{Queue: queue, OnHost: e.resolveNetworks(ctx, s)}
		return d.TellQueue(s, nil)
	})
}

// SetImage brings a service, by ID, to another image.
func (e *Engine) SetImage(ctx context.Context, id string, c servicespec.ImageChange) error {
	return e.changeService(ctx, id, true, c.Apply)
}

// StopForUpdate scales a service to 0 and writes in the same change, into its
// label, how it is to go on, off the nodes to avoid.
func (e *Engine) StopForUpdate(ctx context.Context, id, pending, mark string, avoid []string) error {
	return e.changeService(ctx, id, false,
		func(s *swarm.ServiceSpec) error { return servicespec.StopForUpdate(s, pending, mark, avoid) })
}

// Avoid keeps the tasks of a service, by ID, off nodes, in place of those that they were kept off
// before. Tasks elsewhere run on.
func (e *Engine) Avoid(ctx context.Context, id string, nodes []string) error {
	return e.changeService(ctx, id, false, func(s *swarm.ServiceSpec) error {
		servicespec.Avoid(s, nodes)
		return nil
	})
}

// RestartUpdate has Swarm begin the update of a service, by ID, anew: what has the new version
// already is left as it is. The version before is forgotten, so that Swarm can't go
// back by itself after that, and is told not to.
func (e *Engine) RestartUpdate(ctx context.Context, id string) error {
	return e.changeService(ctx, id, false, servicespec.RestartUpdate)
}

// Remove removes a service, by ID. Its containers go after it.
func (e *Engine) Remove(ctx context.Context, id string) error {
	ctx, cancel := bounded(ctx)
	defer cancel()
	return e.explain(e.cli.ServiceRemove(ctx, id))
}

// changeService changes a spec, again if somebody else changed it between
// reading and writing.
func (e *Engine) changeService(ctx context.Context, id string, queryRegistry bool,
	change func(*swarm.ServiceSpec) error) error {
	return e.retryOutOfSequence(ctx, func(ctx context.Context) error {
		s, _, err := e.cli.ServiceInspectWithRaw(ctx, id, swarm.ServiceInspectOptions{})
		if err != nil {
			return err
		}
		if err := change(&s.Spec); err != nil {
			return err
		}
		_, err = e.cli.ServiceUpdate(ctx, s.ID, s.Version, s.Spec, swarm.ServiceUpdateOptions{
			QueryRegistry: queryRegistry, RegistryAuthFrom: swarm.RegistryAuthFromSpec,
		})
		return err
	})
}

// retryOutOfSequence runs fn again while Swarm says that the object changed
// since it was read.
func (e *Engine) retryOutOfSequence(ctx context.Context, fn func(context.Context) error) error {
	ctx, cancel := bounded(ctx)
	defer cancel()
	for {
		err := fn(ctx)
		if err == nil || ctx.Err() != nil || outcomeOf(err) != soon {
			return e.explain(err)
		}
	}
}

// SlowDown has Swarm start the failed replicas of a service, by ID, more rarely, until
// another version of it is deployed.
//
// Swarm knows one delay between the failure of a task and the next, no growing one.
// To change it is to change the tasks, and it replaces all of them, also those that
// run well (orchestrator.IsTaskDirty in swarmkit; measured with 20.10): so this is
// for services of which nothing runs, and never for one that worked before.
func (e *Engine) SlowDown(ctx context.Context, id string) error {
	return e.changeService(ctx, id, false, servicespec.SlowDown)
}

// outcome is what an answer of the engine means for who wants something to be gone, ended or
// changed, beside others who may want the same: Docker itself, Swarm, an operator.
type outcome int

const (
	failed  outcome = iota
	done            // it is so, by whoever
	soon            // the engine is busy with it: it is so in a moment, or can be
	blocked         // something else holds it
)

// outcomes lists what the engine says beside the kind of its error, which is the same for all
// conflicts. Found in moby's sources, from 20.10 on.
var outcomes = []struct {
	says string
	is   outcome
}{
	{"is already in progress", soon},     // removal of a container
	{"device or resource busy", soon},    // its file system is being unmounted
	{"out of sequence", soon},            // somebody else changed the object in the swarm
	{"has active endpoints", soon},       // of containers that are being removed, or blocked: see RemoveNetwork
	{"is not running", done},             // container to kill or to stop
	{"not part of a swarm", done},        // to leave
	{"already part of a swarm", blocked}, // to join: it may be the one that is wanted
	{"being used", blocked},              // image
	{"using its referenced image", blocked},
}

// outcomeOf returns what an error of the engine means.
func outcomeOf(err error) outcome {
	if err == nil || cerrdefs.IsNotFound(err) {
		return done
	}
	if errors.Is(err, errAtIt) {
		return soon
	}
	for _, o := range outcomes {
		if strings.Contains(err.Error(), o.says) {
			return o.is
		}
	}
	return failed
}

// againAfter is the pause before the engine is asked again for what it is busy with.
const againAfter = 200 * time.Millisecond

// insist asks the engine for something until that is so, it says no, or ctx ends: then the error is
// what it is busy with.
func insist(ctx context.Context, ask func(context.Context) error) error {
	again := time.NewTicker(againAfter)
	defer again.Stop()
	var busy error
	for {
		err := ask(ctx)
		switch outcomeOf(err) {
		case done:
			return nil
		case soon:
			busy = err
		default:
			if ctx.Err() != nil && busy != nil {
				return busy
			}
			return err
		}
		select {
		case <-again.C:
		case <-ctx.Done():
			return busy
		}
	}
}
