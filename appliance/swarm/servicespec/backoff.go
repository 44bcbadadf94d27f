package servicespec

import (
	"time"

	"github.com/docker/docker/api/types/swarm"

	"github.com/crawlbox/crawlbox/appliance/fleet"
)

// FailingDelay is how long Swarm waits before it starts a replica again of a service
// that never worked.
const FailingDelay = 30 * time.Second

// SlowDown has Swarm start failed replicas after FailingDelay.
func SlowDown(s *swarm.ServiceSpec) error {
	policy, was := valueOf(s.TaskTemplate.RestartPolicy), SwarmRestartDelay
	if policy.Delay != nil {
		was = *policy.Delay
	}
	if was >= FailingDelay {
		return nil
	}
	policy.Delay, s.TaskTemplate.RestartPolicy = new(FailingDelay), &policy
	setLabel(s, fleet.LabelRestartDelay, was.String())
	tolerateEnd(s) // what fails goes on failing, and is nothing to go back from
	return nil
}

// speedUp undoes slowDown.
func speedUp(s *swarm.ServiceSpec) {
	text, slowed := s.Labels[fleet.LabelRestartDelay]
	if !slowed {
		return
	}
	delete(s.Labels, fleet.LabelRestartDelay)
	if was, err := time.ParseDuration(text); err == nil && s.TaskTemplate.RestartPolicy != nil {
		policy := *s.TaskTemplate.RestartPolicy
		policy.Delay, s.TaskTemplate.RestartPolicy = &was, &policy
	}
}

// SwarmRestartDelay is how long Swarm waits before it starts a replica again where a
// service says nothing.
const SwarmRestartDelay = 5 * time.Second
