package cluster

import (
	"context"
	"fmt"
	"slices"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/crawlbox/crawlbox/appliance/api"
	"github.com/crawlbox/crawlbox/appliance/cli/command"
	"github.com/crawlbox/crawlbox/appliance/cli/tui"
	"github.com/crawlbox/crawlbox/appliance/fleet"
)

func NodesCmd(a *command.App) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "nodes",
		Short: "List the nodes of the cluster",
		Long: `List the nodes of the cluster.

The node that answers is marked with *. STATE is Swarm's: ready; drain or pause,
a ready node that gets no new tasks; down, when Swarm does not hear from it;
unknown, until it does after a change of managers; unreachable, a manager that
the others do not reach. DISK is what is free for images and logs.
CRAWLBOX is the version that runs there; stopped, where somebody stopped it; or
failed, where it no longer answers. A node that left the cluster is not listed.`,
		Example: "  crawlbox nodes\n  crawlbox nodes --watch",
		Args:    command.NoArgs,
	}
	return command.WatchesAll(a, cmd, (*api.Client).Nodes, renderNodes)
}

func renderNodes(s tui.Screen, nodes []fleet.Node) {
	t := tui.Table{Columns: []tui.Column{
		{Head: "NAME", Min: 8}, {Head: "ROLE"}, {Head: "STATE", Min: 8}, {Head: "ADDRESS", Min: 15},
		{Head: "DISK"}, {Head: "DOCKER", Min: 8}, {Head: "CRAWLBOX", Min: 8}, {Head: "TASKS"},
	}}
	for _, n := range nodes {
		disk, docker, agent := agentCells(n)
		t.Add(nodeName(n), tui.Text(nodeRole(n)), nodeState(n), tui.Text(tui.OrDash(n.Addr)),
			disk, docker, agent, tui.Text(strconv.Itoa(n.Running)))
	}
	t.Write(s)
	if m := fleet.CountManagers(nodes); m.All > 0 && m.Spare() <= 0 && s.Width > 0 { // on a terminal
		fmt.Fprintln(s.W)
		tui.WriteMarked(s, tui.Remark, m.NextLoss())
	}
	for _, n := range nodes {
		if n.Problem != "" {
			fmt.Fprintln(s.W)
			tui.WriteProblem(s, n.Problem)
		}
	}
}

func nodeName(n fleet.Node) tui.Cell {
	if n.Self {
		return tui.Styled(n.Display+" *", tui.Bold)
	}
	return tui.Text(n.Display)
}

func nodeRole(n fleet.Node) string {
	if n.Leader {
		return "leader"
	}
	return n.Role
}

func nodeState(n fleet.Node) tui.Cell {
	switch {
	case n.State != fleet.StateReady:
		return tui.Styled(n.State, tui.Red)
	case n.Availability != fleet.AvailabilityActive:
		return tui.Styled(n.Availability, tui.Yellow)
	}
	return tui.Text(n.State)
}

// agentCells returns the free disk, the state of Docker and of crawlbox on a node.
func agentCells(n fleet.Node) (disk, docker, agent tui.Cell) {
	docker = tui.Text(tui.ShortVersion(n.Engine))
	if n.Agent == nil {
		return tui.Text("-"), docker, tui.Text("-")
	}
	disk, agent = tui.Text(tui.Size(n.Agent.FreeDisk)), tui.Text(tui.OrDash(n.Agent.Version))
	if n.Agent.State != fleet.AgentAlive {
		agent = tui.Styled(n.Agent.State, tui.Yellow)
	}
	if n.Agent.Docker == fleet.EngineStopped {
		docker = tui.Styled("stopped", tui.Red)
	}
	return disk, docker, agent
}

func NodeCmd(a *command.App) *cobra.Command {
	ls := NodesCmd(a)
	ls.Use = "ls"
	return command.Group(&cobra.Command{Use: "node", Short: "Manage nodes"},
		ls,
		nodePromoteCmd(a),
		nodeDemoteCmd(a),
		nodeDrainCmd(a),
		nodeVerbCmd(a, activate),
		nodeLabelCmd(a),
		nodeRmCmd(a),
	)
}

