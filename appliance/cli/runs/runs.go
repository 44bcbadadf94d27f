package runs

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/crawlbox/crawlbox/appliance/api"
	"github.com/crawlbox/crawlbox/appliance/base/words"
	"github.com/crawlbox/crawlbox/appliance/cli/command"
	"github.com/crawlbox/crawlbox/appliance/cli/service"
	"github.com/crawlbox/crawlbox/appliance/cli/tui"
	"github.com/crawlbox/crawlbox/appliance/fleet"
	"github.com/crawlbox/crawlbox/appliance/runs"
)

func RunsCmd(a *command.App) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "runs [SERVICE]",
		Short: "List the runs, and what became of them",
		Long: `List the runs, the newest first: those that run, and those of which a record is
kept, the last 1000 of each service.

STATE is waiting, running or stopping; done, when all tasks ended with exit code
0; failed, when one did not and has begun again as often as it may; stopped, by
a person; timed out. ITEMS, PAGES and ERRORS are what Scrapy's own statistics
say in its log, or a program in lines such as

  crawlbox: items=10 pages=200 errors=1

of which the last holds.`,
		Example:           "  crawlbox runs\n  crawlbox runs spider --failed --since 24h",
		Args:              command.AtMostOne("one service"),
		ValidArgsFunction: a.CompleteOne(command.ServiceNames),
	}
	f := cmd.Flags()
	var q api.RunQuery
	f.BoolVar(&q.Failed, "failed", false, "only those that ended otherwise than done")
	f.IntVarP(&q.Most, "number", "n", 100, "`number` of runs at most")
	since := f.String("since", "", "only those since this `time`, or 24h (default all)")
	ask := func(ctx context.Context, c *api.Client, args []string) (_ []runs.Record, err error) {
		if q.Most < 1 {
			return nil, command.Usagef(cmd, "--number is %d; it is 1 or more", q.Most)
		}
		if q.Since, err = service.ParseSince(cmd, *since, a.Env.Now()); err != nil {
			return nil, err
		}
		q.Of = strings.Join(args, "")
		return c.Runs(ctx, q)
	}
	return command.Watches(a, cmd, ask, func(s tui.Screen, list []runs.Record) {
		if renderRuns(s, list); len(list) == 0 && q.Of != "" {
			_ = s.Say("no run of " + q.Of + " is known; `crawlbox runs` lists all")
		}
	})
}

func renderRuns(s tui.Screen, list []runs.Record) {
	t := tui.Table{Columns: []tui.Column{
		{Head: "RUN", Min: 16}, {Head: "STATE"}, {Head: "BEGUN"}, {Head: "TOOK"}, {Head: "ITEMS"}, {Head: "PAGES"},
		{Head: "ERRORS"}, {Head: "BY", Min: 6},
	}}
	for _, r := range list {
		t.Add(tui.Text(r.ID), stateCell(r.State), tui.Text(s.Since(r.At)+" ago"), tui.Text(took(s, r)),
			tui.Text(count(r.Items)), tui.Text(count(r.Pages)), tui.Text(count(r.Errors)), tui.Text(tui.OrDash(r.By)))
		switch {
		case r.Why == "":
		case r.State == runs.Failed || r.State == runs.TimedOut:
			t.Note(r.Why)
		default:
			t.Marked(tui.Remark, r.Why)
		}
	}
	t.Write(s)
}

func stateCell(state string) tui.Cell {
	switch state {
	case runs.Done:
		return tui.Styled(state, tui.Green)
	case runs.Failed, runs.TimedOut:
		return tui.Styled(state, tui.Red)
	}
	return tui.Styled(state, tui.Yellow)
}

func took(s tui.Screen, r runs.Record) string {
	switch {
	case r.Began.IsZero():
		return "-"
	case r.Ended.IsZero():
		return s.Since(r.Began)
	}
	return tui.Took(r.Took())
}

func count(n *int64) string {
	if n == nil {
		return "-"
	}
	return strconv.FormatInt(*n, 10)
}

