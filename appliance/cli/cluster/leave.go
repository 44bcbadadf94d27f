package cluster

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/crawlbox/crawlbox/appliance/api"
	"github.com/crawlbox/crawlbox/appliance/cli/command"
	"github.com/crawlbox/crawlbox/appliance/node"
	"github.com/crawlbox/crawlbox/configs"
)

func LeaveCmd(a *command.App) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "leave",
		Short: "Take this node out of the cluster and end its crawlbox",
		Long: `Take this node out of the cluster and end its crawlbox, also where none runs.

On the last manager this ends the cluster and its services. Its images and its
queue stay on disk. Where there are others, the cluster goes on with them, but
without the queue where this node has it: see crawlbox move.`,
		Example: "  crawlbox leave",
		Args:    command.NoArgs,
	}
	force := cmd.Flags().Bool("force", false, "leave although the cluster ends or suffers by it")
	cmd.RunE = a.Asking(func(cmd *cobra.Command, c *api.Client, _ []string) error {
		err := c.Leave(cmd.Context(), *force)
		if errors.Is(err, api.ErrNotRunning) && a.UsualSocket() {
			err = leaveOffline(a, cmd.Context(), *force)
		}
		if err != nil {
			return err
		}
		return a.Printf("this node has left the cluster\n")
	})
	return cmd
}

// leaveOffline leaves with the data directory of a node that does not run.
func leaveOffline(a *command.App, ctx context.Context, force bool) error {
	cfg, err := configs.Load(a.Config)
	if err != nil {
		return err
	}
	err = node.LeaveOffline(ctx, node.Options{Config: cfg, Version: a.Version, Log: a.Log}, force)
	if errors.Is(err, node.ErrNoNode) {
		return fmt.Errorf("%w, and %s has nothing of a node that could leave", api.ErrNotRunning, cfg.DataDir)
	}
	return err
}
