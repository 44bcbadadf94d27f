package control

import (
	"context"
	"slices"

	"github.com/crawlbox/crawlbox/appliance/cluster/replica"
	"github.com/crawlbox/crawlbox/appliance/controller/services"
	"github.com/crawlbox/crawlbox/appliance/fleet"
	"github.com/crawlbox/crawlbox/appliance/swarm"
	"github.com/crawlbox/crawlbox/embedded/gossip"
)

// View is the cluster as this node sees it: what Swarm says, and what gossip has heard of the
// nodes. All that shows the cluster reads it, so that all say the same at the same time.
type View struct {
	engine *swarm.Engine
	heard  func() []gossip.Member
	settle func(*fleet.Snapshot)
}

// NewView returns the view of an engine. heard returns what gossip has heard of the nodes, and
// settle, if not nil, drops from a snapshot what is over by what is known elsewhere.
func NewView(engine *swarm.Engine, heard func() []gossip.Member, settle func(*fleet.Snapshot)) *View {
	return &View{engine, heard, settle}
}

// Settle returns what drops updates that were taken back of services that are what the config
// file says now, by what notes has of them: somebody has put the file back. And it marks the managers that
// have the cluster's state and the queue, of which list returns those.
func Settle(notes func() []services.Note, list func() []replica.Replica) func(*fleet.Snapshot) {
	return func(snap *fleet.Snapshot) {
		for _, r := range list() {
			if i := slices.IndexFunc(snap.Nodes, func(n fleet.Node) bool { return n.ID == r.Node }); i >= 0 {
				snap.Nodes[i].HasState, snap.Nodes[i].HasQueue = true, r.Queue
			}
		}
		as := map[string]bool{}
		for _, n := range notes() {
			as[n.Service] = n.Kind == services.AsDefined
		}
		for i, svc := range snap.Services {
			if svc.Update == fleet.UpdateRolledBack && as[svc.Name] {
				snap.Services[i].Update = fleet.UpdateCompleted
			}
		}
	}
}

// Snapshot returns the cluster as it is now.
func (v *View) Snapshot(ctx context.Context) (fleet.Snapshot, error) {
	snap, err := v.engine.Snapshot(ctx)
	if err != nil {
		return snap, err
	}
	heard := v.heard()
	snap.Hear(func(node string) *fleet.Agent { return AgentOn(node, heard) })
	if v.settle != nil {
		v.settle(&snap)
	}
	return snap, nil
}

// states are what a farewell means, and no answer. A node that has left the cluster, too, is on
// Swarm's list no longer.
var states = map[gossip.State]string{
	gossip.Alive:  fleet.AgentAlive,
	gossip.Left:   fleet.AgentStopped,
	gossip.Failed: fleet.AgentFailed,
}

// AgentOn returns what gossip heard last of a Swarm node, by its ID; nil: nothing. One that joined
// twice is known under two IDs of its own; the one heard of last counts.
func AgentOn(node string, heard []gossip.Member) *fleet.Agent {
	var found *fleet.Agent
	for _, m := range heard {
		if m.Swarm != node || found != nil && found.Seen.After(m.Seen) {
			continue
		}
		found = &fleet.Agent{
			State:    states[m.State],
			Version:  m.Version,
			FreeDisk: m.FreeDisk,
			DiskSize: m.DiskSize,
			Docker:   m.Docker,
			Seen:     m.Seen,
		}
	}
	return found
}
