package control

import (
	"context"
	"strings"

	"github.com/crawlbox/crawlbox/appliance/api"
	"github.com/crawlbox/crawlbox/appliance/fleet"
)

func (b *Backend) Nodes(ctx context.Context) ([]fleet.Node, error) {
	snap, err := b.Engine.Snapshot(ctx)
	if err != nil {
		return nil, b.explain(err)
	}
	info, err := b.Engine.Info(ctx)
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
func (b *Backend) agent(swarmID string) *fleet.Agent {
	var found *fleet.Agent
	for _, m := range b.Gossip.Members() {
		if m.Swarm != swarmID || found != nil && found.Seen.After(m.Seen) {
			continue
		}
		found = &fleet.Agent{State: string(m.State), Version: m.Version, FreeDisk: m.FreeDisk, Docker: m.Docker, Seen: m.Seen}
	}
	return found
}

func (b *Backend) SetNode(ctx context.Context, ref, verb string) error {
	n, err := b.node(ctx, ref)
	if err != nil {
		return err
	}
	switch verb {
	case "promote":
		err = b.Engine.SetRole(ctx, n.ID, fleet.RoleManager)
	case "demote":
		err = b.demote(ctx, n)
	case "drain":
		err = b.Engine.SetAvailability(ctx, n.ID, fleet.AvailabilityDrain)
	case "activate":
		err = b.Engine.SetAvailability(ctx, n.ID, fleet.AvailabilityActive)
	case "pause":
		err = b.Engine.SetAvailability(ctx, n.ID, fleet.AvailabilityPause)
	default:
		return api.Invalid("unknown change %q of a node; use promote, demote, drain, activate or pause", verb)
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
		return api.Conflict("%s is the last manager and can't be demoted; promote another node first", n.Display)
	case strings.Contains(err.Error(), "loss of quorum"):
		return api.Conflict("%s can't be demoted: the managers that answer would be too few; see `crawlbox nodes`, start the others or promote another node first", n.Display)
	}
	return err
}

func (b *Backend) RemoveNode(ctx context.Context, ref string, force bool) error {
	if b.Remove == nil {
		return b.onlyOn("the cluster's CA")
	}
	n, err := b.node(ctx, ref)
	if err != nil {
		if ok, removeErr := b.RemoveMember(ctx, ref); ok {
			return b.explain(removeErr)
		}
		return err
	}
	switch {
	case n.Role == fleet.RoleManager:
		return api.Conflict("%s is a manager; demote it first with `crawlbox node demote %s`", n.Display, n.Display)
	case n.Raft:
		return api.Conflict("%s was demoted, but Swarm has not ended that yet; run the same command again in a few seconds", n.Display)
	case n.State == fleet.StateReady && !force:
		return api.Conflict("%s is up; run `crawlbox leave` on it, or remove it all the same with --force", n.Display)
	}
	return b.explain(b.Remove(ctx, n))
}

func (b *Backend) node(ctx context.Context, ref string) (fleet.Node, error) {
	nodes, err := b.Engine.Nodes(ctx)
	if err != nil {
		return fleet.Node{}, b.explain(err)
	}
	return findNode(nodes, ref)
}
