package fleet

import (
	"strings"
	"testing"

	"github.com/crawlbox/crawlbox/appliance/base/bound"
)

func TestNeeds_Refuse(t *testing.T) {
	t.Parallel()
	nodes := []Node{{ID: "a", CPUs: 2, Memory: 4 << 30}, {ID: "b", CPUs: 4, Memory: 8 << 30}}
	for name, tc := range map[string]struct {
		needs    Needs
		replicas int
		nodes    []Node
		says     string // empty: it is not refused
	}{
		"nothing": {Needs{}, bound.MaxReplicas, nodes, ""},
		"a limit that one node has": {
			Needs{Resources: Resources{LimitCPUs: 4}}, 1, nodes, "",
		},
		"a limit that none has": {
			Needs{Resources: Resources{LimitCPUs: 4.5}}, 1, nodes,
			"Docker refuses a limit of 4.5 processors on each node, as none has more than 4; lower it",
		},
		"a limit, and nobody knows what the node has": {
			Needs{Resources: Resources{LimitCPUs: 4.5}}, 1, []Node{{ID: "c"}}, "",
		},
		"a limit, and nobody knows what one of them has": {
			Needs{Resources: Resources{LimitCPUs: 4.5}}, 1, append([]Node{{ID: "c"}}, nodes...), "",
		},
		"as many as fit": {Needs{MaxPerNode: 2}, 4, nodes, ""},
		"one more": {
			Needs{MaxPerNode: 2}, 5, nodes,
			"5 replicas do not fit on 2 nodes with 2 on each at most; ask for 4 at most, or let more run on a node",
		},
		"tenths of processors": {Needs{Resources: Resources{ReservedCPUs: 0.1}}, 60, nodes, ""},
		"more than there are": {
			Needs{Resources: Resources{ReservedCPUs: 1.5}}, 4, nodes,
			"4 replicas do not fit on 2 nodes with 1.5 processors reserved for each replica; ask for 3 at most, or",
		},
		"memory, and so many on each": {
			Needs{MaxPerNode: 5, Resources: Resources{Reserved: 2 << 30}}, 7, nodes,
			"with 5 on each at most and 2GiB of memory reserved for each replica; ask for 6",
		},
		"memory, and nobody knows": {Needs{Resources: Resources{Reserved: 2 << 30}}, 7, []Node{{ID: "c"}}, ""},
	} {
		got := tc.needs.Refuse(tc.replicas, tc.nodes)
		if !strings.Contains(got, tc.says) || tc.says == "" && got != "" {
			t.Errorf("%s: got %q, want %q", name, got, tc.says)
		}
	}
}

func TestParsePlatform(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]Platform{
		"linux/arm64/v8": {OS: "linux", Arch: "arm64"},
		"s390x":          {OS: "linux", Arch: "s390x"},
		"linux/x86_64":   {OS: "linux", Arch: "amd64"},
	} {
		if got := ParsePlatform(text); got != want {
			t.Errorf("%s: got %v", text, got)
		}
	}
}
