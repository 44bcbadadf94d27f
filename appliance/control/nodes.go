package control

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/crawlbox/crawlbox/appliance/api"
	"github.com/crawlbox/crawlbox/appliance/base/clock"
	"github.com/crawlbox/crawlbox/appliance/doctor"
	"github.com/crawlbox/crawlbox/appliance/failpoint"
	"github.com/crawlbox/crawlbox/appliance/fleet"
	"github.com/crawlbox/crawlbox/appliance/swarm"
)

// Nodes answers api.Nodes as far as a node is a manager of the swarm.
type Nodes struct {
	engine *swarm.Engine
	view   *View
	home   func() netip.Addr
	roles  Roles
	moved  func() *doctor.Moved
	errs   Errors
}

// Roles is told of nodes that get another role.
type Roles interface {
	// Promote lets a node be a manager, before Swarm makes it one.
	Promote(n fleet.Node) error
	// Demoted changes the secrets that a node knew which is no manager any more.
	Demoted(ctx context.Context) error
}

// SwarmRoles are those of a manager that does not have the cluster's state.
type SwarmRoles struct{ *swarm.Engine }

// Promote implements Roles.
func (SwarmRoles) Promote(fleet.Node) error { return nil }

// Demoted implements Roles.
func (r SwarmRoles) Demoted(ctx context.Context) error {
	return r.RotateJoinTokens(ctx, fleet.RoleWorker, fleet.RoleManager)
}

// NewNodes returns the nodes that engine knows. home returns the address of the manager that has
// the queue, not valid where none has, and moved returns where this machine has gone.
func NewNodes(
	engine *swarm.Engine, view *View, home func() netip.Addr, roles Roles, moved func() *doctor.Moved, errs Errors,
) *Nodes {
	return &Nodes{engine, view, home, roles, moved, errs}
}

func (n *Nodes) Nodes(ctx context.Context) ([]fleet.Node, error) {
	snap, err := n.view.Snapshot(ctx)
	if err != nil {
		return nil, n.errs.explain(err)
	}
	info, err := n.engine.Info(ctx)
	if err != nil {
		return nil, n.errs.explain(err)
	}
	for i := range snap.Nodes {
		if self := &snap.Nodes[i]; self.ID == info.NodeID {
			self.Self, self.Problem = true, n.moved().Sentence()
		}
	}
	return snap.Nodes, nil
}

// Node implements api.Nodes.
func (n *Nodes) Node(ctx context.Context, ref string) (fleet.Node, error) {
	node, err := nodeCalled(ctx, n.engine, ref)
	return node, n.errs.explain(err)
}

// LabelNode implements api.Nodes.
func (n *Nodes) LabelNode(ctx context.Context, req api.LabelRequest) (fleet.Node, error) {
	node, err := nodeCalled(ctx, n.engine, req.Node)
	if err == nil {
		err = n.engine.SetLabels(ctx, node.ID, req.Set, req.Remove)
	}
	if err == nil {
		node, err = nodeCalled(ctx, n.engine, node.ID)
	}
	return node, n.errs.explain(err)
}

func (n *Nodes) SetNode(ctx context.Context, ref, verb string) error {
	node, err := nodeCalled(ctx, n.engine, ref)
	if err != nil {
		return n.errs.explain(err)
	}
	switch verb {
	case "promote":
		if err = n.roles.Promote(node); err == nil {
			err = n.engine.SetRole(ctx, node.ID, fleet.RoleManager)
		}
	case "demote":
		err = n.demote(ctx, node)
	case "drain":
		n.free(ctx, node)
		err = n.engine.SetAvailability(ctx, node.ID, fleet.AvailabilityDrain)
	case "activate":
		err = n.engine.SetAvailability(ctx, node.ID, fleet.AvailabilityActive)
	case "pause":
		err = n.engine.SetAvailability(ctx, node.ID, fleet.AvailabilityPause)
	default:
		return api.Invalid("unknown change %q of a node; use promote, demote, drain, activate or pause", verb)
	}
	return n.errs.explain(explainQuorum(node, err))
}

const (
	// freeTime bounds how long a drain waits for the queue to leave the node, which looks every freeLook.
	freeTime = 20 * time.Second
	freeLook = 500 * time.Millisecond
)

// free has the cluster's own services leave a node that answers and is to be drained: the queue's Valkey hands over
// from one that is paused, while Swarm ends it at once on one that is drained. One that has nowhere to go stays.
func (n *Nodes) free(ctx context.Context, node fleet.Node) {
	ctx, cancel := context.WithTimeout(ctx, freeTime)
	defer cancel()
	for {
		snap, err := n.engine.Snapshot(ctx)
		own := slices.ContainsFunc(snap.Tasks, func(t fleet.Task) bool {
			return t.NodeID == node.ID && strings.HasPrefix(t.Service, fleet.OwnServices) && !t.Ended() && t.Lost == ""
		})
		if err != nil || !own || n.engine.SetAvailability(ctx, node.ID, fleet.AvailabilityPause) != nil ||
			clock.Sleep(ctx, freeLook) != nil {
			return
		}
	}
}

