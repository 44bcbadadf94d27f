package service

import (
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/crawlbox/crawlbox/appliance/api"
	"github.com/crawlbox/crawlbox/appliance/cli/change"
	"github.com/crawlbox/crawlbox/appliance/cli/command"
	"github.com/crawlbox/crawlbox/appliance/cli/tui"
	"github.com/crawlbox/crawlbox/appliance/deploy"
	"github.com/crawlbox/crawlbox/appliance/deploy/history"
)

func ScaleCmd(a *command.App) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "scale SERVICE=N...",
		Short: "Change how many replicas services have",
		Long: `Change how many replicas services have, and follow until that many run. Of a
service whose replicas have all finished, that many run again. A service that
follows a queue, see crawlbox autoscale, does so no longer until SERVICE=auto.

Ctrl-C ends the following, not the change.`,
		Example:           "  crawlbox scale spider=50 robot=3\n  crawlbox scale spider=auto",
		Args:              command.AtLeast(1, "a service and a number, such as spider=50"),
		ValidArgsFunction: completeScale(a),
	}
	flags := change.AddFlags(cmd).PlanFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		req, err := parseReplicas(cmd, args)
		if err != nil {
			return err
		}
		return scale(a, cmd, flags, req)
	}
	return cmd
}

func scale(a *command.App, cmd *cobra.Command, flags change.Flags, req api.ScaleRequest) error {
	return change.Follow(a, cmd, flags, change.Change{
		Services: slices.Concat(slices.Sorted(maps.Keys(req.Replicas)), req.Auto),
		Run:      change.Asks((*api.Client).Scale, req),
		Plan:     change.Plans((*api.Client).ScalePlan, req),
		Done:     scaled,
	})
}

// scaled is the last line of a service.
func scaled(e deploy.Progress) string {
	if e.Stage == history.StageUnchanged {
		return "follows its queue, " + tui.TaskCounts(e)
	}
	return tui.Summary(e)
}

// auto stands for a number that follows from the queue.
const auto = "auto"

func parseReplicas(cmd *cobra.Command, args []string) (req api.ScaleRequest, err error) {
	req.Replicas = map[string]int{}
	for _, arg := range args {
		service, text, ok := strings.Cut(arg, "=")
		if !ok || service == "" {
			return req, command.Usagef(cmd, "%q is not a service and a number, such as spider=50", arg)
		}
		if _, twice := req.Replicas[service]; twice || slices.Contains(req.Auto, service) {
			return req, command.Usagef(cmd, "service %q specified more than once", service)
		}
		if text == auto {
			req.Auto = append(req.Auto, service)
			continue
		}
		n, err := strconv.ParseUint(text, 10, 31)
		if err != nil {
			return req, command.Usagef(cmd, "%q: the number of replicas is a whole number, 0 or more, or auto", arg)
		}
		req.Replicas[service] = int(n)
	}
	return req, nil
}

// completeScale completes SERVICE to SERVICE= and leaves the number to the user.
func completeScale(a *command.App) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, text string) ([]string, cobra.ShellCompDirective) {
		if strings.Contains(text, "=") {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		var found []string
		for _, name := range a.Ask(cmd, command.ServiceNames) {
			given := slices.ContainsFunc(args, func(arg string) bool { return strings.HasPrefix(arg, name+"=") })
			if !given {
				found = append(found, name+"=")
			}
		}
		return found, cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveNoSpace
	}
}

func StartCmd(a *command.App) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "start SERVICE...",
		Short: "Run services again that were stopped or have finished",
		Long: `Run services again that were stopped, or whose replicas have all ended with exit
code 0, with as many replicas as they had, and follow until these run.

Ctrl-C ends the following, not the change.`,
		Example:           "  crawlbox queue push urls - < more.txt && crawlbox start spider",
		Args:              command.AtLeast(1, "a service"),
		ValidArgsFunction: a.Complete(command.ServiceNames),
	}
	flags := change.AddFlags(cmd).PlanFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, services []string) error {
		if slices.Contains(services, "") {
			return command.Usagef(cmd, "a name is empty")
		}
		req := api.StartRequest{Services: slices.Compact(slices.Sorted(slices.Values(services)))}
		return change.Follow(a, cmd, flags, change.Change{
			Services: req.Services,
			Run:      change.Asks((*api.Client).Start, req),
			Plan:     change.Plans((*api.Client).StartPlan, req),
			Done:     started,
		})
	}
	return cmd
}

func started(e deploy.Progress) string {
	if e.Stage == history.StageUnchanged {
		return "unchanged, " + tui.TaskCounts(e)
	}
	return tui.Summary(e)
}

func StopCmd(a *command.App) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "stop SERVICE...",
		Short: "Stop services: scale them to 0",
		Long: `Stop services: scale them to 0. Their programs get SIGTERM and as long to end as
stop_grace_period says, 10 s by default. With --now they are killed. crawlbox
start runs them again, with as many replicas.`,
		Example:           "  crawlbox stop spider\n  crawlbox stop spider robot --now",
		Args:              command.AtLeast(1, "a service"),
		ValidArgsFunction: a.Complete(command.ServiceNames),
	}
	flags := change.AddFlags(cmd).PlanFlag(cmd)
	now := cmd.Flags().Bool("now", false, "kill what runs, without its grace time")
	cmd.RunE = func(cmd *cobra.Command, services []string) error {
		replicas := map[string]int{}
		for _, service := range services {
			if service == "" {
				return command.Usagef(cmd, "a name is empty")
			}
			replicas[service] = 0
		}
		return scale(a, cmd, flags, api.ScaleRequest{Replicas: replicas, Now: *now})
	}
	return cmd
}

func RestartCmd(a *command.App) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "restart SERVICE",
		Short: "Replace the replicas of a service by new ones of the same version",
		Long: `Replace the replicas of a service by new ones of the same version, a quarter of
them at a time, and follow until all run. Replicas that have finished run again.`,
		Example:           "  crawlbox restart spider\n  crawlbox restart spider --dry-run",
		Args:              command.ExactlyOne("one service"),
		ValidArgsFunction: a.CompleteOne(command.ServiceNames),
	}
	flags := change.FollowFlags(cmd).PlanFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		ch := change.OfDeploy(args[0], "restarted", change.Asks((*api.Client).Restart, args[0]))
		ch.Plan = change.Plans((*api.Client).RestartPlan, args[0])
		return change.Follow(a, cmd, flags, ch)
	}
	return cmd
}
