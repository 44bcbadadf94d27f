package swarm

import (
	"context"
	"maps"
	"net"
	"slices"

	"github.com/docker/docker/api/types/swarm"

	"github.com/crawlbox/crawlbox/appliance/fleet"
)

// SetRole makes a node, by ID, a manager or a worker.
func (e *Engine) SetRole(ctx context.Context, id, role string) error {
	return e.changeNode(ctx, id, func(s *swarm.NodeSpec) { s.Role = swarm.NodeRole(role) })
}

// SetAvailability reports whether the scheduler may use a node, by ID.
func (e *Engine) SetAvailability(ctx context.Context, id, availability string) error {
	return e.changeNode(ctx, id, func(s *swarm.NodeSpec) { s.Availability = swarm.NodeAvailability(availability) })
}

// SetLabels gives a node, by ID, labels, and takes others away by their names.
func (e *Engine) SetLabels(ctx context.Context, id string, set map[string]string, remove []string) error {
	return e.changeNode(ctx, id, func(s *swarm.NodeSpec) {
		labels := maps.Clone(s.Labels)
		if labels == nil {
			labels = map[string]string{}
		}
		maps.Copy(labels, set)
		maps.DeleteFunc(labels, func(name, _ string) bool { return slices.Contains(remove, name) })
		s.Labels = labels
	})
}

// changeNode changes a node's spec, again if somebody else changed it between
// reading and writing.
func (e *Engine) changeNode(ctx context.Context, id string, change func(*swarm.NodeSpec)) error {
	return e.retryOutOfSequence(ctx, func(ctx context.Context) error {
		n, _, err := e.cli.NodeInspectWithRaw(ctx, id)
		if err != nil {
			return err
		}
		before := n.Spec
		change(&n.Spec)
		if before.Role == n.Spec.Role && before.Availability == n.Spec.Availability &&
			maps.Equal(before.Labels, n.Spec.Labels) {
			return nil
		}
		return e.cli.NodeUpdate(ctx, id, n.Version, n.Spec)
	})
}

// RemoveNode takes a node, by ID, out of the swarm. Swarm refuses one that it
// still hears from unless force is given.
func (e *Engine) RemoveNode(ctx context.Context, id string, force bool) error {
	ctx, cancel := bounded(ctx)
	defer cancel()
	return e.explain(e.cli.NodeRemove(ctx, id, swarm.NodeRemoveOptions{Force: force}))
}

// Nodes returns all nodes, sorted by no rule, with their Display names set.
func (e *Engine) Nodes(ctx context.Context) ([]fleet.Node, error) {
	ctx, cancel := bounded(ctx)
	defer cancel()
	list, err := e.cli.NodeList(ctx, swarm.NodeListOptions{})
	if err != nil {
		return nil, e.explain(err)
	}
	nodes := make([]fleet.Node, 0, len(list))
	for _, n := range list {
		nodes = append(nodes, nodeOf(n))
	}
	fleet.NameNodes(nodes)
	return nodes, nil
}

func nodeOf(n swarm.Node) fleet.Node {
	node := fleet.Node{
		ID:           n.ID,
		Name:         n.Description.Hostname,
		Role:         string(n.Spec.Role),
		Availability: string(n.Spec.Availability),
		State:        string(n.Status.State),
		Addr:         n.Status.Addr,
		Down:         n.Status.State == swarm.NodeStateDown,
		Engine:       n.Description.Engine.EngineVersion,
		CPUs:         float64(n.Description.Resources.NanoCPUs) / 1e9,
		Memory:       n.Description.Resources.MemoryBytes,
		Labels:       n.Spec.Labels,
		EngineLabels: n.Description.Engine.Labels,
		OS:           n.Description.Platform.OS,
		Arch:         n.Description.Platform.Architecture,
		Updated:      n.UpdatedAt,
	}
	if m := n.ManagerStatus; m != nil {
		node.Leader, node.Raft = m.Leader, true
		if m.Reachability == swarm.ReachabilityUnreachable {
			node.State = fleet.StateUnreachable
		}
		// The leader knows itself as 0.0.0.0 before its first heartbeat.
		if host, _, err := net.SplitHostPort(m.Addr); err == nil {
			node.Addr = host
		}
	}
	return node
}
