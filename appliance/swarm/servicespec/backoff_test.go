package servicespec

import (
	"testing"
	"time"

	"github.com/docker/docker/api/types/swarm"

	"github.com/crawlbox/crawlbox/appliance/fleet"
)

func TestSlowDown(t *testing.T) {
	t.Parallel()
	minute, second := time.Minute, time.Second
	for name, tc := range map[string]struct {
		policy     *swarm.RestartPolicy
		then, back time.Duration
	}{
		"Swarm's own": {nil, FailingDelay, SwarmRestartDelay},
		"shorter":     {&swarm.RestartPolicy{Condition: "on-failure", Delay: &second}, FailingDelay, second},
		"longer":      {&swarm.RestartPolicy{Delay: &minute}, minute, minute},
	} {
		s := serviceOfTwo()
		s.TaskTemplate.RestartPolicy = tc.policy
		_ = SlowDown(&s)
		_ = SlowDown(&s) // again changes nothing
		if got := *s.TaskTemplate.RestartPolicy.Delay; got != tc.then {
			t.Errorf("%s: slowed down to %s, want %s", name, got, tc.then)
		}
		d := Deployment{Image: "new@sha256:1"}
		if err := d.Apply(&s); err != nil {
			t.Fatal(err)
		}
		if got := s.TaskTemplate.RestartPolicy; *got.Delay != tc.back ||
			tc.policy != nil && got.Condition != tc.policy.Condition {
			t.Errorf("%s: after the next deploy it is %+v, want %s", name, got, tc.back)
		}
		if _, there := s.Labels[fleet.LabelRestartDelay]; there {
			t.Errorf("%s: the label stays", name)
		}
	}
}
