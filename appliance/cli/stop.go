package cli

import (
	"github.com/spf13/cobra"

	"github.com/crawlbox/crawlbox/appliance/api"
)

func stopCmd(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "stop SERVICE...",
		Short: "Stop services: scale them to 0",
		Long: `Stop services: scale them to 0. Their programs get SIGTERM and as long to end as
stop_grace_period says, 10 s by default. With --now they are killed.`,
		Args:              atLeast(1, "a service"),
		ValidArgsFunction: a.complete(serviceNames),
	}
	flags := addChangeFlags(cmd).planFlag(cmd)
	now := cmd.Flags().Bool("now", false, "kill what runs, without its grace time")
	cmd.RunE = func(cmd *cobra.Command, services []string) error {
		replicas := map[string]int{}
		for _, service := range services {
			if service == "" {
				return usagef(cmd, "a name is empty")
			}
			replicas[service] = 0
		}
		return a.scale(cmd, flags, api.ScaleRequest{Replicas: replicas, Now: *now})
	}
	return cmd
}
