package cli

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/crawlbox/crawlbox/appliance/doctor"
	"github.com/crawlbox/crawlbox/appliance/fleet"
	"github.com/crawlbox/crawlbox/appliance/join"
	"github.com/crawlbox/crawlbox/appliance/node"
)

func doctorCmd(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "doctor [manager|worker]",
		Short: "Look whether this machine is fit to be a node, and what to do if not",
		Long: `Look at this machine, its Docker and its network, and say what keeps it from
being a node, or may trouble it, with the commands that help. It changes
nothing.

On a node that runs, other nodes are asked to connect back to it. On a machine
that is to join, --join says where the manager is, and it is tried. The machine
is looked at as the node that it is or, where it is none, as a worker if there
is a join string and as a manager if not.

The exit code is 1 if something would stop a join or keep a node from being of
use, and 0 if there are only warnings.`,
		Example: "  crawlbox doctor\n  crawlbox doctor --join CBX1-…\n  crawlbox doctor manager --json",
		Args:    atMostOne("a role"),
	}
	cmd.ValidArgs = []string{fleet.RoleManager, fleet.RoleWorker}
	nodeFlags(cmd.Flags())
	joinFlags(cmd, "join `string` of the cluster")
	asJSON := jsonFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		opts, err := a.nodeOptions(cmd)
		if err != nil {
			return err
		}
		if err := a.setJoin(cmd, &opts); err != nil {
			return err
		}
		role, err := examinedAs(cmd, args, opts)
		if err != nil {
			return err
		}
		report, err := node.Examine(cmd.Context(), opts, role)
		if err != nil {
			return err
		}
		if err := show(a, *asJSON, report, renderReport); err != nil || report.OK {
			return err
		}
		return fmt.Errorf("%s would stop this machine from joining as a %s, or from being of use; see above", strings.Join(badChecks(report), ", "), role)
	}
	return cmd
}

// examinedAs is the role that the machine is looked at for.
func examinedAs(cmd *cobra.Command, args []string, opts node.Options) (string, error) {
	is := node.Role(opts.Config)
	switch {
	case len(args) > 0 && args[0] != fleet.RoleManager && args[0] != fleet.RoleWorker:
		return "", usagef(cmd, "unknown role %q; use manager or worker", args[0])
	case len(args) > 0 && is != "" && is != args[0]:
		return "", fmt.Errorf("this machine is a %s; end that first with `crawlbox leave`", is)
	case len(args) > 0:
		return args[0], nil
	case is != "":
		return is, nil
	case opts.Join == "":
		return fleet.RoleManager, nil
	}
	s, err := join.Parse(opts.Join)
	return s.Role, err
}

// badChecks are the names of what is bad, each once.
func badChecks(r doctor.Report) (names []string) {
	for _, f := range r.Findings {
		if f.Level == doctor.Bad && !slices.Contains(names, f.Check) {
			names = append(names, f.Check)
		}
	}
	return names
}

var levelStyles = map[doctor.Level]string{doctor.OK: green, doctor.Warn: yellow, doctor.Bad: red}

// renderReport draws what was found and, below it, what to do: sentences that break
// between words, and commands that stay in one piece.
func renderReport(s screen, r doctor.Report) {
	t := table{columns: []column{{head: "CHECK"}, {head: "STATE"}, {head: "FOUND", min: 20}}}
	var troubles []doctor.Finding
	for _, f := range r.Findings {
		t.add(cell{text: f.Check}, cell{string(f.Level), levelStyles[f.Level]}, cell{text: oneLine(f.Text)})
		if f.Level != doctor.OK {
			troubles = append(troubles, f)
		}
	}
	t.write(s)
	slices.SortStableFunc(troubles, func(a, b doctor.Finding) int { return strings.Compare(string(a.Level), string(b.Level)) }) // bad before warning
	if len(troubles) == 0 {
		fmt.Fprintln(s.w, "\n"+s.fit(fmt.Sprintf("%s is fit to be a %s.", r.Node, r.Role)))
		return
	}
	fmt.Fprintln(s.w, "\nWhat to do:")
	for _, f := range troubles {
		text := f.Check + ": " + oneLine(f.Text)
		if f.Remedy != "" {
			text += "; " + oneLine(f.Remedy)
		}
		if len(f.Commands) > 0 {
			text += ":"
		}
		writeProblem(s, text)
		for _, command := range f.Commands {
			fmt.Fprintln(s.w, "      "+s.styled(bold, command))
		}
	}
	if r.OK {
		fmt.Fprintln(s.w, "\n"+s.fit(fmt.Sprintf("%s can be a %s as it is.", r.Node, r.Role)))
	}
}