// nodeVerb is a change of nodes.
type nodeVerb struct {
	name, past string
	is         func(fleet.Node) bool // it is so already
	short      string
}

var (
	promote = nodeVerb{
		"promote", "promoted", func(n fleet.Node) bool { return n.Role == fleet.RoleManager }, "Make workers managers",
	}
	demote = nodeVerb{
		"demote", "demoted", func(n fleet.Node) bool { return n.Role == fleet.RoleWorker && !n.Raft },
		"Make managers workers; do it before you remove a manager",
	}
	drain = nodeVerb{
		"drain", "drained", func(n fleet.Node) bool { return n.Availability == fleet.AvailabilityDrain },
		"Move all tasks away from nodes, and give them no new ones",
	}
	activate = nodeVerb{
		"activate", "active", func(n fleet.Node) bool { return n.Availability == fleet.AvailabilityActive },
		"Give drained nodes tasks again",
	}
)

func nodeVerbCmd(a *command.App, verb nodeVerb) *cobra.Command {
	cmd := &cobra.Command{
		Use:               verb.name + " NODE...",
		Short:             verb.short,
		Example:           "  crawlbox node " + verb.name + " h2 h3",
		Args:              command.AtLeast(1, "a node"),
		ValidArgsFunction: a.Complete(command.NodeNames),
	}
	cmd.RunE = a.Asking(func(cmd *cobra.Command, c *api.Client, names []string) error {
		nodes, err := nodesNamed(cmd, c, names)
		if err != nil {
			return err
		}
		return setNodes(a, cmd.Context(), c, verb, nodes, func(fleet.Node) error { return nil })
	})
	return cmd
}

// nodesNamed returns the nodes that are meant, each once. An unknown one is an error before
// anything is done with the others.
func nodesNamed(cmd *cobra.Command, c *api.Client, names []string) (nodes []fleet.Node, err error) {
	for _, name := range names {
		if name == "" {
			return nil, command.Usagef(cmd, "a name is empty")
		}
		n, err := c.Node(cmd.Context(), name)
		if err != nil {
			return nil, err
		}
		if !slices.ContainsFunc(nodes, func(other fleet.Node) bool { return other.ID == n.ID }) {
			nodes = append(nodes, n)
		}
	}
	return nodes, nil
}

// setNodes changes nodes and says of each that it is done, when await has returned.
func setNodes(a *command.App, ctx context.Context, c *api.Client, verb nodeVerb, nodes []fleet.Node,
	await func(fleet.Node) error) error {
	for _, n := range nodes {
		past := verb.past
		if verb.is(n) {
			past += " already"
		}
		if err := c.SetNode(ctx, n.ID, verb.name); err != nil {
			return err
		}
		if err := await(n); err != nil {
			return err
		}
		if err := a.Printf("%s: %s\n", n.Display, past); err != nil {
			return err
		}
	}
	return nil
}

func nodeRmCmd(a *command.App) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "rm NODE...",
		Short: "Remove nodes that are gone",
		Long: `Remove nodes that are gone.

On a node that still runs use crawlbox leave instead: it does both halves.`,
		Example:           "  crawlbox node rm h4",
		Args:              command.AtLeast(1, "a node"),
		ValidArgsFunction: a.Complete(command.NodeNames),
	}
	force := cmd.Flags().Bool("force", false, "remove a node although Swarm still hears from it")
	remove := a.Each("removed", command.NodeReferences, func(c *api.Client, ctx context.Context, node string) error {
		return c.RemoveNode(ctx, node, *force)
	})
	cmd.RunE = func(cmd *cobra.Command, nodes []string) error {
		if err := remove(cmd, nodes); err != nil {
			return err
		}
		return a.Tell("If a server may be in other hands, run `crawlbox token rotate` too: the old join tokens let " +
			"it in again.")
	}
	return cmd
}