// sentence says what became of a run.
func sentence(r runs.Record) string {
	text := "run " + r.ID + " " + verb(r.State)
	if !r.Began.IsZero() {
		text += " after " + tui.Took(r.Took())
	}
	if did := didText(r.Counts); did != "" {
		text += ", " + did
	}
	if r.Why != "" {
		text += ": " + r.Why
	}
	return text
}

func verb(state string) string {
	switch state {
	case runs.Done:
		return "is done"
	case runs.Stopped:
		return "was stopped"
	}
	return state
}

func didText(c runs.Counts) string {
	var parts []string
	for _, part := range []struct {
		what string
		n    *int64
	}{{"item", c.Items}, {"page", c.Pages}, {"error", c.Errors}} {
		if part.n != nil {
			parts = append(parts, words.Count(int(*part.n), part.what))
		}
	}
	return strings.Join(parts, ", ")
}

func showCmd(a *command.App) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "show RUN",
		Short: "Show what is known of a run",
		Long: `Show what is known of a run: what was asked for, what became of its tasks, and
how the log of one of them begins and ends: of the last that failed, where the
run did.

MEMORY and CPUS are the most that each task took of its node: memory without
files that the kernel keeps, and the highest average of processors in use over
10 seconds; - where its node does not know, or is lost.

It is compared with the runs of its service, or of its schedule, that were asked
for before it and are done: with the median of the last 7.`,
		Example:           "  crawlbox run show spider-20260101-030000-x7q",
		Args:              command.ExactlyOne("one run"),
		ValidArgsFunction: a.CompleteOne(command.RunNames),
	}
	return command.Reads(a, cmd, func(ctx context.Context, c *api.Client, args []string) (runs.Record, error) {
		return c.Run(ctx, args[0])
	}, renderRun)
}

func renderRun(s tui.Screen, r runs.Record) {
	for _, line := range facts(r) {
		if line[1] != "" {
			fmt.Fprintf(s.W, "%-10s %s\n", line[0]+":", line[1])
		}
	}
	if r.Usual != nil {
		fmt.Fprintln(s.W)
		renderUsual(s, r)
	}
	if len(r.Tasks) > 0 {
		fmt.Fprintln(s.W)
		renderTasks(s, r)
	}
	if r.Log != nil {
		fmt.Fprintln(s.W)
		renderLog(s, *r.Log)
	}
}

// renderUsual compares a run with what is usual.
func renderUsual(s tui.Screen, r runs.Record) {
	t := tui.Table{Columns: []tui.Column{
		{Head: "COMPARED"}, {Head: "THIS RUN"}, {Head: fmt.Sprint("MEDIAN OF ", r.Usual.Runs)}, {Head: "CHANGE"},
	}}
	t.Add(tui.Text("took"), tui.Text(took(s, r)), tui.Text(tui.Took(r.Usual.Took)),
		tui.Text(change(int64(r.Took()), int64(r.Usual.Took), !r.Ended.IsZero())))
	for _, row := range []struct {
		what    string
		is, was *int64
	}{
		{"items", r.Items, r.Usual.Items}, {"pages", r.Pages, r.Usual.Pages}, {"errors", r.Errors, r.Usual.Errors},
	} {
		differs := "-"
		if row.is == nil && row.was == nil {
			continue
		}
		if row.is != nil && row.was != nil {
			differs = change(*row.is, *row.was, true)
		}
		t.Add(tui.Text(row.what), tui.Text(count(row.is)), tui.Text(count(row.was)), tui.Text(differs))
	}
	t.Write(s)
}

// change says by how much a number differs, where that is known.
func change(is, was int64, known bool) string {
	switch {
	case !known || was == 0 && is != 0:
		return "-"
	case was == is:
		return "0%"
	}
	return fmt.Sprintf("%+.0f%%", 100*(float64(is)/float64(was)-1))
}

