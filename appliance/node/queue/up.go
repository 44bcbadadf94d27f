package queue

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/crawlbox/crawlbox/appliance/base/clock"
	"github.com/crawlbox/crawlbox/appliance/fleet"
	"github.com/crawlbox/crawlbox/appliance/swarm"
)

// upEvery is how often is looked which nodes are up.
const upEvery = 5 * time.Second

// upNodes are the nodes that Swarm does not count as down.
type upNodes struct {
	engine *swarm.Engine

	mu    sync.Mutex
	names map[string]string // of all nodes, by ID
}

// tell tells their IDs, again and again until ctx ends. While Swarm does not know, nobody is told.
func (u *upNodes) tell(ctx context.Context, told func(ids []string)) error {
	for clock.Sleep(ctx, upEvery) == nil {
		nodes, err := u.engine.Nodes(ctx)
		if err != nil {
			continue
		}
		names, up := map[string]string{}, map[string]bool{}
		for _, n := range nodes {
			names[n.ID] = n.Display
			if n.State != fleet.StateDown {
				up[n.ID] = true
			}
		}
		u.mu.Lock()
		u.names = names
		u.mu.Unlock()
		told(slices.Sorted(maps.Keys(up)))
	}
	return nil
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
