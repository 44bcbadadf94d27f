package fleet

import (
	"testing"

	"github.com/crawlbox/crawlbox/appliance/base/bound"
)

func TestCrowded(t *testing.T) {
	t.Parallel()
	node, drained := Node{Availability: AvailabilityActive}, Node{Availability: AvailabilityDrain}
	for _, tc := range []struct {
		replicas int
		nodes    []Node
		want     string
	}{
		{0, nil, ""},
		{3, []Node{drained}, ""}, // it starts once there is a node
		{bound.MaxDensity, []Node{node, drained}, ""},
		{bound.MaxDensity + 1, []Node{node, drained}, "501 replicas are more than 1 node bears; give 500 at most"},
		{1_000_000, []Node{node, node, node}, "1000000 replicas are more than 3 nodes bear; give 1500 at most"},
		{bound.MaxReplicas, make([]Node, 0, 1), "20000 replicas are more than 0 nodes bear; give 500 at most"},
	} {
		if got := Crowded(tc.replicas, tc.nodes); got != tc.want {
			t.Errorf("%d on %d: %q, want %q", tc.replicas, len(tc.nodes), got, tc.want)
		}
	}
	many := make([]Node, 500)
	for i := range many {
		many[i] = node
	}
	if Crowded(bound.MaxReplicas, many) != "" || Crowded(bound.MaxReplicas+1, many) == "" {
		t.Error("the bound of a large cluster is another")
	}
}
