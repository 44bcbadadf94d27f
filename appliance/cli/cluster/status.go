// Package cluster has the commands about the nodes of a cluster: what they are, and how they
// join, are upgraded and leave. What a command prints is drawn from the same values that --json
// prints.
package cluster

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/crawlbox/crawlbox/appliance/api"
	"github.com/crawlbox/crawlbox/appliance/base/words"
	"github.com/crawlbox/crawlbox/appliance/cli/command"
	"github.com/crawlbox/crawlbox/appliance/cli/tui"
	"github.com/crawlbox/crawlbox/appliance/fleet"
)

// Exit codes of `crawlbox status --check` beside 0; 1 is also that of one that could not ask.
const (
	exitBad      = 1
	exitWarnings = 3
)

func StatusCmd(a *command.App) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show this node, its cluster and what is wrong with them",
		Long: `Show this node, its cluster and what is wrong with them: the worst first, each
with what to do. What crawlbox nodes, ls, ps, doctor and history show, and the
log warns of, is here too. Notes are of what is so because somebody wanted it,
and of a deploy or an upgrade that was taken back while the version before runs
well.

With --check the exit code tells programs: 0 if nothing is wrong (there may be
notes), 3 if there are only warnings, and 1 if something does not work or
crawlbox does not answer.`,
		Example: "  crawlbox status\n  crawlbox status --watch\n" +
			"  crawlbox status --check >/dev/null || echo look at the cluster",
		Args: command.NoArgs,
	}
	check := cmd.Flags().Bool("check", false, "tell by the exit code whether something is wrong")
	var last api.Status
	command.WatchesAll(a, cmd, func(c *api.Client, ctx context.Context) (st api.Status, err error) {
		last, err = c.Status(ctx)
		return last, err
	}, renderStatus)
	show := cmd.RunE
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := show(cmd, args); err != nil || !*check {
			return err
		}
		return command.Exit(exitCode(last.Problems))
	}
	return cmd
}

// exitCode returns the exit code that tells of problems.
func exitCode(list []api.Problem) int {
	at := func(level api.Level) bool {
		return slices.ContainsFunc(list, func(p api.Problem) bool { return p.Level == level })
	}
	switch {
	case at(api.Bad):
		return exitBad
	case at(api.Warning):
		return exitWarnings
	}
	return 0
}

func renderStatus(s tui.Screen, st api.Status) {
	field := func(name, format string, args ...any) {
		for _, line := range s.Wrap(fmt.Sprintf("%-10s", name+":"), fmt.Sprintf(format, args...)) {
			fmt.Fprintln(s.W, line)
		}
	}
	field("Node", "%s (%s), %s", st.Node, st.Mode, st.Addr)
	field("Crawlbox", "%s, up %s", st.Version, s.Since(st.Started))
	field("Docker", "%s", dockerState(st.Docker))
	if st.Manager {
		field("Cluster", "%s", st.Cluster)
		field("Nodes", "%s", nodesState(st))
		field("Managers", "%s", managersState(st))
		field("Services", "%s as wanted", of(st.Services))
		field("Tasks", "%s running", of(st.Tasks))
	}
	field("Registry", "%s", registryState(st.Registry))
	writeTraffic(field, st.Registry)
	if st.Queue != nil {
		field("Queue", "%s", queueState(*st.Queue, st.Managers.Want))
	}
	if exitCode(st.Problems) == 0 {
		fmt.Fprintln(s.W, "\n"+noProblems(st))
	}
	title := ""
	for _, p := range st.Problems {
		is := "Problems"
		if p.Level == api.Note {
			is = "Notes"
		}
		if is != title {
			fmt.Fprintf(s.W, "\n%s:\n", is)
			title = is
		}
		tui.WriteMarked(s, marks[p.Level], words.OneLine(p.Text))
	}
}

// noProblems is the last word on what is well. A worker knows of itself only.
func noProblems(st api.Status) string {
	if st.Manager {
		return "No problems."
	}
	return "No problems here."
}

// marks are what stands before problems.
var marks = map[api.Level]tui.Mark{
	api.Bad:     {Text: "!", Style: tui.Red},
	api.Warning: {Text: "!", Style: tui.Yellow},
	api.Note:    tui.Remark,
}

func nodesState(st api.Status) string {
	text := of(st.Nodes) + " ready"
	switch {
	case st.Active == st.Nodes.Have:
		return text
	case st.Active == 1:
		return text + ", 1 takes tasks"
	}
	return fmt.Sprintf("%s, %d take tasks", text, st.Active)
}

// managersState says what the loss of one more would mean, unless that is a problem and so below.
func managersState(st api.Status) string {
	m := fleet.Managers{
		All:     st.Managers.Want,
		Up:      st.Managers.Have,
		Workers: st.Nodes.Want - st.Managers.Want,
		State:   st.State.Want,
		StateUp: st.State.Have,
	}
	text := of(st.Managers) + " reachable"
	if m.All == 1 || m.Spare() > 0 {
		text += "; " + m.Loss()
	}
	return text
}

// writeTraffic says where images came from and went to.
func writeTraffic(field func(name, format string, args ...any), r api.Registry) {
	t := r.Traffic
	if r.ReadOnly {
		field("Pulled", "%s from the manager, %s from nodes, %s from the cache", tui.Size(t.FromManager),
			tui.Size(t.FromNodes), tui.Size(t.FromCache))
	}
	field("Sent", "%s of images to other nodes", tui.Size(t.Sent))
	if t.BadPieces > 0 || t.Retries > 0 {
		field("Pieces", "%d bad, %d asked for again", t.BadPieces, t.Retries)
	}
}

func of(c api.Count) string { return fmt.Sprintf("%d/%d", c.Have, c.Want) }

func dockerState(d api.Docker) string {
	if d.Version == "" {
		return d.State + ", " + d.Host
	}
	return tui.ShortVersion(d.Version) + ", " + d.State + ", " + d.Host
}

func registryState(r api.Registry) string {
	parts := []string{r.Local}
	if r.ReadOnly {
		parts[0] += " (read-only)"
	}
	if r.Public != "" {
		parts = append(parts, r.Public)
	}
	if r.ReadOnly {
		parts = append(parts, tui.Size(r.Used)+" kept")
	} else {
		parts = append(parts, words.Count(r.Images, "image"))
	}
	parts = append(parts, tui.Size(r.Free)+" free")
	return strings.Join(parts, ", ")
}

func queueState(q api.Queue, managers int) string {
	parts := []string{q.Addr}
	if q.Home != "" {
		parts[0] += " on " + q.Home
	}
	switch {
	case q.Engine == "":
	case q.Replica != "":
		parts = append(parts, fmt.Sprintf("kept by %s on %s with a replica on %s", q.Engine, q.Primary, q.Replica))
	case q.Primary != "":
		parts = append(parts, fmt.Sprintf("kept by %s on %s alone", q.Engine, q.Primary))
	default:
		parts = append(parts, "kept by "+q.Engine)
	}
	switch {
	case !q.Serving:
		parts = append(parts, "not served")
	case q.MaxMemory == 0:
		parts = append(parts, words.Count(int(q.Keys), "key"), tui.Size(q.Memory))
	default:
		parts = append(parts, words.Count(int(q.Keys), "key"),
			fmt.Sprintf("%s of %s", tui.Size(q.Memory), tui.Size(q.MaxMemory)))
	}
	text := strings.Join(append(parts, q.Lacks...), ", ")
	if q.Engine == "" && managers > 2 {
		text += "; with `queue.engine: valkey` nothing of it would be lost with its machine"
	}
	return text
}
