package swarm

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/docker/docker/api/types/swarm"

	"github.com/crawlbox/crawlbox/appliance/fleet"
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

// Scale sets the number of replicas of a service, by ID.
func (e *Engine) Scale(ctx context.Context, id string, replicas int) error {
	return e.changeService(ctx, id, false, func(s *swarm.ServiceSpec) error {
		n := uint64(replicas)
		switch {
		case s.Mode.Replicated != nil:
			s.Mode.Replicated.Replicas = &n
		case s.Mode.ReplicatedJob != nil:
			s.Mode.ReplicatedJob.TotalCompletions = &n
		default:
			return fmt.Errorf("service %s is global: it runs once on every node and can't be scaled; drain nodes, or remove it with `crawlbox rm %s`", s.Name, s.Name)
		}
		return nil
	})
}

// ImageChange is what SetImage changes beside the image itself.
type ImageChange struct {
	Image       string // name:tag, pinned by digest on the way if a registry knows it
	Parallelism uint64 // replicas that are replaced at once; 0: all
	Replicas    *int   // also set the number of replicas
	Finishes    bool   // see TolerateEnd
	Pending     string // the journal label; see fleet.LabelPending
}

// SetImage brings a service, by ID, to another image.
func (e *Engine) SetImage(ctx context.Context, id string, c ImageChange) error {
	return e.changeService(ctx, id, true, func(s *swarm.ServiceSpec) error {
		if s.TaskTemplate.ContainerSpec == nil {
			return errNoContainer(s.Name)
		}
		s.TaskTemplate.ContainerSpec.Image = c.Image
		withInit(s.TaskTemplate.ContainerSpec)
		s.UpdateConfig = withParallelism(s.UpdateConfig, c.Parallelism)
		if c.Finishes {
			TolerateEnd(s)
		}
		setPending(s, c.Pending)
		return setReplicas(s, c.Replicas)
	})
}

func errNoContainer(service string) error {
	return fmt.Errorf("service %s runs no container", service)
}

// StopForUpdate scales a service to 0 and writes in the same change, into its
// label, how it is to go on.
func (e *Engine) StopForUpdate(ctx context.Context, id, pending, mark string) error {
	zero := 0
	return e.changeService(ctx, id, false, func(s *swarm.ServiceSpec) error {
		setPending(s, pending)
		if mark != "" {
			setLabel(s, fleet.LabelDeploy, mark)
		}
		return setReplicas(s, &zero)
	})
}

// withInit gives a container an init process unless its author decided. A shell
// as process 1, from CMD python3 spider.py, ignores SIGTERM and would let each
// stop take the whole grace time. The docker command decides for its user: a service
// that it made has none unless --init was given.
func withInit(c *swarm.ContainerSpec) {
	if c.Init == nil {
		yes := true
		c.Init = &yes
	}
}

func setReplicas(s *swarm.ServiceSpec, replicas *int) error {
	if replicas == nil {
		return nil
	}
	if s.Mode.Replicated == nil {
		return fmt.Errorf("service %s is not replicated and can't be stopped first; update it without --stop-first-all", s.Name)
	}
	n := uint64(*replicas)
	s.Mode.Replicated.Replicas = &n
	return nil
}

func setPending(s *swarm.ServiceSpec, pending string) {
	if pending == "" {
		delete(s.Labels, fleet.LabelPending)
		return
	}
	setLabel(s, fleet.LabelPending, pending)
}

// Nudge has Swarm begin the update of a service, by ID, anew: what has the new version
// already is left as it is. The version before is forgotten, so that Swarm can't go
// back by itself any more, and is told not to.
func (e *Engine) Nudge(ctx context.Context, id string) error {
	return e.changeService(ctx, id, false, func(s *swarm.ServiceSpec) error {
		setLabel(s, fleet.LabelNudged, time.Now().UTC().Format(time.RFC3339Nano))
		if s.UpdateConfig != nil && s.UpdateConfig.FailureAction == swarm.UpdateFailureActionRollback {
			TolerateEnd(s)
		}
		return nil
	})
}

func setLabel(s *swarm.ServiceSpec, name, value string) {
	if s.Labels == nil {
		s.Labels = map[string]string{}
	}
	s.Labels[name] = value
}

// withParallelism keeps what the service's author chose and fills in
// crawlbox's defaults where there is nothing.
func withParallelism(u *swarm.UpdateConfig, n uint64) *swarm.UpdateConfig {
	if u == nil {
		return &swarm.UpdateConfig{Parallelism: n, FailureAction: swarm.UpdateFailureActionRollback, Order: swarm.UpdateOrderStopFirst, Monitor: 5 * time.Second}
	}
	c := *u
	c.Parallelism = n
	return &c
}

// TolerateEnd lets an update of a service whose tasks come to an end go through.
// Swarm takes every task that ends while an update watches it for a failure,
// also one with exit code 0, and would stop or roll back a good update of
// spiders whose queue is empty. It cannot be told the difference, neither by
// max_failure_ratio nor by a short monitor time, so the update goes on whatever
// ends, and a bad image is for its user to see.
func TolerateEnd(s *swarm.ServiceSpec) {
	if s.UpdateConfig != nil {
		s.UpdateConfig.FailureAction = swarm.UpdateFailureActionContinue
	}
}

// Remove removes a service, by ID. Its containers go after it.
func (e *Engine) Remove(ctx context.Context, id string) error {
	ctx, cancel := bounded(ctx)
	defer cancel()
	return e.explain(e.cli.ServiceRemove(ctx, id))
}

// changeService changes a spec, again if somebody else changed it between
// reading and writing.
func (e *Engine) changeService(ctx context.Context, id string, queryRegistry bool, change func(*swarm.ServiceSpec) error) error {
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
		if err == nil || ctx.Err() != nil || !strings.Contains(err.Error(), "out of sequence") {
			return e.explain(err)
		}
	}
}
