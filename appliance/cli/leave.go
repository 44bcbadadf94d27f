package cli

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/crawlbox/crawlbox/appliance/api"
	"github.com/crawlbox/crawlbox/appliance/node"
	"github.com/crawlbox/crawlbox/configs"
)

func leaveCmd(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "leave",
		Short: "Take this node out of the cluster and end its crawlbox",
		Long: `Take this node out of the cluster and end its crawlbox, also where none runs.

On the manager that made the cluster this ends the cluster and its services. Its
images and its queue stay on disk.`,
		Args: noArgs,
	}
	force := cmd.Flags().Bool("force", false, "leave although the cluster ends or suffers by it")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		c, err := a.client()
		if err != nil {
			return err
		}
		err = c.Leave(cmd.Context(), *force)
		if errors.Is(err, api.ErrNotRunning) && a.usualSocket() {
			err = a.leaveOffline(cmd.Context(), *force)
		}
		if err != nil {
			return err
		}
		return a.printf("this node has left the cluster\n")
	}
	return cmd
}

// usualSocket says whether the config names the socket: a node with another one
// may have another data folder too.
func (a *app) usualSocket() bool { return a.socket == "" && os.Getenv("CRAWLBOX_SOCKET") == "" }

// leaveOffline leaves with the data folder of a node that does not run.
func (a *app) leaveOffline(ctx context.Context, force bool) error {
	cfg, err := configs.Load(a.config)
	if err != nil {
		return err
	}
	err = node.LeaveOffline(ctx, node.Options{Config: cfg, Version: Version(), Log: a.log}, force)
	if errors.Is(err, node.ErrNoNode) {
		return fmt.Errorf("%w, and %s has nothing of a node that could leave", api.ErrNotRunning, cfg.DataDir)
	}
	return err
}
