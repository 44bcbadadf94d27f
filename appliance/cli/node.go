package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/crawlbox/crawlbox/appliance/api"
)

func nodeCmd(a *app) *cobra.Command {
	ls := nodesCmd(a)
	ls.Use = "ls"
	return group(&cobra.Command{Use: "node", Short: "Manage nodes"},
		ls,
		nodeVerbCmd(a, "promote", "promoted", "Make workers managers"),
		nodeVerbCmd(a, "demote", "demoted", "Make managers workers; do it before you remove a manager"),
		nodeVerbCmd(a, "drain", "drained", "Move all tasks away from nodes, and give them no new ones"),
		nodeVerbCmd(a, "activate", "active", "Give drained nodes tasks again"),
		nodeRmCmd(a),
	)
}

func nodeVerbCmd(a *app, verb, past, short string) *cobra.Command {
	cmd := &cobra.Command{
		Use:               verb + " NODE...",
		Short:             short,
		Args:              atLeast(1, "a node"),
		ValidArgsFunction: a.complete(nodeNames),
	}
	cmd.RunE = func(cmd *cobra.Command, nodes []string) error {
		return a.each(cmd, nodes, past, func(ctx context.Context, c *api.Client, node string) error {
			return c.SetNode(ctx, node, verb)
		})
	}
	return cmd
}

func nodeRmCmd(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "rm NODE...",
		Short: "Remove nodes that are gone",
		Long: `Remove nodes that are gone.

On a node that still runs use crawlbox leave instead: it does both halves.`,
		Args:              atLeast(1, "a node"),
		ValidArgsFunction: a.complete(nodeNames),
	}
	force := cmd.Flags().Bool("force", false, "remove a node although Swarm still hears from it")
	cmd.RunE = func(cmd *cobra.Command, nodes []string) error {
		err := a.each(cmd, nodes, "removed", func(ctx context.Context, c *api.Client, node string) error {
			return c.RemoveNode(ctx, node, *force)
		})
		if err == nil {
			fmt.Fprintln(a.env.Stderr, "If a server may be in other hands, run `crawlbox token rotate` too: the old join strings let it in again.")
		}
		return err
	}
	return cmd
}

// each does the same to several things and says what is done, up to the first
// failure.
func (a *app) each(cmd *cobra.Command, names []string, past string, do func(context.Context, *api.Client, string) error) error {
	for _, name := range names {
		if name == "" {
			return usagef(cmd, "a name is empty")
		}
	}
	c, err := a.client()
	if err != nil {
		return err
	}
	for _, name := range names {
		if err := do(cmd.Context(), c, name); err != nil {
			return err
		}
		if err := a.printf("%s: %s\n", name, past); err != nil {
			return err
		}
	}
	return nil
}
