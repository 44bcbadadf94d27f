package cli

import "github.com/spf13/cobra"

func stopCmd(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:               "stop SERVICE...",
		Short:             "Stop services: scale them to 0",
		Args:              atLeast(1, "a service"),
		ValidArgsFunction: a.complete(serviceNames),
	}
	flags := addChangeFlags(cmd).planFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, services []string) error {
		replicas := map[string]int{}
		for _, service := range services {
			if service == "" {
				return usagef(cmd, "a name is empty")
			}
			replicas[service] = 0
		}
		return a.scale(cmd, flags, replicas)
	}
	return cmd
}
