package install

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/crawlbox/crawlbox/appliance/api"
	"github.com/crawlbox/crawlbox/appliance/base/words"
	"github.com/crawlbox/crawlbox/appliance/cli/command"
	"github.com/crawlbox/crawlbox/appliance/cli/run"
	"github.com/crawlbox/crawlbox/appliance/cluster/setup"
	"github.com/crawlbox/crawlbox/appliance/doctor"
	"github.com/crawlbox/crawlbox/appliance/fleet"
	"github.com/crawlbox/crawlbox/appliance/node"
	"github.com/crawlbox/crawlbox/appliance/queueproc"
	"github.com/crawlbox/crawlbox/appliance/upgrade"
	"github.com/crawlbox/crawlbox/configs"
	"github.com/crawlbox/crawlbox/systemd"
	"github.com/crawlbox/crawlbox/systemd/install"
)

func UninstallCmd(a *command.App) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "uninstall",
		Short: "Leave the cluster and take crawlbox off this server",
		Long: `Leave the cluster and take crawlbox off this server: its service, its program,
what makes Docker trust the registry, the config file unless it was edited.
Docker stays. State stays too, such as the registry's images and the queue, and
the images that Docker has of it, unless --purge is given.

On the last manager this ends the cluster; while it has other nodes that takes
--force, as on the home of the queue, which leaves with it. It says what ends
and asks first, unless --yes is given; where nobody can be asked, it takes
--yes.`,
		Example: "  crawlbox uninstall\n  crawlbox uninstall --purge --yes",
		Args:    command.NoArgs,
	}
	var w wish
	cmd.Flags().BoolVar(&w.purge, "purge", false, "remove state, config and the cluster's images too")
	cmd.Flags().BoolVar(&w.force, "force", false, "leave although the cluster ends or suffers by it")
	yes := command.YesFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if err := doctor.Root(); err != nil {
			return err
		}
		w.sure = *yes
		return uninstall(a, cmd, install.LocalMachine(), w)
	}
	return cmd
}

// wish is how a server is to be uninstalled.
type wish struct{ purge, force, sure bool }

func uninstall(a *command.App, cmd *cobra.Command, machine *install.Machine, w wish) error {
	ctx := cmd.Context()
	cfg, err := installedConfig(a, machine)
	if err != nil {
		return err
	}
	if err := upgrade.In(cfg.DataDir).Underway(); err != nil && !w.force {
		return err
	}
	registries := setup.Registries(cfg)
	plan, err := machine.Uninstall(ctx, install.Unwanted{
		Config:     configs.Annotated,
		ConfigPath: cfg.File,
		JoinPath:   run.JoinTokenPath(cfg.DataDir),
		State:      stateOf(cfg),
		User:       queueproc.User,
		Purge:      w.purge,
	})
	if err != nil {
		return err
	}
	if !w.sure {
		if err := a.Sure(cmd, command.Question{
			Why: consequences(ctx, api.NewClient(cfg.Socket)),
			Do:  "uninstall crawlbox",
			Not: "nothing was uninstalled",
		}); err != nil {
			return err
		}
	}
	left, err := leaveForGood(a, ctx, machine, cfg, w.force)
	if !left {
		return err
	}
	// From here on it goes to its end: half of it helps nobody. Docker first: what removes the
	// rest is removed last.
	undone := words.SplitErrors(errors.Join(err, setup.Forget(ctx, cfg, registries, w.purge)))
	undone = append(undone, machine.DoAll(ctx, plan, func(s install.Step) { _ = a.Printf("%s\n", s) })...)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	for _, note := range plan.Notes {
		_ = a.Say("%s", note)
	}
	for _, err := range undone {
		_ = a.Say("not done: %s", words.OneLine(err.Error()))
	}
	if len(undone) > 0 {
		return fmt.Errorf("crawlbox is uninstalled, but for what is \"not done\" above: %s; do that by hand",
			words.Count(len(undone), "step"))
	}
	return a.Printf("crawlbox is uninstalled; Docker stays\n")
}