// explainQuorum returns what to do where Swarm would be left with no manager, or with too
// few that agree, or has not yet made one of the node.
func explainQuorum(n fleet.Node, err error) error {
	switch {
	case err == nil:
		return nil
	case strings.Contains(err.Error(), "last manager"):
		return api.Conflict("%s is the last manager and can't be demoted; promote another node first", n.Display)
	case strings.Contains(err.Error(), "raft memberlist"): // Swarm lists a new manager before it has joined
		return api.Conflict("%s was promoted, but Swarm has not ended that yet; run the same command again in a few "+
			"seconds", n.Display)
	case strings.Contains(err.Error(), "loss of quorum"):
		return api.Conflict("%s can't be demoted: the managers that answer would be too few; see `crawlbox nodes`, "+
			"start the others or promote another node first", n.Display)
	}
	return err
}

// nodeCalled asks the engine for the node that a user means.
func nodeCalled(ctx context.Context, engine *swarm.Engine, ref string) (fleet.Node, error) {
	nodes, err := engine.Nodes(ctx)
	if err != nil {
		return fleet.Node{}, err
	}
	return findNode(nodes, ref)
}

// demotionTimeout bounds the wait for Swarm's leader to take its secrets from a node that
// was demoted.
const demotionTimeout = 30 * time.Second

// demote makes a manager a worker. Swarm's tokens change when it has lost Swarm's
// secrets, and not before: it would read the new ones.
func (n *Nodes) demote(ctx context.Context, node fleet.Node) error {
	info, err := n.engine.Info(ctx)
	if err != nil {
		return err
	}
	nodes, err := n.engine.Nodes(ctx)
	if err != nil {
		return err
	}
	other := func(m fleet.Node) bool { return m.Role == fleet.RoleManager && m.ID != node.ID }
	up := !node.Away()
	if up && node.Addr == n.home().String() && slices.ContainsFunc(nodes, other) {
		return api.Conflict("%s holds the cluster's queue, and stays a manager as long as it is up; if that machine "+
			"is gone for good, it can be demoted once Swarm does not reach it, and the queue is lost", node.Display)
	}
	if err := n.engine.SetRole(ctx, node.ID, fleet.RoleWorker); err != nil {
		return err
	}
	failpoint.Hit(failpoint.Demoted)
	err = n.awaitDemotion(ctx, node.ID)
	if node.ID == info.NodeID && errors.Is(err, swarm.ErrNotManager) {
		return nil // the one that leads sees to the rest
	}
	if err == nil {
		err = n.roles.Demoted(ctx)
	}
	if err != nil {
		return api.Conflict("%s is demoted, but knows Swarm's join tokens still: %s; they change by themselves when "+
			"another manager can do so, or now with `crawlbox token rotate`", node.Display, err)
	}
	return nil
}

func (n *Nodes) awaitDemotion(ctx context.Context, id string) error {
	ctx, cancel := context.WithTimeoutCause(ctx, demotionTimeout,
		fmt.Errorf("Swarm has it as a manager after %s", demotionTimeout))
	defer cancel()
	for {
		nodes, err := n.engine.Nodes(ctx)
		if err == nil && !hasRaft(nodes, id) {
			return nil
		}
		if errors.Is(err, swarm.ErrNotManager) { // it is this node
			return err
		}
		if clock.Sleep(ctx, 200*time.Millisecond) != nil {
			return context.Cause(ctx)
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

// Removals answers api.Removals on the node that has the cluster's CA.
type Removals struct {
	engine      *swarm.Engine
	node        func(ctx context.Context, n fleet.Node) error
	certificate func(ctx context.Context, id string) (known bool, err error)
	errs        Errors
}

// NewRemovals returns what takes nodes out of the cluster: node does so with one that
// Swarm has, and certificate with one that Swarm has not, by the ID of its certificate.
func NewRemovals(engine *swarm.Engine, node func(context.Context, fleet.Node) error,
	certificate func(context.Context, string) (bool, error), errs Errors) *Removals {
	return &Removals{engine: engine, node: node, certificate: certificate, errs: errs}
}

func (r *Removals) RemoveNode(ctx context.Context, ref string, force bool) error {
	n, err := nodeCalled(ctx, r.engine, ref)
	if err != nil {
		if ok, removeErr := r.certificate(ctx, ref); ok {
			return r.errs.explain(removeErr)
		}
		return r.errs.explain(err)
	}
	switch {
	case n.Role == fleet.RoleManager:
		return api.Conflict("%s is a manager; demote it first with `crawlbox node demote %s`", n.Display, n.Display)
	case n.Raft:
		return api.Conflict("%s was demoted, but Swarm has not ended that yet; run the same command again in a few "+
			"seconds", n.Display)
	case n.State == fleet.StateReady && !force:
		return api.Conflict("%s is up; run `crawlbox leave` on it, or remove it all the same with --force", n.Display)
	}
	return r.errs.explain(r.node(ctx, n))
}
