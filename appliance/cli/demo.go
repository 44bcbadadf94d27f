package cli

import (
	"log/slog"

	"github.com/spf13/cobra"

	"github.com/crawlbox/crawlbox/appliance/demo"
)

func demoCmd(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "demo",
		Short: "Show crawlbox on this machine: three replicas drain a queue, and nothing stays",
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			log := slog.New(slog.DiscardHandler)
			if cmd.Flags().Changed("log-level") {
				log = a.log
			}
			return demo.Run(cmd.Context(), demo.Options{
				Out: a.env.Stdout, Terminal: isTerminal(a.env.Stdout), Version: Version(), Log: log,
			})
		},
	}
}

func demoSpiderCmd(a *app) *cobra.Command {
	return &cobra.Command{
		Use:    demo.SpiderCommand,
		Short:  "The spider of the demo",
		Hidden: true,
		Args:   noArgs,
		RunE:   func(cmd *cobra.Command, _ []string) error { return demo.Spider(cmd.Context(), a.env.Stdout) },
	}
}