// consequences says what ends beside crawlbox when its node leaves.
func consequences(ctx context.Context, c *api.Client) string {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	st, err := c.Status(ctx)
	if err == nil && !st.Manager {
		return st.Node + " leaves its cluster, and its tasks go to other nodes"
	}
	nodes, nodesErr := c.Nodes(ctx)
	services, servicesErr := c.Services(ctx)
	if errors.Join(err, nodesErr, servicesErr) != nil {
		return "the crawlbox here does not say what ends when it leaves its cluster"
	}
	return endOf(st, nodes, services)
}

// endOf says what ends when a manager leaves its cluster.
func endOf(st api.Status, nodes []fleet.Node, services []fleet.Service) string {
	var ends, alone []string
	for _, s := range services {
		ends = append(ends, s.Name)
	}
	for _, n := range nodes {
		if n.Role == fleet.RoleManager && !n.Self && n.State == fleet.StateReady {
			return fmt.Sprintf("%s leaves the cluster, which %s goes on to manage, and its tasks go to other nodes",
				st.Node, n.Display)
		}
		if !n.Self {
			alone = append(alone, n.Display)
		}
	}
	text := fmt.Sprintf("%s (%s) is the only manager, and its cluster ends", st.Node, st.Addr)
	if len(ends) > 0 {
		text += fmt.Sprintf(", with %s (%s)", words.Count(len(ends), "service"), words.Some(ends, maxNames))
	}
	if len(alone) > 0 {
		text += fmt.Sprintf("; %s left alone (%s)", words.Count(len(alone), "node"), words.Some(alone, maxNames))
	}
	return text
}

// maxNames is how many names a question lists.
const maxNames = 5

// askTimeout bounds a question to the crawlbox that is to be uninstalled.
const askTimeout = 10 * time.Second

// installedConfig returns the config that the service was started with: its flags stand in
// its unit.
func installedConfig(a *command.App, machine *install.Machine) (configs.Config, error) {
	unit, err := machine.Installed()
	if err != nil {
		return configs.Config{}, err
	}
	if systemd.Role(unit) == "" {
		return configs.Load(a.Config)
	}
	flags, err := unitFlags(a, unit)
	if err != nil {
		return configs.Config{}, err
	}
	file, _ := flags.GetString("config")
	return configs.Load(cmp.Or(a.Config, file), configs.Flags(flags))
}

// leaveForGood takes the node out of its cluster and stops its service. Where it may
// not leave nothing has changed and left is false, unless force makes the rest go on all the same.
// The error of one that has left says what was not done.
func leaveForGood(a *command.App, ctx context.Context, machine *install.Machine, cfg configs.Config,
	force bool) (left bool, err error) {
	err = api.NewClient(cfg.Socket).Leave(ctx, force || isOnlyNode(ctx, cfg))
	if errors.Is(err, api.ErrNotRunning) {
		if err := machine.Stop(ctx); err != nil { // it may be about to start
			return false, err
		}
		err = node.LeaveOffline(ctx, node.Options{Config: cfg, Version: a.Version, Log: a.Log}, force)
	}
	switch {
	case errors.Is(err, node.ErrNoNode):
		return true, machine.Stop(ctx)
	case err != nil && !force:
		return false, err
	case err != nil:
		_ = a.Say("this node could not leave its cluster, and goes on with --force: %s", words.OneLine(err.Error()))
	default:
		_ = a.Printf("this node has left the cluster\n")
	}
	return true, machine.Stop(ctx)
}

// isOnlyNode reports whether the node that runs here is its whole cluster: leaving it costs
// no other node anything.
func isOnlyNode(ctx context.Context, cfg configs.Config) bool {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	nodes, err := api.NewClient(cfg.Socket).Nodes(ctx)
	others := slices.ContainsFunc(nodes, func(n fleet.Node) bool { return n.Addr != nodes[0].Addr })
	return err == nil && len(nodes) > 0 && !others
}

// stateOf returns the directories with a node's state, the outermost first.
func stateOf(cfg configs.Config) []string {
	list := []string{cfg.DataDir}
	for _, dir := range []string{cfg.RegistryDir(), cfg.QueueDir()} {
		if rel, err := filepath.Rel(cfg.DataDir, dir); dir != "" && (err != nil || !filepath.IsLocal(rel)) {
			list = append(list, dir)
		}
	}
	return list
}
