package cli

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/crawlbox/crawlbox/appliance/api"
)

func restartCmd(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "restart SERVICE",
		Short: "Replace the replicas of a service by new ones of the same version",
		Long: `Replace the replicas of a service by new ones of the same version, a quarter of
them at a time, and follow until all run.`,
		Args:              exactlyOne("one service"),
		ValidArgsFunction: a.completeOne(serviceNames),
	}
	flags := followFlags(cmd).planFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if *flags.dryRun {
			return a.showPlan(cmd, *flags.json, func(ctx context.Context, c *api.Client) (api.Plan, error) { return c.RestartPlan(ctx, args[0]) })
		}
		return a.follow(cmd, flags, deployChange(args[0], "restarted", func(ctx context.Context, c *api.Client, see func(api.Event) error) error {
			return c.Restart(ctx, args[0], see)
		}))
	}
	return cmd
}
