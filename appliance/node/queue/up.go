package queue

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/crawlbox/crawlbox/appliance/base/clock"
	"github.com/crawlbox/crawlbox/appliance/cluster/member"
	"github.com/crawlbox/crawlbox/appliance/fleet"
	"github.com/crawlbox/crawlbox/appliance/swarm"
)

// upEvery is how often is looked which nodes are up.
const upEvery = 5 * time.Second

// upNodes are the nodes that Swarm does not count as down. They are known by their certificates: a node knows its own
// without Docker too.
type upNodes struct {
	engine  *swarm.Engine
	self    string // of this node
	members func(fleet.Node) []member.Member

	mu    sync.Mutex
	names map[string]string // of all nodes, by the ID of a certificate
}

// tell tells the IDs of their certificates, again and again until ctx ends. While Swarm does not know, nobody is told.
func (u *upNodes) tell(ctx context.Context, told func(ids []string)) error {
	for clock.Sleep(ctx, upEvery) == nil {
		nodes, err := u.engine.Nodes(ctx)
		if err != nil {
			continue
		}
		told(u.see(nodes))
	}
	return nil
}

// see notes what the nodes are called, and returns the IDs of those that are up.
func (u *upNodes) see(nodes []fleet.Node) []string {
	names, up := map[string]string{}, map[string]bool{}
	for _, n := range nodes {
		for _, id := range u.ids(n) {
			names[id] = n.Display
			if !n.Down {
				up[id] = true
			}
		}
	}
	u.mu.Lock()
	u.names = names
	u.mu.Unlock()
	return slices.Sorted(maps.Keys(up))
}

// ids returns those of the certificates of a node.
func (u *upNodes) ids(n fleet.Node) (ids []string) {
	if n.Self {
		ids = append(ids, u.self)
	}
	for _, m := range u.members(n) {
		ids = append(ids, m.ID)
	}
	return ids
}

// name returns what people know a node as, its ID where that is not known.
func (u *upNodes) name(id string) string {
	u.mu.Lock()
	defer u.mu.Unlock()
	if name, ok := u.names[id]; ok {
		return name
	}
	return id
}
