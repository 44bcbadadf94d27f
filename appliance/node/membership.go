package node

import (
	"context"
	"time"

	"github.com/crawlbox/crawlbox/appliance/cluster/pki"
	"github.com/crawlbox/crawlbox/appliance/lifecycle"
	"github.com/crawlbox/crawlbox/embedded/gossip"
)

// lastAnswer is how long a node that was removed may take to read the answer to
// what it had asked before.
const lastAnswer = time.Second

// learn takes into use what is new of the cluster: the keys of gossip, and who
// was removed.
func (g *ground) learn(gossip *gossip.Gossip, member pki.Membership) {
	if err := gossip.SetKeys(rawKeys(member.GossipKeys)); err != nil {
		g.log.Warn("take new keys of gossip into use", "error", err)
	}
	for _, id := range member.Removed {
		gossip.Forget(id)
	}
	time.AfterFunc(lastAnswer, func() {
		for _, ln := range g.guarded() {
			for _, id := range member.Removed {
				ln.Drop(id)
			}
		}
	})
}

func rawKeys(keys pki.Keyring) [][]byte {
	raw := make([][]byte, len(keys))
	for i, k := range keys {
		raw[i] = k
	}
	return raw
}

// learnSwarmID asks Docker, before a manager is asked for news and told the ID. A
// node that starts without Docker learns it later, from its watcher.
func (g *ground) learnSwarmID(ctx context.Context) {
	if info, err := g.engine.Info(ctx); err == nil && info.NodeID != "" {
		g.swarmID.Store(info.NodeID)
	}
}

// ownSwarmID is this node's ID in the swarm, empty until it is known.
func (g *ground) ownSwarmID() string {
	id, _ := g.swarmID.Load().(string)
	return id
}

// background is a component that is ready at once.
func background(run func(ctx context.Context) error) lifecycle.Component {
	return lifecycle.Func(func(ctx context.Context, ready func()) error {
		ready()
		return run(ctx)
	})
}