func renderLog(s tui.Screen, log runs.Excerpt) {
	fmt.Fprintf(s.W, "log of task %d on %s:\n", log.Slot, log.Node)
	lines := slices.Clone(log.First)
	if log.Gap {
		lines = append(lines, "…")
	}
	for _, line := range append(lines, log.Last...) {
		fmt.Fprintln(s.W, "  "+line)
	}
}

func renderTasks(s tui.Screen, r runs.Record) {
	t := tui.Table{Columns: []tui.Column{
		{Head: "TASK"}, {Head: "NODE"}, {Head: "STATE"}, {Head: "EXIT"}, {Head: "BEGUN"}, {Head: "TOOK"},
		{Head: "MEMORY"}, {Head: "CPUS"},
	}}
	for _, task := range r.Tasks {
		took, exit := "-", "-"
		if !task.Ended.IsZero() {
			took, exit = tui.Took(max(0, task.Ended.Sub(task.Began))), strconv.Itoa(task.ExitCode)
		}
		t.Add(tui.Text(strconv.Itoa(task.Slot)), tui.Text(tui.OrDash(task.Node)), tui.Text(task.State), tui.Text(exit),
			tui.Text(s.Since(task.Began)+" ago"), tui.Text(took), tui.Text(memory(task.Memory)),
			tui.Text(cpus(task.CPU)))
		if task.Cause != "" {
			t.Note(task.Cause)
		}
	}
	t.Write(s)
	if more := r.Attempts - len(r.Tasks); more > 0 {
		fmt.Fprintf(s.W, "and %s more\n", words.Count(more, "task"))
	}
}

func memory(bytes *int64) string {
	if bytes == nil {
		return "-"
	}
	return tui.Size(*bytes)
}

func cpus(n *float64) string {
	if n == nil {
		return "-"
	}
	return strconv.FormatFloat(*n, 'f', 2, 64)
}

func facts(r runs.Record) [][2]string {
	asked := when(r.At)
	if r.By != "" {
		asked += " by " + r.By
	}
	timeout, exit := "", ""
	if r.Timeout > 0 {
		timeout = r.Timeout.String()
	}
	if !r.Ended.IsZero() {
		exit = strconv.Itoa(r.ExitCode)
	}
	return [][2]string{
		{"run", r.ID},
		{"state", r.State},
		{"why", r.Why},
		{"exit code", exit},
		{"service", r.Service},
		{"schedule", r.Schedule},
		{"planned", when(r.Planned)},
		{"asked", asked},
		{"began", when(r.Began)},
		{"ended", when(r.Ended)},
		{"image", fleet.FamiliarImage(r.Image)},
		{"digest", r.Digest},
		{"arguments", settings(r.Args)},
		{"variables", settings(r.Variables)},
		{"command", strings.Join(r.Command, " ")},
		{"tasks", fmt.Sprintf("%d, each begins again %s at most", r.Replicas, words.Count(r.Retries, "time"))},
		{"timeout", timeout},
		{"did", didText(r.Counts)},
	}
}

func when(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.Local().Format(time.RFC3339)
}

func settings(values map[string]string) string {
	var list []string
	for _, name := range slices.Sorted(maps.Keys(values)) {
		list = append(list, name+"="+words.OneLine(values[name]))
	}
	return strings.Join(list, " ")
}

func stopCmd(a *command.App) *cobra.Command {
	return a.Several(&cobra.Command{
		Use:     "stop RUN...",
		Short:   "End runs before their time",
		Example: "  crawlbox run stop spider-20260101-030000-x7q",
	}, "a run", command.RunNames, (*api.Client).StopRun, "%s is being stopped")
}

func rmCmd(a *command.App) *cobra.Command {
	return a.Several(&cobra.Command{
		Use:     "rm RUN...",
		Short:   "Drop the records of runs that have ended",
		Example: "  crawlbox run rm spider-20260101-030000-x7q",
	}, "a run", command.RunNames, (*api.Client).RemoveRun, "the record of %s is dropped")
}
