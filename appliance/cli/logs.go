package cli

import (
	"encoding/json"
	"fmt"
	"hash/fnv"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/crawlbox/crawlbox/appliance/api"
)

func logsCmd(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "logs SERVICE|TASK",
		Short: "Show what tasks write, from all nodes",
		Long: `Show what the tasks of a service write, from all nodes, or what one task writes.

Each line begins with its task and node. What a task wrote to its standard error
goes to standard error here too.`,
		Args:              exactlyOne("one service or task"),
		ValidArgsFunction: a.completeOne(taskNames),
	}
	asJSON := jsonFlag(cmd)
	f := cmd.Flags()
	follow := f.BoolP("follow", "f", false, "go on with new lines until Ctrl-C")
	tail := f.StringP("tail", "n", "all", "only the last `N` lines of each task")
	since := f.String("since", "", "only lines after this `time`, or of the last 10m")
	cmd.RunE = func(cmd *cobra.Command, args []string) (err error) {
		q := api.LogQuery{Target: args[0], Follow: *follow}
		if q.Tail, err = parseTail(cmd, *tail); err != nil {
			return err
		}
		if q.Since, err = parseSince(cmd, *since, a.env.Now()); err != nil {
			return err
		}
		c, err := a.client()
		if err != nil {
			return err
		}
		err = c.Logs(cmd.Context(), q, a.logWriter(*asJSON))
		if *follow && cmd.Context().Err() != nil {
			return nil // Ctrl-C is how following ends
		}
		return err
	}
	return cmd
}

func parseTail(cmd *cobra.Command, text string) (int, error) {
	if text == "all" {
		return -1, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 0 {
		return 0, usagef(cmd, "--tail is %q; it is a number of lines, 0 or more, or all", text)
	}
	return n, nil
}

func parseSince(cmd *cobra.Command, text string, now time.Time) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	if d, err := time.ParseDuration(text); err == nil && d >= 0 {
		return now.Add(-d), nil
	}
	t, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return t, usagef(cmd, "--since is %q; it is a span such as 10m or 2h, or a time such as %s", text, now.UTC().Format(time.RFC3339))
	}
	return t, nil
}

func (a *app) logWriter(asJSON bool) func(api.LogLine) error {
	if asJSON {
		enc := json.NewEncoder(a.env.Stdout)
		enc.SetEscapeHTML(false)
		return func(l api.LogLine) error { return enc.Encode(l) }
	}
	p := &logPrinter{out: a.stdout(), err: a.stderr()}
	return p.print
}

// logPrinter prints lines behind the name of their task, in its own colour.
type logPrinter struct {
	out, err screen
	width    int // of the longest name so far
}

func (p *logPrinter) print(l api.LogLine) error {
	if l.Task == "" {
		_, err := fmt.Fprintln(p.err.w, p.err.styled(dim, "crawlbox: "+oneLine(l.Text)))
		return err
	}
	s := p.out
	if l.Stream == "stderr" {
		s = p.err
	}
	name := l.Task + "@" + l.Node
	p.width = max(p.width, utf8.RuneCountInString(name))
	prefix := name + strings.Repeat(" ", p.width-utf8.RuneCountInString(name)) + " |"
	_, err := fmt.Fprintf(s.w, "%s %s\n", s.styled(s.colorOf(l.Task), prefix), l.Text)
	return err
}

// palette are colours of the 256 that can be read on black and on white.
// Their number has no factor in common with the 7 of colorOf.
var palette = []int{
	32, 33, 35, 36, 38, 62, 63, 67, 71, 72, 98, 99, 104,
	130, 133, 134, 136, 139, 161, 162, 166, 168, 172, 173, 202, 204,
}

// colorOf is the style of a task, always the same for its name. Neighbouring
// slots of a service have different ones.
func (s screen) colorOf(task string) string {
	dot := strings.LastIndexByte(task, '.') + 1
	h := fnv.New32a()
	slot, err := strconv.Atoi(task[dot:])
	if err == nil {
		h.Write([]byte(task[:dot]))
	} else {
		h.Write([]byte(task))
	}
	n := int(h.Sum32()&0xffff) + 7*(slot&0xffff)
	if s.colors >= 256 {
		return fmt.Sprintf("38;5;%d", palette[n%len(palette)])
	}
	return strconv.Itoa(31 + n%6)
}
