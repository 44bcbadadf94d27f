package service

import (
	"context"
	"fmt"
	"slices"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/crawlbox/crawlbox/appliance/api"
	"github.com/crawlbox/crawlbox/appliance/base/scalerule"
	"github.com/crawlbox/crawlbox/appliance/cli/command"
	"github.com/crawlbox/crawlbox/appliance/cli/tui"
	"github.com/crawlbox/crawlbox/appliance/fleet"
)

func AutoscaleCmd(a *command.App) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "autoscale [SERVICE]",
		Short: "Have the replicas of a service follow a queue, or show which do",
		Long: `Have the number of replicas of a service follow the length of a queue, or show
what services do that have it so, and why.

It goes up at once, doubling within 30 s at the most, and from 0 at the first
item; down when fewer have been enough for 5 minutes, and only as far as what
ends holds no item. A person who scales the service pauses that; crawlbox scale
SERVICE=auto has it go on. crawlbox history SERVICE lists what was done and why.`,
		Example: "  crawlbox autoscale spider --queue urls --per-replica 200 --min 0 --max 50\n" +
			"  crawlbox autoscale spider --queue urls --empty-in 2h --max 50\n" +
			"  crawlbox autoscale\n  crawlbox autoscale spider --off",
		Args:              command.AtMostOne("one service"),
		ValidArgsFunction: a.CompleteOne(command.ServiceNames),
	}
	var rule scalerule.Rule
	flags := cmd.Flags()
	flags.StringVar(&rule.Queue, "queue", "", "the `key` that the service works off")
	flags.IntVar(&rule.PerReplica, "per-replica", 0, "`items` of the queue for each replica")
	flags.DurationVar(&rule.EmptyIn, "empty-in", 0, "as many replicas as empty the queue in this `time`")
	flags.IntVar(&rule.Min, "min", 0, "the least `number` of replicas")
	flags.IntVar(&rule.Max, "max", 0, "the largest `number` of replicas")
	off := flags.Bool("off", false, "no longer follow a queue; the replicas stay")
	_ = cmd.RegisterFlagCompletionFunc("queue", a.Complete(command.QueueKeys))
	ruled := func() bool {
		return slices.ContainsFunc([]string{"queue", "per-replica", "empty-in", "min", "max"}, flags.Changed)
	}
	return command.Reads(a, cmd, func(ctx context.Context, c *api.Client, args []string) ([]fleet.Scaling, error) {
		req := api.AutoscaleRequest{}
		if len(args) == 1 {
			req.Service = args[0]
		}
		switch {
		case *off && ruled():
			return nil, command.Usagef(cmd, "--off excludes the flags of a rule")
		case (*off || ruled()) && req.Service == "":
			return nil, command.Usagef(cmd, "name the service")
		case ruled():
			if err := checkRule(cmd, rule); err != nil {
				return nil, err
			}
			req.Rule = &rule
		}
		if *off || req.Rule != nil {
			if err := c.Autoscale(ctx, req); err != nil {
				return nil, err
			}
		}
		if *off {
			req.Service = "" // which others do
		}
		return c.Autoscaled(ctx, req.Service)
	}, renderScalings)
}

// ruleFlags are the flags of the parts of a rule.
var ruleFlags = map[string]string{
	scalerule.Queue:      "--queue",
	scalerule.PerReplica: "--per-replica",
	scalerule.EmptyIn:    "--empty-in",
	scalerule.Min:        "--min",
	scalerule.Max:        "--max",
}

func checkRule(cmd *cobra.Command, rule scalerule.Rule) error {
	flags := cmd.Flags()
	switch {
	case flags.Changed("per-replica") && flags.Changed("empty-in"):
		return command.Usagef(cmd, "--per-replica excludes --empty-in: give one of them")
	case flags.Changed("per-replica") && rule.PerReplica == 0:
		return command.Usagef(cmd, "--per-replica is 0; it must be 1 or more")
	case flags.Changed("empty-in") && rule.EmptyIn == 0:
		return command.Usagef(cmd, "--empty-in is 0; it must be %s or more", scalerule.LeastEmptyIn)
	case !flags.Changed("per-replica") && !flags.Changed("empty-in") && rule.Queue != "":
		return command.Usagef(cmd, "give --per-replica, such as 200, or --empty-in, such as 2h")
	case rule.Queue == "":
		return command.Usagef(cmd, "name the key of the queue with --queue")
	}
	if part, reason := rule.Check(); reason != "" {
		return command.Usagef(cmd, "%s %s", ruleFlags[part], reason)
	}
	return nil
}

func renderScalings(s tui.Screen, list []fleet.Scaling) {
	if len(list) == 0 {
		fmt.Fprintln(s.W, s.Fit("No service follows a queue."))
		return
	}
	t := tui.Table{Columns: []tui.Column{
		{Head: "SERVICE", Min: 12}, {Head: "QUEUE", Min: 12}, {Head: "RULE", Min: 12}, {Head: "REPLICAS"},
		{Head: "WANTED"}, {Head: "WAITING"}, {Head: "IN FLIGHT"},
	}}
	for _, is := range list {
		rule := fmt.Sprintf("%d a replica", is.PerReplica)
		if is.EmptyIn > 0 {
			rule = "empty in " + scalerule.Text(is.EmptyIn)
		}
		inFlight, wanted := "-", "-"
		if is.Leased {
			inFlight = strconv.FormatInt(is.InFlight, 10)
		}
		if is.Wanted >= 0 {
			wanted = strconv.Itoa(is.Wanted)
		}
		t.Add(tui.Text(is.Service), tui.Text(is.Queue), tui.Text(rule),
			tui.Text(fmt.Sprintf("%d of %d-%d", is.Replicas, is.Min, is.Max)), tui.Text(wanted),
			tui.Text(strconv.FormatInt(is.Waiting, 10)), tui.Text(inFlight))
		t.Marked(tui.Remark, is.Now)
	}
	t.Write(s)
}
