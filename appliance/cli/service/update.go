package service

import (
	"github.com/distribution/reference"
	"github.com/spf13/cobra"

	"github.com/crawlbox/crawlbox/appliance/api"
	"github.com/crawlbox/crawlbox/appliance/cli/change"
	"github.com/crawlbox/crawlbox/appliance/cli/command"
	"github.com/crawlbox/crawlbox/appliance/cli/tui"
	"github.com/crawlbox/crawlbox/appliance/deploy"
)

func UpdateCmd(a *command.App) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "update SERVICE --image IMAGE",
		Short: "Bring a service to another image",
		Long: `Bring a service to another image, a share of its replicas at a time, and follow
until all run it. With --stop-first-all no two versions run at the same time.`,
		Example:           "  crawlbox update spider --image localhost:8003/spider:0.02",
		Args:              command.ExactlyOne("one service"),
		ValidArgsFunction: a.CompleteOne(command.ServiceNames),
	}
	flags := change.AddFlags(cmd).PlanFlag(cmd)
	var req api.UpdateRequest
	cmd.Flags().StringVar(&req.Image, "image", "", "the `image` to run")
	cmd.Flags().BoolVar(&req.StopFirstAll, "stop-first-all", false,
		"stop all replicas before the first one starts anew")
	_ = cmd.RegisterFlagCompletionFunc("image", a.Complete(command.PullNames))
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if req.Image == "" {
			return command.Usagef(cmd, "update needs --image")
		}
		if _, err := reference.ParseNormalizedNamed(req.Image); err != nil {
			return command.Usagef(cmd, "--image %q is not the name of an image, such as localhost:8003/spider:0.02",
				req.Image)
		}
		req.Service = args[0]
		return change.Follow(a, cmd, flags, change.Change{
			Services: args,
			Title:    "update to " + req.Image,
			Done: func(e deploy.Progress) string {
				return "updated to " + req.Image + ", " + tui.Summary(e)
			},
			Run:  change.Asks((*api.Client).Update, req),
			Plan: change.Plans((*api.Client).UpdatePlan, req),
		})
	}
	return cmd
}
