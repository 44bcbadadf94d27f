package run

import (
	"log/slog"

	"github.com/spf13/cobra"

	"github.com/crawlbox/crawlbox/appliance/cli/command"
	"github.com/crawlbox/crawlbox/appliance/cli/tui"
	"github.com/crawlbox/crawlbox/appliance/demo"
)

func DemoCmd(a *command.App) *cobra.Command {
	return &cobra.Command{
		Use:     "demo",
		Short:   "Show crawlbox on this machine: three replicas drain a queue, and nothing stays",
		Example: "  crawlbox demo",
		Args:    command.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			log := slog.New(slog.DiscardHandler)
			if cmd.Flags().Changed("log-level") {
				log = a.Log
			}
			return demo.Run(cmd.Context(), demo.Options{
				Out: a.Env.Stdout, Terminal: tui.IsTerminal(a.Env.Stdout), Version: a.Version, Log: log,
			})
		},
	}
}

// DemoSpiderCmd returns crawlbox with the hidden command that is the spider of the demo.
func DemoSpiderCmd(a *command.App) *cobra.Command {
	return &cobra.Command{
		Use:    demo.SpiderCommand,
		Short:  "The spider of the demo",
		Hidden: true,
		Args:   command.NoArgs,
		RunE:   func(cmd *cobra.Command, _ []string) error { return demo.Spider(cmd.Context(), a.Env.Stdout) },
	}
}
