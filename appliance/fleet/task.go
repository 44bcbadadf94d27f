package fleet

import (
	"fmt"
	"time"
)

// States of a task that crawlbox decides on; Swarm knows more.
const (
	TaskPending  = "pending"  // it has no node yet
	TaskStarting = "starting" // its container is made, or runs and is not healthy yet
	TaskRunning  = "running"
	TaskComplete = "complete"
	TaskShutdown = "shutdown"
	TaskFailed   = "failed"
	TaskRejected = "rejected"
	TaskOrphaned = "orphaned"
	TaskRemove   = "remove"
	TaskReady    = "ready" // it is to start later
)

// Task is one container of a service, past or present.
type Task struct {
	ID        string    `json:"id"`
	ServiceID string    `json:"service_id"`
	Service   string    `json:"service"` // name
	Slot      int       `json:"slot"`    // 0 for global services
	NodeID    string    `json:"node_id"`
	Node      string    `json:"node"` // display name
	Image     string    `json:"image"`
	Digest    string    `json:"digest"`
	State     string    `json:"state"`
	Desired   string    `json:"desired"`
	Error     string    `json:"error,omitempty"`
	ExitCode  int       `json:"exit_code"`
	Container string    `json:"container,omitempty"` // ID
	Created   time.Time `json:"created,omitzero"`
	Since     time.Time `json:"since,omitzero"`     // when it entered State
	Starts    time.Time `json:"starts_at,omitzero"` // when Swarm starts it, in the place of one that ended by itself
	Version   uint64    `json:"version"`            // of the service spec it runs
	// why nothing is known of it any longer, such as that its node is down; empty: it is known
	Lost string `json:"lost,omitempty"`
	// Swarm does not look for a node for it any longer though there are some
	Forgotten bool `json:"forgotten,omitempty"`
}

// Name returns the name that Docker shows: service.slot, or service.node for a
// global service.
func (t Task) Name() string {
	if t.Slot > 0 {
		return fmt.Sprintf("%s.%d", t.Service, t.Slot)
	}
	return t.Service + "." + t.Node
}

// Ended reports whether the task has stopped for good.
func (t Task) Ended() bool {
	switch t.State {
	case TaskComplete, TaskShutdown, TaskFailed, TaskRejected, TaskOrphaned, TaskRemove:
		return true
	}
	return false
}

// Peak is how much a task's container took of its node at the highest; nil is what is not known. Package agent/peaks
// says how it is measured.
type Peak struct {
	Memory *int64   `json:"peak_memory_bytes,omitempty"` // without files that the kernel keeps
	CPU    *float64 `json:"peak_cpus,omitempty"`         // processors, on average of 10 seconds
}

// Or returns what is higher of two.
func (p Peak) Or(q Peak) Peak { return Peak{higher(p.Memory, q.Memory), higher(p.CPU, q.CPU)} }

func higher[N int64 | float64](a, b *N) *N {
	if a == nil || b != nil && *b > *a {
		return b
	}
	return a
}
