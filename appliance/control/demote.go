package control

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/crawlbox/crawlbox/appliance/api"
	"github.com/crawlbox/crawlbox/appliance/failpoint"
	"github.com/crawlbox/crawlbox/appliance/fleet"
	"github.com/crawlbox/crawlbox/appliance/swarm"
)

// demotionTimeout bounds the wait for Swarm's leader to take its secrets from a node that
// was demoted.
const demotionTimeout = 30 * time.Second

// demote makes a manager a worker. Swarm's tokens change when it has lost Swarm's
// secrets, and not before: it would read the new ones.
func (b *Backend) demote(ctx context.Context, n fleet.Node) error {
	nodes, err := b.Engine.Nodes(ctx)
	if err != nil {
		return err
	}
	other := func(m fleet.Node) bool { return m.Role == fleet.RoleManager && m.ID != n.ID }
	if n.Addr == b.First().String() && slices.ContainsFunc(nodes, other) {
		return api.Conflict("%s holds the cluster's registry, queue and CA, and stays a manager; to take that machine down, see `crawlbox leave` there", n.Display)
	}
	if err := b.Engine.SetRole(ctx, n.ID, fleet.RoleWorker); err != nil {
		return err
	}
	failpoint.Hit(failpoint.Demoted)
	err = b.awaitDemotion(ctx, n.ID)
	if errors.Is(err, swarm.ErrNotManager) && b.Remove == nil {
		return nil // it was this node; the first manager sees to the rest
	}
	if err == nil {
		err = b.Demoted(ctx)
	}
	if err != nil {
		return api.Conflict("%s is demoted, but knows Swarm's join tokens still: %s; they change by themselves when the first manager can do so, or now with `crawlbox token rotate`", n.Display, err)
	}
	return nil
}

func (b *Backend) awaitDemotion(ctx context.Context, id string) error {
	ctx, cancel := context.WithTimeoutCause(ctx, demotionTimeout, fmt.Errorf("Swarm has it as a manager after %s", demotionTimeout))
	defer cancel()
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		nodes, err := b.Engine.Nodes(ctx)
		if err == nil && !hasRaft(nodes, id) {
			return nil
		}
		if errors.Is(err, swarm.ErrNotManager) { // it is this node
			return err
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-tick.C:
		}
	}
}

func hasRaft(nodes []fleet.Node, id string) bool {
	for _, n := range nodes {
		if n.ID == id {
			return n.Raft
		}
	}
	return false
}
