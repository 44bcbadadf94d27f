package swarm

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/distribution/reference"
	"github.com/docker/docker/api/types/swarm"

	"github.com/crawlbox/crawlbox/appliance/fleet"
)

// Services returns all services. How their tasks fare is not in them before
// Snapshot.Tally.
func (e *Engine) Services(ctx context.Context) ([]fleet.Service, error) {
	ctx, cancel := bounded(ctx)
	defer cancel()
	list, err := e.cli.ServiceList(ctx, swarm.ServiceListOptions{})
	if err != nil {
		return nil, e.explain(err)
	}
	out := make([]fleet.Service, 0, len(list))
	for _, s := range list {
		out = append(out, serviceOf(s))
	}
	return out, nil
}

// Service returns one service by ID or name.
func (e *Engine) Service(ctx context.Context, idOrName string) (fleet.Service, error) {
	ctx, cancel := bounded(ctx)
	defer cancel()
	s, _, err := e.cli.ServiceInspectWithRaw(ctx, idOrName, swarm.ServiceInspectOptions{})
	if err != nil {
		return fleet.Service{}, e.explain(err)
	}
	return serviceOf(s), nil
}

// ServiceJSON returns Docker's own description of a service.
func (e *Engine) ServiceJSON(ctx context.Context, id string) (json.RawMessage, error) {
	ctx, cancel := bounded(ctx)
	defer cancel()
	_, raw, err := e.cli.ServiceInspectWithRaw(ctx, id, swarm.ServiceInspectOptions{})
	return raw, e.explain(err)
}

func serviceOf(s swarm.Service) fleet.Service {
	svc := fleet.Service{
		ID: s.ID, Name: s.Spec.Name, Created: s.CreatedAt, Updated: s.UpdatedAt,
		Managed: s.Spec.Labels[fleet.LabelManaged] != "", Hash: s.Spec.Labels[fleet.LabelHash],
		Replicas: -1, Pending: s.Spec.Labels[fleet.LabelPending],
		Restarts: restarts(s.Spec.TaskTemplate.RestartPolicy),
	}
	if n, err := strconv.Atoi(s.Spec.Labels[fleet.LabelReplicas]); err == nil {
		svc.Replicas = n
	}
	if c := s.Spec.TaskTemplate.ContainerSpec; c != nil {
		svc.Image, svc.Digest = splitDigest(c.Image)
	}
	svc.Mode, svc.Desired = modeOf(s.Spec.Mode)
	if u := s.UpdateStatus; u != nil {
		svc.Update, svc.Message = string(u.State), u.Message
		if u.StartedAt != nil {
			svc.UpdateStarted = *u.StartedAt
		}
	}
	return svc
}

// restarts says whether a task that ended with exit code 0 is started again.
func restarts(p *swarm.RestartPolicy) bool {
	return p == nil || p.Condition == "" || p.Condition == swarm.RestartPolicyConditionAny
}

func modeOf(m swarm.ServiceMode) (mode string, desired int) {
	switch {
	case m.Replicated != nil && m.Replicated.Replicas != nil:
		return fleet.ModeReplicated, int(*m.Replicated.Replicas)
	case m.Replicated != nil:
		return fleet.ModeReplicated, 1
	case m.ReplicatedJob != nil && m.ReplicatedJob.TotalCompletions != nil:
		return "replicated-job", int(*m.ReplicatedJob.TotalCompletions)
	case m.ReplicatedJob != nil:
		return "replicated-job", 1
	case m.GlobalJob != nil:
		return "global-job", 0
	}
	return fleet.ModeGlobal, 0
}

// splitDigest parts name:tag@sha256:… into what the user wrote and the digest.
func splitDigest(image string) (name, digest string) {
	name, digest, _ = strings.Cut(image, "@")
	return name, digest
}

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

// Replace gives a service a new spec. The number of replicas it runs with is
// kept where keepReplicas is given.
func (e *Engine) Replace(ctx context.Context, id string, spec swarm.ServiceSpec, keepReplicas bool) error {
	return e.changeService(ctx, id, true, func(now *swarm.ServiceSpec) error {
		if keepReplicas && now.Mode.Replicated != nil && spec.Mode.Replicated != nil {
			spec.Mode.Replicated.Replicas = now.Mode.Replicated.Replicas
		}
		*now = spec
		return nil
	})
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
			return fmt.Errorf("service %s runs no container", s.Name)
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

// StopForUpdate scales a service to 0 and writes in the same change, into its
// label, how it is to go on.
func (e *Engine) StopForUpdate(ctx context.Context, id, pending string) error {
	zero := 0
	return e.changeService(ctx, id, false, func(s *swarm.ServiceSpec) error {
		setPending(s, pending)
		return setReplicas(s, &zero)
	})
}

// withInit gives a container an init process unless its author decided. A shell
// as process 1, from CMD python3 spider.py, ignores SIGTERM and would let each
// stop take the whole grace time.
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
	if s.Labels == nil {
		s.Labels = map[string]string{}
	}
	s.Labels[fleet.LabelPending] = pending
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

// Digest asks the registry behind image, by way of the engine, for its digest.
// ErrNoImage is wrapped where it has none of that name.
func (e *Engine) Digest(ctx context.Context, image string) (string, error) {
	named, err := reference.ParseNormalizedNamed(image)
	if err != nil {
		return "", fmt.Errorf("%q is not an image name: %w; use NAME:TAG, such as localhost:8003/spider:0.01", image, err)
	}
	ctx, cancel := bounded(ctx)
	defer cancel()
	insp, err := e.cli.DistributionInspect(ctx, reference.TagNameOnly(named).String(), "")
	if err == nil {
		return insp.Descriptor.Digest.String(), nil
	}
	if cerrdefs.IsNotFound(err) || strings.Contains(err.Error(), "manifest unknown") || strings.Contains(err.Error(), "not found") {
		return "", fmt.Errorf("%w %s; `crawlbox images` lists what was pushed", ErrNoImage, image)
	}
	if errors.Is(e.explain(err), ErrUnreachable) {
		return "", e.explain(err)
	}
	return "", fmt.Errorf("look up image %s: %w; check its name, and that its registry is up", image, e.explain(err))
}
