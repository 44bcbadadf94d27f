package cluster

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/crawlbox/crawlbox/appliance/api"
	"github.com/crawlbox/crawlbox/appliance/base/clock"
	"github.com/crawlbox/crawlbox/appliance/base/words"
	"github.com/crawlbox/crawlbox/appliance/cli/command"
	"github.com/crawlbox/crawlbox/appliance/fleet"
)

const (
	// drainTimeout bounds the wait for the tasks of a drained node to end: their programs
	// decide how long that takes.
	drainTimeout = 2 * time.Minute
	drainLook    = 500 * time.Millisecond
)

func nodeDrainCmd(a *command.App) *cobra.Command {
	cmd := &cobra.Command{
		Use:   drain.name + " NODE...",
		Short: drain.short,
		Long: `Move all tasks away from nodes, and give them no new ones, until crawlbox node
activate. It returns when no task runs there. Before no node is left that takes
tasks it asks.`,
		Example:           "  crawlbox node drain h2",
		Args:              command.AtLeast(1, "a node"),
		ValidArgsFunction: a.Complete(command.NodeNames),
	}
	yes := command.YesFlag(cmd)
	detach := cmd.Flags().BoolP("detach", "d", false, "do not wait until the tasks are gone")
	cmd.RunE = a.Asking(func(cmd *cobra.Command, c *api.Client, names []string) error {
		nodes, err := nodesNamed(cmd, c, names)
		if err != nil {
			return err
		}
		all, err := c.Nodes(cmd.Context())
		if err != nil {
			return err
		}
		if !*yes && !leavesActive(all, nodes) {
			list := strings.Join(displays(nodes), ", ")
			if err := a.Sure(cmd, command.Question{
				Why: "no node would take tasks, and all services stop",
				Do:  "drain " + list,
				Not: "nothing was drained",
			}); err != nil {
				return err
			}
		}
		verb, await := drain, func(n fleet.Node) error { return awaitDrained(cmd.Context(), c, n) }
		if *detach {
			verb.past, await = "drains", func(fleet.Node) error { return nil }
		}
		return setNodes(a, cmd.Context(), c, verb, nodes, await)
	})
	return cmd
}

// leavesActive reports whether a node that takes tasks is left when some are drained.
func leavesActive(all, drained []fleet.Node) bool {
	return slices.ContainsFunc(all, func(n fleet.Node) bool {
		goes := slices.ContainsFunc(drained, func(d fleet.Node) bool { return d.ID == n.ID })
		return !goes && n.State == fleet.StateReady && n.Availability == fleet.AvailabilityActive
	})
}

func displays(nodes []fleet.Node) []string {
	names := make([]string, len(nodes))
	for i, n := range nodes {
		names[i] = n.Display
	}
	return names
}

// awaitDrained returns when no task runs on a node that is drained. Of one that Swarm does not
// hear from it can't be known.
func awaitDrained(ctx context.Context, c *api.Client, n fleet.Node) error {
	if n.State != fleet.StateReady {
		return nil
	}
	end := time.Now().Add(drainTimeout)
	for {
		tasks, err := c.Tasks(ctx, api.TaskQuery{Node: n.ID, All: true})
		if err != nil {
			return err
		}
		tasks = slices.DeleteFunc(tasks, fleet.Task.Ended)
		switch left := len(tasks); {
		case left == 0:
			return nil
		case time.Now().After(end):
			return fmt.Errorf("%s takes no new tasks, and %s after %s still there; see `crawlbox ps --node %s`",
				n.Display, words.Count(left, "task"), drainTimeout, n.Display)
		}
		if clock.Sleep(ctx, drainLook) != nil {
			return fmt.Errorf("%w; %s takes no new tasks, and those that it has end", command.ErrInterrupted, n.Display)
		}
	}
}
