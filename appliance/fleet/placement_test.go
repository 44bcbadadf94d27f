package fleet

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
)

func TestEligible(t *testing.T) {
	t.Parallel()
	node := func(id, availability, state, arch, zone string) Node {
		return Node{
			ID:           id,
			Availability: availability,
			State:        state,
			OS:           "linux",
			Arch:         arch,
			Labels:       map[string]string{"zone": zone},
		}
	}
	nodes := []Node{
		node("a", AvailabilityActive, StateReady, "x86_64", "eu"),
		node("b", AvailabilityActive, StateReady, "aarch64", "us"),
		node("c", AvailabilityDrain, StateReady, "x86_64", "eu"),
		node("d", AvailabilityPause, "down", "armv7l", "us"),
	}
	states := []Exclusion{{"drained", 1}, {"paused", 1}, {"down", 1}}
	with := func(x ...Exclusion) []Exclusion { return append(x, states...) }
	for name, tc := range map[string]struct {
		constraints []string
		platforms   []Platform
		may         string
		why         []Exclusion
	}{
		"any": {nil, nil, "ab", states},
		"constraint": {
			[]string{"node.labels.zone == eu"},
			nil,
			"a",
			with(Exclusion{"constraint node.labels.zone==eu", 2}),
		},
		"two constraints": {
			[]string{"node.labels.zone==eu", "node.id!=a"},
			nil,
			"",
			with(Exclusion{"constraint node.labels.zone==eu", 2}, Exclusion{"constraint node.id!=a", 1}),
		},
		"fulfilled": {[]string{"node.platform.os==linux"}, nil, "ab", states},
		"unreadable": {
			[]string{"zone"},
			nil,
			"",
			with(Exclusion{"constraint zone (it is not of the form KEY==VALUE or KEY!=VALUE)", 4}),
		},
		"one platform": {nil, []Platform{
			{"linux", "arm64"},
		}, "b", with(Exclusion{"image for linux/arm64 (nodes are linux/amd64, linux/arm)", 3})},
		"several platforms": {nil, []Platform{
			{"linux", "amd64"},
			{"linux", "arm64"},
			{"unknown", "unknown"},
		}, "ab", with(Exclusion{"image for linux/amd64, linux/arm64 (nodes are linux/arm)", 1})},
		"32 bit": {nil, []Platform{
			{"linux", "arm"},
		}, "", with(Exclusion{"image for linux/arm (nodes are linux/amd64, linux/arm64)", 3})},
		"any architecture": {nil, []Platform{{"linux", ""}}, "ab", states},
		"other system": {nil, []Platform{
			{"windows", "amd64"},
		}, "", with(Exclusion{"image for windows/amd64 (nodes are linux/amd64, linux/arm64, linux/arm)", 4})},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := Eligible(nodes, Needs{Constraints: tc.constraints, Platforms: tc.platforms})
			may := ""
			for _, n := range got.May {
				may += n.ID
			}
			if may != tc.may || !reflect.DeepEqual(got.Why, tc.why) || got.Of != 4 {
				t.Errorf("got %s of %d: %v", may, got.Of, got.Why)
			}
		})
	}
}

// TestEligible_Reservations: what a node has not, Swarm never finds free there; one that is away may
// come back.
func TestEligible_Reservations(t *testing.T) {
	t.Parallel()
	nodes := []Node{
		{ID: "a", State: StateReady, CPUs: 2, Memory: 4 << 30},
		{ID: "b", State: StateReady, CPUs: 4, Memory: 8 << 30},
		{ID: "c", State: StateDown, CPUs: 8, Memory: 2 << 30},
		{ID: "d", State: StateUnknown},
	}
	for want, r := range map[string]Resources{
		"1: a reservation of 3 processors (8 is the most that a node has) excludes 1 of 4 nodes; ": {ReservedCPUs: 3},
		"0: a reservation of 9 processors (8 is the most that a node has) excludes 3 of 4 nodes; ": {ReservedCPUs: 9},
		"1: a reservation of 5GiB of memory (8GiB is the most that a node has) excludes 2 of 4 nodes; ": {
			Reserved: 5 << 30,
		},
	} {
		e := Eligible(nodes, Needs{Resources: r})
		_, why, _ := strings.Cut(e.Explain(), ": ")
		if got := fmt.Sprintf("%d: %s", len(e.May), why); !strings.HasPrefix(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
		if fit := len(e.Fit); fit != 4-e.Why[0].Nodes {
			t.Errorf("%d fit, of %q", fit, want)
		}
	}
}

func TestEligibility_Explain(t *testing.T) {
	t.Parallel()
	zone := Exclusion{"constraint node.labels.zone==eu", 3}
	for want, e := range map[string]Eligibility{
		"no node can run it: there is none": {},
		"no node can run it: constraint node.labels.zone==eu excludes 3 of 3 nodes": {
			Of:  3,
			Why: []Exclusion{zone},
		},
		"no node can run it: constraint node.labels.zone==eu excludes 3 of 4 nodes; 1 of 4 nodes down": {
			Of:  4,
			Why: []Exclusion{zone, {"down", 1}},
		},
		"no node can run it: image for linux/arm64 (nodes are linux/amd64) excludes 3 of 3 nodes": {
			Of:  3,
			Why: []Exclusion{{"image for linux/arm64 (nodes are linux/amd64)", 3}},
		},
		"no node can run it: 1 of 1 node drained":      {Of: 1, Why: []Exclusion{{"drained", 1}}},
		"1 of 2 nodes can run it: 1 of 2 nodes paused": {Of: 2, May: make([]Node, 1), Why: []Exclusion{{"paused", 1}}},
		"2 of 2 nodes can run it":                      {Of: 2, May: make([]Node, 2)},
	} {
		if got := e.Explain(); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
