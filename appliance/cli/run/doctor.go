package run

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/crawlbox/crawlbox/appliance/base/naming"
	"github.com/crawlbox/crawlbox/appliance/base/words"
	"github.com/crawlbox/crawlbox/appliance/cli/command"
	"github.com/crawlbox/crawlbox/appliance/cli/tui"
	"github.com/crawlbox/crawlbox/appliance/cluster/setup"
	"github.com/crawlbox/crawlbox/appliance/cluster/token"
	"github.com/crawlbox/crawlbox/appliance/doctor"
	"github.com/crawlbox/crawlbox/appliance/fleet"
	"github.com/crawlbox/crawlbox/appliance/node"
	"github.com/crawlbox/crawlbox/appliance/node/queue"
	"github.com/crawlbox/crawlbox/appliance/preflight"
)

func DoctorCmd(a *command.App) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "doctor [manager|worker]",
		Short: "Look whether this machine is fit to be a node, and what to do if not",
		Long: `Look at this machine, its Docker and its network, and say what keeps it from
being a node, or may trouble it, with the commands that help. It changes
nothing.

On a node that runs, other nodes are asked to connect back to it. On a machine
that is to join, --join says where the manager is, and it is tried. The machine
is looked at as the node that it is or, where it is none, as a worker if there
is a join token and as a manager if not.

The exit code is 1 if something would stop a join or keep a node from being of
use, and 0 if there are only warnings.`,
		Example: "  crawlbox doctor\n  crawlbox doctor --join CBX1-…\n  crawlbox doctor manager --json",
		Args:    command.AtMostOne("a role"),
	}
	cmd.ValidArgs = []string{fleet.RoleManager, fleet.RoleWorker}
	nodeFlags(cmd.Flags())
	joinFlags(cmd, "join `token` of the cluster")
	asJSON := command.JSONFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		opts, err := NodeOptions(a, cmd)
		if err != nil {
			return err
		}
		role, err := examinedAs(cmd, args, opts)
		if err != nil {
			return err
		}
		report, err := preflight.Examine(cmd.Context(), opts.Config, role, opts.Join, queue.PortHere)
		if err != nil {
			return err
		}
		if err := command.Show(a, *asJSON, report, renderReport); err != nil || report.OK {
			return err
		}
		return fmt.Errorf("%s would stop this machine from joining as a %s, or from being of use; see above",
			strings.Join(badChecks(report), ", "), role)
	}
	return cmd
}

// examinedAs returns the role that the machine is looked at for.
func examinedAs(cmd *cobra.Command, args []string, opts node.Options) (string, error) {
	is := setup.RoleOf(opts.Config)
	if is == "" && setup.StateOf(opts.Config) == setup.Joined { // its identity is damaged
		is = cmp.Or(slices.Concat(args, []string{fleet.RoleWorker})...)
	}
	if len(args) > 0 {
		if err := naming.CheckRole(args[0]); err != nil {
			return "", command.Usagef(cmd, "%s", err)
		}
	}
	switch {
	case len(args) > 0 && is != "" && is != args[0]:
		return "", fmt.Errorf("this machine is a %s; end that first with `crawlbox leave`", is)
	case len(args) > 0:
		return args[0], nil
	case is != "":
		return is, nil
	case opts.Join == "":
		return fleet.RoleManager, nil
	}
	s, err := token.Parse(opts.Join)
	return s.Role, err
}

// badChecks returns the names of what is bad, each once.
func badChecks(r doctor.Report) (names []string) {
	for _, f := range r.Findings {
		if f.Level == doctor.Bad && !slices.Contains(names, f.Check) {
			names = append(names, f.Check)
		}
	}
	return names
}

var levelStyles = map[doctor.Level]string{
	doctor.OK:   tui.Green,
	doctor.Note: tui.Dim,
	doctor.Warn: tui.Yellow,
	doctor.Bad:  tui.Red,
}

// renderReport draws what is well or only a note and, below it, each trouble with what to do: sentences
// that break between words, and commands that stay in one piece.
func renderReport(s tui.Screen, r doctor.Report) {
	t := tui.Table{Columns: []tui.Column{{Head: "CHECK"}, {Head: "STATE"}, {Head: "FOUND", Min: 20}}}
	var troubles []doctor.Finding
	for _, f := range r.Findings {
		found := tui.Text(words.OneLine(f.Text))
		if f.Level == doctor.Warn || f.Level == doctor.Bad {
			troubles = append(troubles, f)
			found = tui.Styled("see below", tui.Dim)
		}
		t.Add(tui.Text(f.Check), tui.Styled(string(f.Level), levelStyles[f.Level]), found)
	}
	t.Write(s)
	// bad before warning
	slices.SortStableFunc(troubles,
		func(a, b doctor.Finding) int { return strings.Compare(string(a.Level), string(b.Level)) })
	if len(troubles) == 0 {
		fmt.Fprintln(s.W, "\n"+s.Fit(fmt.Sprintf("%s is fit to be a %s.", r.Node, r.Role)))
		return
	}
	fmt.Fprintln(s.W, "\nWhat to do:")
	for _, f := range troubles {
		text := f.Check + ": " + words.OneLine(f.Text)
		if f.Remedy != "" {
			text += "; " + words.OneLine(f.Remedy)
		}
		if len(f.Commands) > 0 {
			text += ":"
		}
		tui.WriteProblem(s, text)
		for _, command := range f.Commands {
			fmt.Fprintln(s.W, "      "+s.Styled(tui.Bold, command))
		}
	}
	if r.OK {
		fmt.Fprintln(s.W, "\n"+s.Fit(fmt.Sprintf("%s can be a %s as it is.", r.Node, r.Role)))
	}
}
