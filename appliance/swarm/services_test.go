package swarm

import (
	"testing"

	"github.com/docker/docker/api/types/swarm"

	"github.com/crawlbox/crawlbox/appliance/fleet"
)

// TestServiceOf_Before wants to know how many replicas a stopped service had.
func TestServiceOf_Before(t *testing.T) {
	t.Parallel()
	replicated := func(n uint64) swarm.ServiceMode {
		return swarm.ServiceMode{Replicated: &swarm.ReplicatedService{Replicas: &n}}
	}
	label := func(name, value string) map[string]string { return map[string]string{name: value} }
	for name, tc := range map[string]struct {
		labels   map[string]string
		now      uint64
		previous *swarm.ServiceSpec
		want     int
	}{
		"stopped by crawlbox": {label(fleet.LabelReplicasBefore, "3"), 0, &swarm.ServiceSpec{Mode: replicated(9)}, 3},
		"by docker":           {nil, 0, &swarm.ServiceSpec{Mode: replicated(4)}, 4},
		"and changed since":   {nil, 0, &swarm.ServiceSpec{Mode: replicated(0)}, 0},
		"of the config file":  {label(fleet.LabelReplicas, "5"), 0, nil, 5},
		"it runs":             {label(fleet.LabelReplicasBefore, "3"), 2, nil, 0},
	} {
		s := swarm.Service{PreviousSpec: tc.previous}
		s.Spec.Labels, s.Spec.Mode = tc.labels, replicated(tc.now)
		if got := serviceOf(s).Before; got != tc.want {
			t.Errorf("%s: got %d, want %d", name, got, tc.want)
		}
	}
}
