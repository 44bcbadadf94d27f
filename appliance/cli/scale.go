package cli

import (
	"context"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/crawlbox/crawlbox/appliance/api"
)

func scaleCmd(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "scale SERVICE=N...",
		Short: "Change how many replicas services have",
		Long: `Change how many replicas services have, and follow until that many run.

Ctrl-C ends the following, not the change.`,
		Example:           "  crawlbox scale spider=50 robot=3",
		Args:              atLeast(1, "a service and a number, such as spider=50"),
		ValidArgsFunction: a.completeScale,
	}
	flags := addChangeFlags(cmd).planFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		replicas, err := parseReplicas(cmd, args)
		if err != nil {
			return err
		}
		return a.scale(cmd, flags, api.ScaleRequest{Replicas: replicas})
	}
	return cmd
}

func (a *app) scale(cmd *cobra.Command, flags changeFlags, req api.ScaleRequest) error {
	if *flags.dryRun {
		return a.showPlan(cmd, *flags.json, func(ctx context.Context, c *api.Client) (api.Plan, error) {
			return c.ScalePlan(ctx, req)
		})
	}
	return a.follow(cmd, flags, change{
		services: slices.Sorted(maps.Keys(req.Replicas)),
		done:     summary,
		run: func(ctx context.Context, c *api.Client, see func(api.Event) error) error {
			return c.Scale(ctx, req, see)
		},
	})
}

func parseReplicas(cmd *cobra.Command, args []string) (map[string]int, error) {
	replicas := map[string]int{}
	for _, arg := range args {
		service, text, ok := strings.Cut(arg, "=")
		if !ok || service == "" {
			return nil, usagef(cmd, "%q is not a service and a number, such as spider=50", arg)
		}
		n, err := strconv.ParseUint(text, 10, 31)
		if err != nil {
			return nil, usagef(cmd, "%q: the number of replicas is a whole number, 0 or more", arg)
		}
		if _, twice := replicas[service]; twice {
			return nil, usagef(cmd, "service %q is there twice", service)
		}
		replicas[service] = int(n)
	}
	return replicas, nil
}
