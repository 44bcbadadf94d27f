package node

import (
	"context"
	"strings"

	"github.com/crawlbox/crawlbox/appliance/api"
	"github.com/crawlbox/crawlbox/appliance/fleet"
)

func (b *backend) Nodes(ctx context.Context) ([]fleet.Node, error) {
	snap, err := b.engine.Snapshot(ctx)
	if err != nil {
		return nil, b.explain(err)
	}
	info, err := b.engine.Info(ctx)
	if err != nil {
		return nil, b.explain(err)
	}
	for i, n := range snap.Nodes {
		snap.Nodes[i].Self = n.ID == info.NodeID
		snap.Nodes[i].Agent = b.agent(n.ID)
	}
	return snap.Nodes, nil
}

// agent is what gossip heard last of a Swarm node. One that joined twice is
// known under two IDs of its own; the one heard of last counts.
func (b *backend) agent(swarmID string) *fleet.Agent {
	var found *fleet.Agent
	for _, m := range b.gossip.Members() {
		if m.Swarm != swarmID || found != nil && found.Seen.After(m.Seen) {
			continue
		}
		found = &fleet.Agent{State: string(m.State), Version: m.Version, FreeDisk: m.FreeDisk, Docker: m.Docker, Seen: m.Seen}
	}
	return found
}

func (b *backend) SetNode(ctx context.Context, ref, verb string) error {
	n, err := b.node(ctx, ref)
	if err != nil {
		return err
	}
	switch verb {
	case "promote":
		err = b.engine.SetRole(ctx, n.ID, fleet.RoleManager)
	case "demote":
		err = b.demote(ctx, n)
	case "drain":
		err = b.engine.SetAvailability(ctx, n.ID, fleet.AvailabilityDrain)
	case "activate":
		err = b.engine.SetAvailability(ctx, n.ID, fleet.AvailabilityActive)
	case "pause":
		err = b.engine.SetAvailability(ctx, n.ID, fleet.AvailabilityPause)
	default:
		return invalid("unknown change %q of a node; use promote, demote, drain, activate or pause", verb)
	}
	return b.explain(lonely(n, err))
}

// lonely says what to do where Swarm would be left with no manager, or with too
// few that agree.
func lonely(n fleet.Node, err error) error {
	switch {
	case err == nil:
		return nil
	case strings.Contains(err.Error(), "last manager"):
		return conflict("%s is the last manager and can't be demoted; promote another node first", n.Display)
	case strings.Contains(err.Error(), "loss of quorum"):
		return conflict("%s can't be demoted: the managers that answer would be too few; see `crawlbox nodes`, start the others or promote another node first", n.Display)
	}
	return err
}

func (b *backend) RemoveNode(ctx context.Context, ref string, force bool) error {
	if b.remove == nil {
		return b.onlyOn("the cluster's CA")
	}
	n, err := b.node(ctx, ref)
	if err != nil {
		if ok, removeErr := b.removeMember(ctx, ref); ok {
			return b.explain(removeErr)
		}
		return err
	}
	switch {
	case n.Role == fleet.RoleManager:
		return conflict("%s is a manager; demote it first with `crawlbox node demote %s`", n.Display, n.Display)
	case n.Raft:
		return conflict("%s was demoted, but Swarm has not ended that yet; run the same command again in a few seconds", n.Display)
	case n.State == fleet.StateReady && !force:
		return conflict("%s is up; run `crawlbox leave` on it, or remove it all the same with --force", n.Display)
	}
	return b.explain(b.remove(ctx, n))
}

func (b *backend) node(ctx context.Context, ref string) (fleet.Node, error) {
	nodes, err := b.engine.Nodes(ctx)
	if err != nil {
		return fleet.Node{}, b.explain(err)
	}
	return findNode(nodes, ref)
}

var _ api.Backend = (*backend)(nil)
