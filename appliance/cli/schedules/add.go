// Package schedules has the commands of schedules: to make one, to see when its runs come and why some did not, to
// pause it. Runs begin without anybody who asks: on the manager that leads.
package schedules

import (
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/crawlbox/crawlbox/appliance/api"
	"github.com/crawlbox/crawlbox/appliance/base/bound"
	"github.com/crawlbox/crawlbox/appliance/cli/command"
	"github.com/crawlbox/crawlbox/appliance/cli/runs"
	"github.com/crawlbox/crawlbox/appliance/cli/tui"
)

func Cmd(a *command.App) *cobra.Command {
	return command.Group(&cobra.Command{
		Use:        "schedule",
		Short:      "Begin runs at planned times",
		SuggestFor: []string{"cron", "schedules", "timer"},
	}, addCmd(a), lsCmd(a), nextCmd(a), pauseCmd(a), resumeCmd(a), rmCmd(a))
}

func addCmd(a *command.App) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "add NAME SERVICE --cron EXPRESSION [-- COMMAND...]",
		Short: "Have a service run at planned times",
		Long: `Have runs of a service begin at planned times, each exactly once, whichever
manager leads. A run is what crawlbox run SERVICE would begin at that time.

EXPRESSION is minute, hour, day, month and weekday, as in "0 3 * * *"; or @daily
and the like; or "@every 15m". It is meant in the time zone --tz. Where clocks
change: one that names hours runs once for each time on the clock, and times
that are left out run once, at the change; one of each hour follows the time
that passes.

Where as many of its runs as --at-most allows have not ended, --overlap says
what becomes of the next: skip, the default; wait; or replace, which stops the
oldest. Where nobody could begin runs for more than 2 minutes, --missed says
what becomes of the times that passed: run-once, for the last of them, which is
the default, or skip.`,
		Example: `  crawlbox schedule add nightly spider --cron "0 3 * * *" --tz Europe/Paris
  crawlbox schedule add often spider --cron "@every 15m" -a site=shop
  crawlbox schedule add weekly spider --cron "30 2 * * sun" -- scrapy crawl all`,
		Args:              nameAndService,
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	req := api.ScheduleRequest{}
	var args []string
	var timeout, jitter command.Span
	f := cmd.Flags()
	f.StringVar(&req.Cron, "cron", "", "`expression` of the planned times")
	f.StringVar(&req.Zone, "tz", "", "time `zone`, such as Europe/Paris (default UTC)")
	f.Var(&jitter, "jitter", "begin up to this `time` later than planned")
	f.StringVar(&req.Overlap, "overlap", "", "`rule` for overlaps: skip, wait or replace")
	f.StringVar(&req.Missed, "missed", "", "`rule` for times that passed: run-once or skip")
	f.IntVar(&req.AtMost, "at-most", 1, "`number` of its runs at a time")
	f.StringArrayVarP(&args, "arg", "a", nil, "`argument` key=value of the spider")
	f.IntVar(&req.Replicas, "replicas", 1, "`number` of tasks of a run at a time")
	f.IntVar(&req.Retries, "retries", runs.DefaultRetries, "`times` that a task begins again which fails")
	f.Var(&timeout, "timeout", "`time` after which a run is ended: 6h, 1d")
	f.BoolVar(&req.Replace, "replace", false, "change the schedule of this name")
	_ = cmd.MarkFlagRequired("cron")
	asJSON := command.JSONFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, words []string) (err error) {
		req.Name, req.Service = words[0], words[1]
		if n := cmd.ArgsLenAtDash(); n >= 0 {
			req.Command = words[n:]
		}
		req.Timeout, req.Jitter = time.Duration(timeout), time.Duration(jitter)
		if req.Args, err = runs.Arguments(args); err != nil {
			return command.Usagef(cmd, "%w", err)
		}
		if err := check(cmd, req); err != nil {
			return err
		}
		c, err := a.Client()
		if err != nil {
			return err
		}
		made, err := c.AddSchedule(cmd.Context(), req)
		switch {
		case err != nil:
			return err
		case *asJSON:
			return a.PrintJSON(made)
		case len(made.Coming) == 0:
			return a.Say("schedule %s is there, and paused; `crawlbox schedule resume %[1]s` has it begin runs",
				req.Name)
		}
		return a.Say("schedule %s is there; its next run begins %s", req.Name, moment(a.Stdout(), made.Coming[0].Begin))
	}
	return cmd
}

// nameAndService wants two words before -- and, where that is there, some behind it.
func nameAndService(cmd *cobra.Command, words []string) error {
	before := words
	if n := cmd.ArgsLenAtDash(); n >= 0 {
		if before = words[:n]; len(words) == n {
			return command.Usagef(cmd, "there is no command behind --")
		}
	}
	return command.Between(2, 2, "a name and a service")(cmd, before)
}

// check refuses what is sure to be wrong. Time zones are the managers'.
func check(cmd *cobra.Command, req api.ScheduleRequest) error {
	switch {
	case req.AtMost < 1:
		return command.Usagef(cmd, "--at-most is %d; it is 1 or more", req.AtMost)
	case req.Replicas < 1 || req.Replicas > bound.MaxReplicas:
		return command.Usagef(cmd, "--replicas is %d; it is a number from 1 to %d", req.Replicas, bound.MaxReplicas)
	}
	if strings.HasPrefix(req.Zone, "/") || strings.HasPrefix(req.Zone, ".") || req.Zone == "Local" {
		return command.Usagef(cmd, "--tz is %q; name a zone, such as Europe/Paris", req.Zone)
	}
	req.Zone = ""
	if err := req.Check(); err != nil {
		return command.Usagef(cmd, "%s", flagged(err.Error()))
	}
	return nil
}

// flagged names the flag where a text begins with the name of its field.
func flagged(text string) string {
	field, rest, _ := strings.Cut(text, " ")
	switch flag := strings.ReplaceAll(field, "_", "-"); flag {
	case "cron", "jitter", "overlap", "missed", "at-most", "retries", "timeout":
		return "--" + flag + " " + rest
	}
	return text
}

// moment says when something is, by the clocks of its zone: Wed 3 Jun 2026 03:00 +02:00 (in 16h).
func moment(s tui.Screen, at time.Time) string {
	return at.Format("Mon 2 Jan 2006 15:04:05 -07:00") + " (" + s.Until(at) + ")"
}

func pauseCmd(a *command.App) *cobra.Command {
	return a.Several(&cobra.Command{
		Use:     "pause SCHEDULE...",
		Short:   "Have schedules begin no more runs; those that run go on",
		Example: "  crawlbox schedule pause nightly",
	}, "a schedule", command.ScheduleNames, (*api.Client).PauseSchedule, "%s is paused")
}

func resumeCmd(a *command.App) *cobra.Command {
	return a.Several(&cobra.Command{
		Use:     "resume SCHEDULE...",
		Short:   "Have schedules begin runs from the next planned time on",
		Example: "  crawlbox schedule resume nightly",
	}, "a schedule", command.ScheduleNames, (*api.Client).ResumeSchedule, "%s goes on with its next planned time")
}

func rmCmd(a *command.App) *cobra.Command {
	return a.Several(&cobra.Command{
		Use:     "rm SCHEDULE...",
		Short:   "Remove schedules; their runs stay",
		Example: "  crawlbox schedule rm nightly",
	}, "a schedule", command.ScheduleNames, (*api.Client).RemoveSchedule, "%s is removed")
}
