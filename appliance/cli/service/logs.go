package service

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/crawlbox/crawlbox/appliance/api"
	"github.com/crawlbox/crawlbox/appliance/base/words"
	"github.com/crawlbox/crawlbox/appliance/cli/command"
	"github.com/crawlbox/crawlbox/appliance/cli/tui"
)

func LogsCmd(a *command.App) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "logs SERVICE|TASK | --run ID",
		Short: "Show what tasks write, from all nodes",
		Long: `Show what the tasks of a service write, from all nodes, or what one task writes,
in the order of time.

The tasks are those that 'crawlbox ps' lists, of the version that the service
has now; with --all also those that were replaced, and those of versions before.
With --since, --grep or --run they are all of which the nodes keep what they
wrote, also those that ended long ago. Of a node that is away the managers have
the last 200 lines of each task, and those before that tell of errors.
Each line begins with its task and node, and its version if there are several.
What a task wrote to its standard error goes to standard error here too. A line
of more than 256 KiB is cut, and goes on in the next one.`,
		Example: "  crawlbox logs spider\n  crawlbox logs -f -n 20 spider\n" +
			"  crawlbox logs -t --since 10m --node h2 spider\n  crawlbox logs --all spider.3\n" +
			"  crawlbox logs --since 24h --grep 'ERROR|Traceback' spider\n" +
			"  crawlbox logs --run nightly-20260101-030000-x7q",
		Args:              logsArgs,
		ValidArgsFunction: a.CompleteOne(command.TaskNames),
	}
	asJSON := command.JSONFlag(cmd)
	f := cmd.Flags()
	follow := f.BoolP("follow", "f", false, "go on with new lines until Ctrl-C")
	tail := f.StringP("tail", "n", "all", "only the last `N` lines of each task")
	since := f.String("since", "", "only lines after this `time`, or 10m (default all)")
	all := f.BoolP("all", "a", false, "also of tasks that were replaced, and versions before")
	node := f.String("node", "", "only of tasks on this `node`")
	grep := f.String("grep", "", "only lines that match this `expression` (RE2)")
	run := f.String("run", "", "what the tasks of the run with this `ID` wrote")
	times := f.BoolP("timestamps", "t", false, "begin each line with its time")
	_ = cmd.RegisterFlagCompletionFunc("node", a.Complete(command.NodeNames))
	cmd.RunE = func(cmd *cobra.Command, args []string) (err error) {
		target := strings.Join(args, "") + *run // of one of them
		q := api.LogQuery{Target: target, Follow: *follow, Node: *node, All: *all, Grep: *grep, Run: *run != ""}
		if _, err := regexp.Compile(*grep); err != nil {
			why := strings.TrimPrefix(err.Error(), "error parsing regexp: ")
			return command.Usagef(cmd, "--grep is %q, which is no regular expression (RE2): %s", *grep, why)
		}
		if q.Tail, err = parseTail(cmd, *tail); err != nil {
			return err
		}
		if q.Since, err = ParseSince(cmd, *since, a.Env.Now()); err != nil {
			return err
		}
		c, err := a.Client()
		if err != nil {
			return err
		}
		write, said := LogWriter(a, *asJSON, *times), false
		err = c.Logs(cmd.Context(), q, func(l api.LogLine) error {
			said = true
			return write(l)
		})
		switch {
		case *follow && cmd.Context().Err() != nil:
			return nil // Ctrl-C is how following ends
		case err == nil && !said && q.Tail != 0 && !*asJSON:
			hint := ""
			if *run == "" {
				hint = "; what a run of it wrote shows `crawlbox logs --run ID`, see `crawlbox runs`"
			}
			return a.Tell("crawlbox: there are no such lines of %s%s", target, hint)
		}
		return err
	}
	return cmd
}

// logsArgs wants one service or task, or none beside --run.
func logsArgs(cmd *cobra.Command, args []string) error {
	switch run := cmd.Flags().Changed("run"); {
	case run && len(args) > 0:
		return command.Usagef(cmd, "name a service or task, or a run with --run, not both")
	case run:
		return nil
	}
	return command.ExactlyOne("one service or task")(cmd, args)
}

func parseTail(cmd *cobra.Command, text string) (int, error) {
	if text == "all" {
		return -1, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 0 {
		return 0, command.Usagef(cmd, "--tail is %q; it is a number of lines, 0 or more, or all", text)
	}
	return n, nil
}

// ParseSince reads the flag --since: a time, or how long ago.
func ParseSince(cmd *cobra.Command, text string, now time.Time) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	if d, err := time.ParseDuration(text); err == nil && d >= 0 {
		return now.Add(-d), nil
	}
	var span command.Span // 7d
	if span.Set(text) == nil {
		return now.Add(-time.Duration(span)), nil
	}
	t, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return t, command.Usagef(cmd, "--since is %q; it is a span such as 10m or 7d, or a time such as %s", text,
			now.UTC().Format(time.RFC3339))
	}
	return t, nil
}

// LogWriter returns what prints lines of logs, each behind its task.
func LogWriter(a *command.App, asJSON, times bool) func(api.LogLine) error {
	if asJSON {
		enc := json.NewEncoder(a.Env.Stdout)
		enc.SetEscapeHTML(false)
		return func(l api.LogLine) error { return enc.Encode(l) }
	}
	p := &logPrinter{out: a.Stdout(), err: a.Stderr(), times: times}
	return p.print
}

// logPrinter prints lines behind the name of their task, in its own colour.
type logPrinter struct {
	out, err tui.Screen
	times    bool
	width    int // of the longest name so far
}

// timeFormat is that of --timestamps.
const timeFormat = "2006-01-02T15:04:05.000Z07:00"

func (p *logPrinter) print(l api.LogLine) error {
	if l.Task == "" {
		_, err := fmt.Fprintln(p.err.W, p.err.Styled(tui.Dim, "crawlbox: "+words.OneLine(l.Text)))
		return err
	}
	s := p.out
	if l.Stream == "stderr" {
		s = p.err
	}
	name := l.Task + "@" + l.Node
	if l.Mixed {
		name += " " + l.Version
	}
	p.width = max(p.width, utf8.RuneCountInString(name))
	prefix := name + strings.Repeat(" ", p.width-utf8.RuneCountInString(name)) + " |"
	if p.times {
		prefix = l.Time.Local().Format(timeFormat) + " " + prefix
	}
	text := l.Text
	if l.Cut {
		text += s.Styled(tui.Dim, " … (goes on)")
	}
	_, err := fmt.Fprintf(s.W, "%s %s\n", s.Styled(s.ColorOf(l.Task), prefix), text)
	return err
}
