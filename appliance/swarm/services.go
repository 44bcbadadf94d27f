package swarm

import (
	"context"
	"encoding/json"
	"strconv"
	"strings"

	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/api/types/swarm"

	"github.com/crawlbox/crawlbox/appliance/base/words"
	"github.com/crawlbox/crawlbox/appliance/fleet"
	"github.com/crawlbox/crawlbox/appliance/swarm/servicespec"
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

// HasRuns reports whether there are services of runs.
func (e *Engine) HasRuns(ctx context.Context) (bool, error) {
	ctx, cancel := bounded(ctx)
	defer cancel()
	runs := filters.NewArgs(filters.Arg("label", fleet.LabelRun))
	list, err := e.cli.ServiceList(ctx, swarm.ServiceListOptions{Filters: runs})
	return len(list) > 0, e.explain(err)
}

func (e *Engine) Service(ctx context.Context, idOrName string) (fleet.Service, error) {
	s, _, err := e.inspect(ctx, idOrName)
	if err != nil {
		return fleet.Service{}, err
	}
	return serviceOf(s), nil
}

// inspect returns a service, by ID or name, and Docker's own text of it.
func (e *Engine) inspect(ctx context.Context, idOrName string) (swarm.Service, json.RawMessage, error) {
	ctx, cancel := bounded(ctx)
	defer cancel()
	s, raw, err := e.cli.ServiceInspectWithRaw(ctx, idOrName, swarm.ServiceInspectOptions{})
	return s, raw, e.explain(err)
}

// ServiceJSON returns Docker's own description of a service.
func (e *Engine) ServiceJSON(ctx context.Context, id string) (json.RawMessage, error) {
	_, raw, err := e.inspect(ctx, id)
	return raw, err
}

func serviceOf(s swarm.Service) fleet.Service {
	svc := fleet.Service{
		ID:           s.ID,
		Name:         s.Spec.Name,
		Created:      s.CreatedAt,
		Updated:      s.UpdatedAt,
		Managed:      s.Spec.Labels[fleet.LabelManaged] != "",
		Hash:         s.Spec.Labels[fleet.LabelHash],
		Replicas:     -1,
		Pending:      s.Spec.Labels[fleet.LabelPending],
		Deploy:       s.Spec.Labels[fleet.LabelDeploy],
		Queue:        s.Spec.Labels[fleet.LabelQueue],
		Run:          s.Spec.Labels[fleet.LabelRun],
		RunStop:      s.Spec.Labels[fleet.LabelRunStop],
		Restarts:     restarts(s.Spec.TaskTemplate.RestartPolicy),
		RestartDelay: servicespec.SwarmRestartDelay,
	}
	if n, err := strconv.Atoi(s.Spec.Labels[fleet.LabelReplicas]); err == nil {
		svc.Replicas = n
	}
	if c := s.Spec.TaskTemplate.ContainerSpec; c != nil {
		svc.Image, svc.Digest, _ = strings.Cut(c.Image, "@")
	}
	if p := s.Spec.TaskTemplate.RestartPolicy; p != nil && p.Delay != nil {
		svc.RestartDelay = *p.Delay
	}
	svc.Constraints, svc.Avoids = servicespec.Constraints(s.Spec), servicespec.Avoided(s.Spec)
	if p := s.Spec.TaskTemplate.Placement; p != nil {
		svc.MaxPerNode = int(p.MaxReplicas)
		for _, of := range p.Platforms {
			svc.Platforms = append(svc.Platforms, fleet.Platform{OS: of.OS, Arch: of.Architecture})
		}
	}
	svc.Resources, svc.Autoscale = servicespec.Resources(s.Spec), servicespec.Autoscale(s.Spec)
	if r := s.Spec.TaskTemplate.Resources; r != nil && r.Reservations != nil {
		svc.Reserves = r.Reservations.NanoCPUs > 0 || r.Reservations.MemoryBytes > 0 ||
			len(r.Reservations.GenericResources) > 0
	}
	if u := s.Spec.UpdateConfig; u != nil {
		svc.Tolerates = u.FailureAction == swarm.UpdateFailureActionContinue
		svc.Pauses = u.FailureAction == swarm.UpdateFailureActionPause
		svc.UpdateDelay, svc.UpdateMonitor = u.Delay, u.Monitor
	}
	svc.Mode, svc.Desired = modeOf(s.Spec.Mode)
	if svc.IsStopped() {
		svc.Before = replicasBefore(s)
	}
	if u := s.UpdateStatus; u != nil {
		svc.Update, svc.Message = string(u.State), words.Docker(u.Message)
		if u.StartedAt != nil {
			svc.UpdateStarted = *u.StartedAt
		}
	}
	return svc
}

// replicasBefore returns how many replicas a service had that was scaled to 0: as it was
// kept, else as Swarm remembers where that was the last change, else as the service is
// defined; 0 where nobody knows.
func replicasBefore(s swarm.Service) int {
	if n, err := strconv.Atoi(s.Spec.Labels[fleet.LabelReplicasBefore]); err == nil && n > 0 {
		return n
	}
	if s.PreviousSpec != nil {
		if _, n := modeOf(s.PreviousSpec.Mode); n > 0 {
			return n
		}
	}
	n, _ := strconv.Atoi(s.Spec.Labels[fleet.LabelReplicas])
	return max(n, 0)
}

// restarts reports whether a task that ended with exit code 0 is started again.
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
