package cli

import (
	"context"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/crawlbox/crawlbox/appliance/api"
	"github.com/crawlbox/crawlbox/appliance/fleet"
)

func nodesCmd(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "nodes",
		Short: "List the nodes of the cluster",
		Long: `List the nodes of the cluster.

The node that answers is marked with *. STATE is Swarm's; drain or pause is a
ready node that gets no new tasks. DISK is what is free for images and logs.
CRAWLBOX is the version that runs there, or left or failed where it went away.`,
		Args: noArgs,
	}
	return reads(a, cmd, func(ctx context.Context, c *api.Client, _ []string) ([]fleet.Node, error) {
		return c.Nodes(ctx)
	}, renderNodes)
}

func renderNodes(s screen, nodes []fleet.Node) {
	t := table{columns: []column{
		{head: "NAME", min: 8}, {head: "ROLE"}, {head: "STATE", min: 8}, {head: "ADDRESS", min: 15},
		{head: "DISK"}, {head: "DOCKER", min: 8}, {head: "CRAWLBOX", min: 8}, {head: "TASKS"},
	}}
	for _, n := range nodes {
		disk, docker, agent := agentCells(n)
		t.add(nodeName(n), cell{text: nodeRole(n)}, nodeState(n), cell{text: orDash(n.Addr)},
			disk, docker, agent, cell{text: strconv.Itoa(n.Running)})
	}
	t.write(s)
}

func nodeName(n fleet.Node) cell {
	if n.Self {
		return cell{n.Display + " *", bold}
	}
	return cell{text: n.Display}
}

func nodeRole(n fleet.Node) string {
	if n.Leader {
		return "leader"
	}
	return n.Role
}

func nodeState(n fleet.Node) cell {
	switch {
	case n.State != fleet.StateReady:
		return cell{n.State, red}
	case n.Availability != fleet.AvailabilityActive:
		return cell{n.Availability, yellow}
	}
	return cell{text: n.State}
}

// agentCells are the free disk, the state of Docker and of crawlbox on a node.
func agentCells(n fleet.Node) (disk, docker, agent cell) {
	docker = cell{text: shortVersion(n.Engine)}
	if n.Agent == nil {
		return cell{text: "-"}, docker, cell{text: "-"}
	}
	disk, agent = cell{text: size(n.Agent.FreeDisk)}, cell{text: orDash(n.Agent.Version)}
	if n.Agent.State != "alive" {
		agent = cell{n.Agent.State, yellow}
	}
	if n.Agent.Docker == "stopped" {
		docker = cell{"stopped", red}
	}
	return disk, docker, agent
}
