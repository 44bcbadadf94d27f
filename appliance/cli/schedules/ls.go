package schedules

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/crawlbox/crawlbox/appliance/api"
	"github.com/crawlbox/crawlbox/appliance/base/words"
	"github.com/crawlbox/crawlbox/appliance/cli/command"
	"github.com/crawlbox/crawlbox/appliance/cli/tui"
	"github.com/crawlbox/crawlbox/appliance/schedule"
)

// eventsShown is how many of what a schedule tells are shown, the newest.
const eventsShown = 3

func lsCmd(a *command.App) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "ls",
		Short: "List the schedules, and the times for which no run began",
		Long: `List the schedules. NEXT is when the next run begins, by the clocks of the
schedule's zone. Below a schedule stand the last times for which no run was
begun: skipped, as others ran; missed, as nobody was there to begin it; failed,
as it was tried for 10 minutes and could not be begun.

crawlbox runs NAME lists the runs of a schedule.`,
		Example: "  crawlbox schedule ls",
		Args:    command.NoArgs,
	}
	return command.WatchesAll(a, cmd, (*api.Client).Schedules, render)
}

func render(s tui.Screen, list []api.Schedule) {
	t := tui.Table{Columns: []tui.Column{
		{Head: "NAME", Min: 12}, {Head: "SERVICE", Min: 8}, {Head: "CRON"}, {Head: "ZONE"}, {Head: "STATE"},
		{Head: "NEXT"},
	}}
	for _, e := range list {
		next := "-"
		if len(e.Coming) > 0 {
			next = moment(s, e.Coming[0].Begin)
		}
		t.Add(tui.Text(e.Name), tui.Text(e.Service), tui.Text(e.Cron), tui.Text(cmp.Or(e.Zone, "UTC")), state(e),
			tui.Text(next))
		for _, note := range notes(e) {
			t.Note(note)
		}
		events := e.Position.Events
		for _, event := range events[max(0, len(events)-eventsShown):] {
			t.Marked(tui.Remark, eventText(s, event))
		}
	}
	t.Write(s)
}

func state(e api.Schedule) tui.Cell {
	switch {
	case e.Paused != nil:
		return tui.Styled("paused", tui.Dim)
	case e.Bad != "" || !e.Position.Failing.IsZero():
		return tui.Styled("failing", tui.Red)
	case e.Behind:
		return tui.Styled("ahead", tui.Yellow)
	case len(e.Live) > 0:
		return tui.Styled("running", tui.Green)
	}
	return tui.Styled("waiting", tui.Green)
}

// notes say what keeps a schedule from beginning runs.
func notes(e api.Schedule) (list []string) {
	if e.Bad != "" {
		list = append(list, e.Bad)
	}
	if !e.Position.Failing.IsZero() {
		list = append(list, e.Position.Why)
	}
	if e.Behind && e.Paused == nil {
		list = append(list, "a manager's clock was ahead: all is dealt with up to "+
			e.Position.Through.Format(time.RFC3339)+"; `crawlbox schedule resume "+e.Name+"` begins at the next time")
	}
	if n := len(e.Position.Waiting); n > 0 {
		list = append(list, words.Count(n, "planned time")+" waiting since "+
			e.Position.Waiting[0].Planned.Format(time.RFC3339))
	}
	return list
}

func eventText(s tui.Screen, e schedule.Event) string {
	of := e.Last.Format(time.RFC3339)
	if e.Count > 1 {
		of = fmt.Sprintf("%d times from %s to %s", e.Count, e.First.Format(time.RFC3339), of)
	}
	return fmt.Sprintf("%s %s, %s ago: %s", e.Kind, of, s.Since(e.At), e.Why)
}

// planned is one line of what comes next.
type planned struct {
	Schedule string    `json:"schedule"`
	Service  string    `json:"service"`
	Planned  time.Time `json:"planned"`
	Begin    time.Time `json:"begin"`
}

// timesShown is how many planned times are shown.
const timesShown = 10

func nextCmd(a *command.App) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "next [SCHEDULE]",
		Short: "Show the next ten planned times of a schedule, or of all",
		Long: `Show the next ten planned times of a schedule, or of all of them, by the clocks
of the schedule's zone. Where a run begins later than planned, as --jitter says,
that is shown too.`,
		Example:           "  crawlbox schedule next\n  crawlbox schedule next nightly",
		Args:              command.AtMostOne("one schedule"),
		ValidArgsFunction: a.CompleteOne(command.ScheduleNames),
	}
	ask := func(ctx context.Context, c *api.Client, args []string) ([]planned, error) {
		all, err := c.Schedules(ctx)
		if err != nil {
			return nil, err
		}
		list, known := []planned{}, len(args) == 0
		for _, e := range all {
			if len(args) > 0 && e.Name != args[0] {
				continue
			}
			known = true
			if e.Bad != "" && len(args) > 0 {
				return nil, fmt.Errorf("schedule %s: %s", e.Name, e.Bad)
			}
			for _, c := range e.Coming {
				list = append(list, planned{e.Name, e.Service, c.Planned, c.Begin})
			}
			if e.Paused != nil && len(args) > 0 {
				const text = "crawlbox: %s is paused; `crawlbox schedule resume %[1]s` ends that"
				if err := a.Tell(text, e.Name); err != nil {
					return nil, err
				}
			}
		}
		if !known {
			return nil, fmt.Errorf("unknown schedule %q; `crawlbox schedule ls` lists them", args[0])
		}
		slices.SortStableFunc(list, func(a, b planned) int { return a.Begin.Compare(b.Begin) })
		return list[:min(len(list), timesShown)], nil
	}
	return command.Reads(a, cmd, ask, renderNext)
}

func renderNext(s tui.Screen, list []planned) {
	t := tui.Table{Columns: []tui.Column{{Head: "SCHEDULE", Min: 12}, {Head: "SERVICE", Min: 8}, {Head: "PLANNED"}}}
	for _, p := range list {
		when := moment(s, p.Planned)
		if late := p.Begin.Sub(p.Planned); late > 0 {
			when += ", begins " + late.String() + " later"
		}
		t.Add(tui.Text(p.Schedule), tui.Text(p.Service), tui.Text(when))
	}
	t.Write(s)
}
