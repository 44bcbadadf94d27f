package apitest

import (
	"context"
	"maps"
	"net/netip"
	"slices"

	"github.com/crawlbox/crawlbox/appliance/api"
	"github.com/crawlbox/crawlbox/appliance/doctor"
	"github.com/crawlbox/crawlbox/appliance/fleet"
)

func (c *Cluster) Nodes(context.Context) ([]fleet.Node, error) {
	if err := c.manager(); err != nil {
		return nil, err
	}
	defer c.mu.Unlock()
	return slices.Clone(c.nodes), nil
}

// Neighbours implements Backend: all is well between this node and the last.
func (c *Cluster) Neighbours(context.Context) ([]doctor.Neighbour, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := c.nodes[len(c.nodes)-1]
	return []doctor.Neighbour{{
		Name:  n.Display,
		Role:  n.Role,
		Addr:  netip.MustParseAddr(n.Addr),
		There: []doctor.Try{{Port: 7980}},
		Here:  []doctor.Try{{Port: 7980}},
		MTU:   1500,
	}}, nil
}

func (c *Cluster) Node(_ context.Context, node string) (fleet.Node, error) {
	if err := c.manager(); err != nil {
		return fleet.Node{}, err
	}
	defer c.mu.Unlock()
	n, err := c.node(node)
	if err != nil {
		return fleet.Node{}, err
	}
	return *n, nil
}

func (c *Cluster) LabelNode(_ context.Context, req api.LabelRequest) (fleet.Node, error) {
	if err := c.manager(); err != nil {
		return fleet.Node{}, err
	}
	defer c.mu.Unlock()
	n, err := c.node(req.Node)
	if err != nil {
		return fleet.Node{}, err
	}
	labels := map[string]string{}
	maps.Copy(labels, n.Labels)
	maps.Copy(labels, req.Set)
	for _, name := range req.Remove {
		delete(labels, name)
	}
	n.Labels = labels
	return *n, nil
}

func (c *Cluster) SetNode(_ context.Context, node, verb string) error {
	if err := c.manager(); err != nil {
		return err
	}
	defer c.mu.Unlock()
	n, err := c.node(node)
	if err != nil {
		return err
	}
	change := map[string]func(){
		"promote":  func() { n.Role = fleet.RoleManager },
		"demote":   func() { n.Role = fleet.RoleWorker },
		"drain":    func() { n.Availability = fleet.AvailabilityDrain },
		"pause":    func() { n.Availability = fleet.AvailabilityPause },
		"activate": func() { n.Availability = fleet.AvailabilityActive },
	}[verb]
	if verb == "demote" && n.Leader {
		return fail(api.CodeConflict, "%s is the last manager; promote another node first", n.Display)
	}
	change()
	if verb == "drain" { // what ran there runs elsewhere
		for i, t := range c.tasks {
			if t.Node == n.Display {
				c.tasks[i].Node, c.tasks[i].NodeID = c.nodes[0].Display, c.nodes[0].ID
			}
		}
	}
	return nil
}

func (c *Cluster) RemoveNode(_ context.Context, node string, force bool) error {
	if err := c.manager(); err != nil {
		return err
	}
	defer c.mu.Unlock()
	n, err := c.node(node)
	if err != nil {
		return err
	}
	if n.State == fleet.StateReady && !force {
		return fail(api.CodeConflict, "node %s is not down; run `crawlbox leave` on it, or use --force", n.Display)
	}
	id := n.ID
	c.nodes = slices.DeleteFunc(c.nodes, func(n fleet.Node) bool { return n.ID == id })
	return nil
}
