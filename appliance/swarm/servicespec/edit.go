package servicespec

import (
	"fmt"
	"strconv"
	"time"

	"github.com/docker/docker/api/types/swarm"

	"github.com/crawlbox/crawlbox/appliance/fleet"
)

// ImageChange holds what SetImage changes beside the image itself.
type ImageChange struct {
	Image       string // name:tag, pinned by digest on the way if a registry knows it
	Parallelism uint64 // replicas that are replaced at once; 0: all
	Replicas    *int   // also set the number of replicas
	Finishes    bool   // see tolerateEnd
	Pending     string // the journal label; see fleet.LabelPending
}

func errNoContainer(service string) error {
	return fmt.Errorf("service %s runs no container", service)
}

// withInit gives a container an init process unless its author decided. A shell
// as process 1, from CMD python3 spider.py, ignores SIGTERM and would let each
// stop take the whole grace time. The docker command decides for its user: a service
// that it made has none unless --init was given.
func withInit(c *swarm.ContainerSpec) {
	if c.Init == nil {
		c.Init = new(true)
	}
}

func setReplicas(s *swarm.ServiceSpec, replicas *int) error {
	if replicas == nil {
		return nil
	}
	if s.Mode.Replicated == nil {
		return fmt.Errorf("service %s is not replicated and can't be stopped first; update it without --stop-first-all",
			s.Name)
	}
	s.Mode.Replicated.Replicas = new(uint64(*replicas))
	return nil
}

func setPending(s *swarm.ServiceSpec, pending string) {
	if pending == "" {
		delete(s.Labels, fleet.LabelPending)
		return
	}
	setLabel(s, fleet.LabelPending, pending)
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
		return &swarm.UpdateConfig{
			Parallelism:   n,
			FailureAction: swarm.UpdateFailureActionRollback,
			Order:         swarm.UpdateOrderStopFirst,
			Monitor:       5 * time.Second,
		}
	}
	c := *u
	c.Parallelism = n
	return &c
}

// valueOf returns what p points at, the zero value where that is nil.
func valueOf[T any](p *T) (v T) {
	if p != nil {
		v = *p
	}
	return v
}

// tolerateEnd lets an update of a service whose tasks come to an end go through.
// Swarm takes every task that ends while an update watches it for a failure,
// also one with exit code 0, and would stop or roll back a good update of
// spiders whose queue is empty. It cannot be told the difference, neither by
// max_failure_ratio nor by a short monitor time, so the update goes on whatever
// ends, and a bad image is for its user to see.
func tolerateEnd(s *swarm.ServiceSpec) {
	if s.UpdateConfig != nil {
		s.UpdateConfig.FailureAction = swarm.UpdateFailureActionContinue
	}
}

// Scale gives a service the number of replicas that a person wants.
func Scale(s *swarm.ServiceSpec, replicas int) error {
	PauseAutoscale(s, fmt.Sprintf("scaled to %d by hand", replicas))
	return scale(s, replicas)
}

func scale(s *swarm.ServiceSpec, replicas int) error {
	n := uint64(replicas)
	switch {
	case s.Mode.Replicated != nil:
		keepReplicas(s, n)
		s.Mode.Replicated.Replicas = &n
	case s.Mode.ReplicatedJob != nil:
		s.Mode.ReplicatedJob.TotalCompletions = &n
	default:
		return fmt.Errorf("service %s is global: it runs once on every node and can't be scaled; drain nodes, or "+
			"remove it with `crawlbox rm %s`",
			s.Name, s.Name)
	}
	return nil
}

// keepReplicas keeps how many replicas a service has that is scaled to 0.
func keepReplicas(s *swarm.ServiceSpec, wanted uint64) {
	has := s.Mode.Replicated.Replicas
	switch {
	case wanted > 0:
		delete(s.Labels, fleet.LabelReplicasBefore)
	case has != nil && *has > 0:
		setLabel(s, fleet.LabelReplicasBefore, strconv.FormatUint(*has, 10))
	}
}

// Start has Swarm start a service with the number of replicas given, all at once. They are
// others of the same version: what is complete it leaves alone, also after the service was
// scaled to 0.
func Start(s *swarm.ServiceSpec, replicas int) error {
	PauseAutoscale(s, fmt.Sprintf("scaled to %d by hand", replicas))
	return start(s, replicas)
}

func start(s *swarm.ServiceSpec, replicas int) error {
	if s.Mode.Replicated != nil {
		if err := scale(s, replicas); err != nil {
			return err
		}
	}
	s.TaskTemplate.ForceUpdate++
	s.UpdateConfig = withParallelism(s.UpdateConfig, 0)
	tolerateEnd(s)
	return nil
}

// Apply brings a service to another image.
func (c ImageChange) Apply(s *swarm.ServiceSpec) error {
	if s.TaskTemplate.ContainerSpec == nil {
		return errNoContainer(s.Name)
	}
	s.TaskTemplate.ContainerSpec.Image = c.Image
	withInit(s.TaskTemplate.ContainerSpec)
	s.UpdateConfig = withParallelism(s.UpdateConfig, c.Parallelism)
	if c.Finishes {
		tolerateEnd(s)
	}
	setPending(s, c.Pending)
	return setReplicas(s, c.Replicas)
}

// StopForUpdate scales a service to 0, writes into its label how it is to go on, and off which
// nodes it is kept then.
func StopForUpdate(s *swarm.ServiceSpec, pending, mark string, avoid []string) error {
	Avoid(s, avoid)
	setPending(s, pending)
	if mark != "" {
		setLabel(s, fleet.LabelDeploy, mark)
	}
	return setReplicas(s, new(0))
}

// RestartUpdate has Swarm begin the update of a service anew: what has the new version
// already is left as it is.
func RestartUpdate(s *swarm.ServiceSpec) error {
	setLabel(s, fleet.LabelNudged, time.Now().UTC().Format(time.RFC3339Nano))
	if s.UpdateConfig != nil && s.UpdateConfig.FailureAction == swarm.UpdateFailureActionRollback {
		tolerateEnd(s)
	}
	return nil
}
