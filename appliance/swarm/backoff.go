package swarm

import (
	"context"
	"time"

	"github.com/docker/docker/api/types/swarm"

	"github.com/crawlbox/crawlbox/appliance/fleet"
)

// FailingDelay is how long Swarm waits before it starts a replica again of a service
// that never worked.
const FailingDelay = 30 * time.Second

// SlowDown has Swarm start the failed replicas of a service, by ID, more rarely, until
// another version of it is deployed.
//
// Swarm knows one delay between the failure of a task and the next, no growing one.
// To change it is to change the tasks, and it replaces all of them, also those that
// run well (orchestrator.IsTaskDirty in swarmkit; measured with 20.10): so this is
// for services of which nothing runs, and never for one that worked before.
func (e *Engine) SlowDown(ctx context.Context, id string) error {
	return e.changeService(ctx, id, false, func(s *swarm.ServiceSpec) error {
		slowDown(s)
		return nil
	})
}

func slowDown(s *swarm.ServiceSpec) {
	policy, was := swarm.RestartPolicy{}, swarmRestartDelay
	if p := s.TaskTemplate.RestartPolicy; p != nil {
		policy = *p
	}
	if policy.Delay != nil {
		was = *policy.Delay
	}
	if was >= FailingDelay {
		return
	}
	longer := FailingDelay
	policy.Delay, s.TaskTemplate.RestartPolicy = &longer, &policy
	setLabel(s, fleet.LabelRestartDelay, was.String())
	TolerateEnd(s) // what fails goes on failing, and is nothing to go back from
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
