package cluster

import (
	"context"
	"fmt"
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

The node that answers is marked with *. STATE is Swarm's; drain or pause is a
ready node that gets no new tasks. DISK is what is free for images and logs.
CRAWLBOX is the version that runs there, or left or failed where it went away.`,
		Args: command.NoArgs,
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
	if n.Agent.State != "alive" {
		agent = tui.Styled(n.Agent.State, tui.Yellow)
	}
	if n.Agent.Docker == "stopped" {
		docker = tui.Styled("stopped", tui.Red)
	}
	return disk, docker, agent
}

func NodeCmd(a *command.App) *cobra.Command {
	ls := NodesCmd(a)
	ls.Use = "ls"
	return command.Group(&cobra.Command{Use: "node", Short: "Manage nodes"},
		ls,
		nodeVerbCmd(a, "promote", "promoted", "Make workers managers"),
		nodeVerbCmd(a, "demote", "demoted", "Make managers workers; do it before you remove a manager"),
		nodeVerbCmd(a, "drain", "drained", "Move all tasks away from nodes, and give them no new ones"),
		nodeVerbCmd(a, "activate", "active", "Give drained nodes tasks again"),
		nodeRmCmd(a),
	)
}

func nodeVerbCmd(a *command.App, verb, past, short string) *cobra.Command {
	return &cobra.Command{
		Use:               verb + " NODE...",
		Short:             short,
		Args:              command.AtLeast(1, "a node"),
		ValidArgsFunction: a.Complete(command.NodeNames),
		RunE: a.Each(past, func(c *api.Client, ctx context.Context, node string) error {
			return c.SetNode(ctx, node, verb)
		}),
	}
}

func nodeRmCmd(a *command.App) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "rm NODE...",
		Short: "Remove nodes that are gone",
		Long: `Remove nodes that are gone.

On a node that still runs use crawlbox leave instead: it does both halves.`,
		Args:              command.AtLeast(1, "a node"),
		ValidArgsFunction: a.Complete(command.NodeNames),
	}
	force := cmd.Flags().Bool("force", false, "remove a node although Swarm still hears from it")
	remove := a.Each("removed", func(c *api.Client, ctx context.Context, node string) error {
		return c.RemoveNode(ctx, node, *force)
	})
	cmd.RunE = func(cmd *cobra.Command, nodes []string) error {
		err := remove(cmd, nodes)
		if err == nil {
			fmt.Fprintln(a.Env.Stderr, "If a server may be in other hands, run `crawlbox token rotate` too: the old "+
				"join tokens let it in again.")
		}
		return err
	}
	return cmd
}
