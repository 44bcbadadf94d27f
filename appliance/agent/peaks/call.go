package peaks

import (
	"context"
	"log/slog"
	"time"

	"github.com/crawlbox/crawlbox/appliance/agent"
	"github.com/crawlbox/crawlbox/appliance/fleet"
)

// MaxTasks bounds the tasks that a node is asked about at a time.
const MaxTasks = 100

type request struct {
	Tasks []string `json:"tasks"` // IDs
}

type answer struct {
	Peaks map[string]fleet.Peak `json:"peaks"` // by ID
}

// call asks what tasks have taken on a node. The caller can do without an answer.
var call = agent.Call[request, answer]{
	Route:      agent.RoutePeaks,
	MaxRequest: 16 << 10,
	MaxAnswer:  64 << 10,
	Timeout:    3 * time.Second,
	Valid:      func(r request) bool { return len(r.Tasks) > 0 && len(r.Tasks) <= MaxTasks },
	Invalid:    "not a list of tasks",
}

// Answer answers with what of knows.
func Answer(of func(tasks []string) map[string]fleet.Peak, log *slog.Logger) agent.Handler {
	return call.Handler(log, func(_ context.Context, _ agent.Peer, r request) (answer, error) {
		return answer{of(r.Tasks)}, nil
	})
}

// Nodes asks the nodes of the cluster.
type Nodes struct{ Peers *agent.Peers }

// Of returns what a node says of up to MaxTasks tasks, by their IDs; it may say something of others too.
func (n Nodes) Of(ctx context.Context, node fleet.Node, tasks []string) (map[string]fleet.Peak, error) {
	said, err := call.Do(ctx, n.Peers, node, request{tasks})
	if err != nil {
		return nil, err
	}
	for id, p := range said.Peaks {
		said.Peaks[id] = plausible(p)
	}
	return said.Peaks, nil
}

// What one task can take on any machine: bytes, and processors.
const (
	maxMemory = 1 << 50
	maxCPU    = 1 << 16
)

// plausible returns what a node may say of a task.
func plausible(p fleet.Peak) fleet.Peak {
	if p.Memory != nil && (*p.Memory < 0 || *p.Memory > maxMemory) {
		p.Memory = nil
	}
	if p.CPU != nil && !(*p.CPU >= 0 && *p.CPU <= maxCPU) {
		p.CPU = nil
	}
	return p
}
