package cli

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/crawlbox/crawlbox/appliance/api"
)

func updateCmd(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "update SERVICE --image IMAGE",
		Short: "Bring a service to another image",
		Long: `Bring a service to another image, a share of its replicas at a time, and follow
until all run it. With --stop-first-all no two versions run at the same time.`,
		Example:           "  crawlbox update spider --image localhost:8003/spider:0.02",
		Args:              exactlyOne("one service"),
		ValidArgsFunction: a.completeOne(serviceNames),
	}
	flags := addChangeFlags(cmd).planFlag(cmd)
	var req api.UpdateRequest
	cmd.Flags().StringVar(&req.Image, "image", "", "the `image` to run")
	cmd.Flags().BoolVar(&req.StopFirstAll, "stop-first-all", false, "stop all replicas before the first one starts anew")
	_ = cmd.RegisterFlagCompletionFunc("image", a.complete(pullNames))
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if req.Image == "" {
			return usagef(cmd, "update needs --image")
		}
		req.Service = args[0]
		if *flags.dryRun {
			return a.showPlan(cmd, *flags.json, func(ctx context.Context, c *api.Client) (api.Plan, error) { return c.UpdatePlan(ctx, req) })
		}
		return a.follow(cmd, flags, change{
			services: args,
			done: func(e api.Event) string {
				return "updated to " + req.Image + ", " + summary(e)
			},
			run: func(ctx context.Context, c *api.Client, see func(api.Event) error) error {
				return c.Update(ctx, req, see)
			},
		})
	}
	return cmd
}
