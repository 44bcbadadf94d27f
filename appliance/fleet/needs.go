package fleet

import (
	"fmt"
	"slices"
	"strings"

	"github.com/docker/go-units"

	"github.com/crawlbox/crawlbox/appliance/base/bound"
	"github.com/crawlbox/crawlbox/appliance/base/words"
)

// Needs is what a service wants of the nodes that run it.
type Needs struct {
	Constraints []string
	Platforms   []Platform // none: any
	MaxPerNode  int        // tasks on one node; 0: any number
	Resources
}

// Resources are a task's processors and memory; 0 is no word on it.
type Resources struct {
	LimitCPUs    float64 // a task that may use more than its node has is refused by Docker there
	ReservedCPUs float64 // that Swarm has to have free on a node, as the memory
	Reserved     int64   // bytes of memory
}

// Needs returns what the service wants of its nodes.
func (svc Service) Needs() Needs {
	return Needs{svc.Constraints, svc.Platforms, svc.MaxPerNode, svc.Resources}
}

// largest returns the most processors and bytes of memory that one of the nodes has.
func largest(nodes []Node) (cpus float64, memory int64) {
	for _, n := range nodes {
		cpus, memory = max(cpus, n.CPUs), max(memory, n.Memory)
	}
	return cpus, memory
}

// reservations calls exclude for what a node has to have in all, whatever runs there. Of a node that
// was never ready nobody knows what it has.
func (r Resources) reservations(nodes []Node, exclude func(reason string, allows func(Node) bool)) {
	cpus, memory := largest(nodes)
	if r.ReservedCPUs > 0 {
		exclude(fmt.Sprintf("a reservation of %g processors (%g is the most that a node has)", r.ReservedCPUs, cpus),
			func(n Node) bool { return n.CPUs == 0 || n.CPUs >= r.ReservedCPUs })
	}
	if r.Reserved > 0 {
		exclude(fmt.Sprintf("a reservation of %s of memory (%s is the most that a node has)",
			units.BytesSize(float64(r.Reserved)), units.BytesSize(float64(memory))),
			func(n Node) bool { return n.Memory == 0 || n.Memory >= r.Reserved })
	}
}

// Refuse returns why so many replicas can never run on nodes, which are all that fit but for their
// state; empty where they can.
func (n Needs) Refuse(replicas int, nodes []Node) string {
	unknown := func(n Node) bool { return n.CPUs == 0 } // it was never ready
	if cpus, _ := largest(nodes); n.LimitCPUs > cpus && len(nodes) > 0 && !slices.ContainsFunc(nodes, unknown) {
		return fmt.Sprintf("Docker refuses a limit of %g processors on each node, as none has more than %g; lower it",
			n.LimitCPUs, cpus)
	}
	room, bounded := n.Room(nodes)
	if !bounded || replicas <= room {
		return ""
	}
	remedy := "or let more run on a node"
	if n.MaxPerNode == 0 {
		remedy = "or reserve less"
	}
	return fmt.Sprintf("%s; ask for %d at most, %s", n.Overfull(replicas, len(nodes)), room, remedy)
}

// Overfull says that so many replicas are more than nodes have room for.
func (n Needs) Overfull(replicas, nodes int) string {
	var with []string
	if n.MaxPerNode > 0 {
		with = append(with, fmt.Sprintf("%d on each at most", n.MaxPerNode))
	}
	if n.ReservedCPUs > 0 {
		with = append(with, fmt.Sprintf("%g processors reserved for each replica", n.ReservedCPUs))
	}
	if n.Reserved > 0 {
		with = append(with, units.BytesSize(float64(n.Reserved))+" of memory reserved for each replica")
	}
	return fmt.Sprintf("%s do not fit on %s with %s", words.Count(replicas, "replica"), words.Count(nodes, "node"),
		strings.Join(with, " and "))
}

// Room returns how many replicas nodes take that run nothing else; bounded is false where nothing
// bounds them.
func (n Needs) Room(nodes []Node) (room int, bounded bool) {
	for _, node := range nodes {
		takes := bound.MaxReplicas
		if n.MaxPerNode > 0 {
			takes = n.MaxPerNode
		}
		if n.ReservedCPUs > 0 && node.CPUs > 0 {
			takes = min(takes, int(node.CPUs/n.ReservedCPUs+1e-9))
		}
		if n.Reserved > 0 && node.Memory > 0 {
			takes = min(takes, int(node.Memory/n.Reserved))
		}
		room = min(room+takes, bound.MaxReplicas)
	}
	return room, n.MaxPerNode > 0 || n.ReservedCPUs > 0 || n.Reserved > 0
}
