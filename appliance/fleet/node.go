package fleet

import (
	"fmt"
	"time"

	"github.com/crawlbox/crawlbox/appliance/base/naming"
)

// Roles of a node, as Swarm names them.
const (
	RoleManager = naming.RoleManager
	RoleWorker  = naming.RoleWorker
)

// Availability of a node: whether the scheduler may use it.
const (
	AvailabilityActive = "active"
	AvailabilityPause  = "pause"
	AvailabilityDrain  = "drain"
)

// States of a node that crawlbox decides on; Swarm knows more.
const (
	StateReady   = "ready"   // Swarm hears from it
	StateDown    = "down"    // it does not
	StateUnknown = "unknown" // it has not yet, since Swarm itself was started or has another leader
	// StateUnreachable is of a manager that the others of the swarm do not reach.
	StateUnreachable = "unreachable"
)

// Node is one server of the cluster.
type Node struct {
	ID           string  `json:"id"`
	Name         string  `json:"name"`         // host name; two nodes may have the same one
	Display      string  `json:"display"`      // host name, made unique with the start of the ID where needed
	Role         string  `json:"role"`         // RoleManager or RoleWorker
	Leader       bool    `json:"leader"`       // the manager that leads
	Availability string  `json:"availability"` // active, pause or drain
	State        string  `json:"state"`        // ready, down, unknown or disconnected, as Swarm sees it
	Addr         string  `json:"addr"`
	Engine       string  `json:"engine"`  // version of its Docker Engine
	CPUs         float64 `json:"cpus"`    // processors
	Memory       int64   `json:"memory"`  // bytes
	Self         bool    `json:"self"`    // the node that answers
	Running      int     `json:"running"` // tasks that run there now
	Agent        *Agent  `json:"agent,omitempty"`
	HasState     bool    `json:"has_state,omitempty"` // it is on the list of managers that have the cluster's state
	HasQueue     bool    `json:"has_queue,omitempty"` // it is the home of the cluster's queue
	Problem      string  `json:"problem,omitempty"`   // why the others do not find the node that answers
	// when Swarm last noted something else of it, such as its availability
	Updated time.Time `json:"-"`

	// Down is set where Swarm hears nothing from it and runs elsewhere what ran there, whatever State says.
	Down bool `json:"-"`

	// Raft is set where it has the managers' raft, with all secrets of the swarm. One that
	// is demoted has it until Swarm's leader has put it out.
	Raft bool `json:"-"`

	// What a service may choose its nodes by; see Eligible.
	Labels       map[string]string `json:"labels,omitempty"`        // set with crawlbox node label
	EngineLabels map[string]string `json:"engine_labels,omitempty"` // set in the Docker Engine's config
	OS           string            `json:"os,omitempty"`            // such as linux
	Arch         string            `json:"arch,omitempty"`          // as the kernel names it, such as x86_64
}

// Away reports whether Swarm does not hear from a node, or the other managers do not reach it.
func (n Node) Away() bool { return n.State == StateDown || n.State == StateUnreachable }

// States of an Agent.
const (
	AgentAlive   = "alive"
	AgentStopped = "stopped" // it was stopped
	AgentFailed  = "failed"  // it no longer answers
)

// EngineStopped is the state, in an Agent, of a Docker Engine that does not answer.
const EngineStopped = "stopped"

// HasAgent reports whether crawlbox runs on the node, as far as gossip knows.
func (n Node) HasAgent() bool { return n.Agent != nil && n.Agent.State == AgentAlive }

// Silent returns why nothing is known of what runs on the node; empty: it is known.
func (n Node) Silent() string {
	switch {
	case n.HasAgent() && n.Agent.Docker == EngineStopped:
		return fmt.Sprintf("Docker does not answer on %s", n.Display)
	case n.State == StateUnknown && n.HasAgent(): // Swarm was started again just now
	case n.State != StateReady:
		return fmt.Sprintf("%s is %s", n.Display, n.State)
	}
	return ""
}

// Agent holds what gossip last heard of the crawlbox on a node: a hint, never an
// authority. It is nil for a node on which crawlbox was never seen.
type Agent struct {
	State    string    `json:"state"` // AgentAlive, AgentStopped or AgentFailed
	Version  string    `json:"version"`
	FreeDisk int64     `json:"free_disk"`           // bytes free under the data directory
	DiskSize int64     `json:"disk_size,omitempty"` // bytes of that disk; 0: a version that does not say
	Docker   string    `json:"docker"`              // state of its Docker Engine: running or stopped
	Seen     time.Time `json:"seen,omitzero"`
}

// NameNodes sets Display of each node: its host name, followed by the first
// characters of its ID where several nodes share that name.
func NameNodes(nodes []Node) {
	count := map[string]int{}
	for _, n := range nodes {
		count[n.Name]++
	}
	for i, n := range nodes {
		nodes[i].Display = n.Name
		if count[n.Name] > 1 || n.Name == "" {
			nodes[i].Display = n.Name + "-" + n.ID[:min(5, len(n.ID))]
		}
	}
}
