// Package install has the commands that make this machine a node for good, and no node again.
// What is written and run is decided by package systemd/install, and can be seen before with
// --dry-run.
package install

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/crawlbox/crawlbox/appliance/api"
	"github.com/crawlbox/crawlbox/appliance/cli/command"
	"github.com/crawlbox/crawlbox/appliance/cli/run"
	"github.com/crawlbox/crawlbox/appliance/cli/tui"
	"github.com/crawlbox/crawlbox/appliance/doctor"
	"github.com/crawlbox/crawlbox/appliance/fleet"
	"github.com/crawlbox/crawlbox/appliance/upgrade"
	"github.com/crawlbox/crawlbox/configs"
	"github.com/crawlbox/crawlbox/systemd/install"
)

// readyTimeout bounds how long an install waits for the node. Docker may take a
// minute and a half to join a swarm.
const readyTimeout = 3 * time.Minute

func Cmd(a *command.App) *cobra.Command {
	return command.Group(&cobra.Command{
		Use:   "install",
		Short: "Make this server a node for good, run by systemd",
	}, installRole(a, run.RoleCmd(a, fleet.RoleManager)), installRole(a, run.RoleCmd(a, fleet.RoleWorker)))
}

// installRole makes of a command that runs a node the one that installs it: it takes
// the same flags.
func installRole(a *command.App, cmd *cobra.Command) *cobra.Command {
	role := cmd.Name()
	cmd.Short = map[string]string{
		fleet.RoleManager: "Install the first node of a cluster, or a further manager",
		fleet.RoleWorker:  "Install a node that joins a cluster",
	}[role]
	cmd.Long = fmt.Sprintf(`Install crawlbox as a service of systemd and wait until it is ready. The flags
are those of 'crawlbox %s', and go into the unit; a join token does not,
it is deleted once the node has joined.

It copies itself to %s and writes, where there is none, a
config file that explains every key. Run again with other flags it changes what
differs, and says what; flags that are not given again stay, --queue=false takes
one back. A unit that was edited by hand stays.`, role, install.Program)
	cmd.Example = map[string]string{
		fleet.RoleManager: "  crawlbox install manager --queue\n  crawlbox install manager --dry-run",
		fleet.RoleWorker: "  crawlbox install worker --join CBX1-…\n  ssh root@manager crawlbox token | crawlbox " +
			"install worker --join-file -",
	}[role]
	dry := cmd.Flags().Bool("dry-run", false, "only print the files and commands")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error { return installNode(a, cmd, *dry) }
	return cmd
}

func installNode(a *command.App, cmd *cobra.Command, dry bool) error {
	machine := install.LocalMachine()
	if !machine.HasSystemd() {
		return fmt.Errorf("this machine is not run by systemd; let its own init system run `crawlbox %s`, or run "+
			"that in the foreground", cmd.Name())
	}
	if err := doctor.Root(); err != nil && !dry {
		return err
	}
	unit, err := machine.Installed()
	if err != nil {
		return err
	}
	want, cfg, err := wanted(a, cmd, unit)
	if err != nil {
		return err
	}
	if err := upgrade.In(cfg.DataDir).Underway(); err != nil && !dry {
		return err
	}
	if err := run.EnsureDocker(a, cmd, cfg, dry); err != nil {
		return err
	}
	if err := run.MissesDocker(a, cmd.Context(), machine, cfg); err != nil && !dry {
		return err
	}
	if restored, err := restoreHere(a, cmd, cfg, dry); err != nil {
		return err
	} else if restored {
		if want, cfg, err = wanted(a, cmd, unit); err != nil {
			return err
		}
	}
	plan, err := machine.Install(cmd.Context(), want)
	if err != nil {
		return err
	}
	plan.Notes = append(plan.Notes, ignoredEnv(os.Environ())...)
	if other := shadowing(os.Getenv("PATH"), install.Program); other != "" {
		plan.Notes = append(plan.Notes, fmt.Sprintf("PATH finds %s before %s, which is installed: remove the former, "+
			"or put %s first", other, install.Program, filepath.Dir(install.Program)))
	}
	if dry {
		run.PrintSteps(a, plan)
		return a.Printf("nothing was changed\n")
	}
	isNew := run.IsNew(cfg)
	if err := run.Do(a, cmd.Context(), machine, plan); err != nil {
		return err
	}
	if len(plan.Steps) == 0 {
		_ = a.Printf("nothing has to be changed\n")
	}
	if q := cfg.Queue; cmd.Name() == fleet.RoleManager && q != nil && !q.TLS {
		_ = a.Say("the queue's password and items cross the network in clear text; unless port %d is on a network "+
			"of your own, run it again with --queue-tls", q.Port)
	}
	if err := awaitNode(a, cmd, machine, cfg); err != nil || !isNew {
		return err
	}
	run.ShowRecoveryKey(a, cfg)
	return nil
}

// restoreHere restores a cluster on this machine, where that is wanted and not only looked at.
func restoreHere(a *command.App, cmd *cobra.Command, cfg configs.Config, dry bool) (bool, error) {
	if dry {
		return false, nil
	}
	return run.Restore(a, cmd, cfg)
}

// awaitNode waits until the node is ready and says what comes next.
func awaitNode(a *command.App, cmd *cobra.Command, machine *install.Machine, cfg configs.Config) error {
	ctx, cancel := context.WithTimeoutCause(cmd.Context(), readyTimeout, fmt.Errorf("waited %s", readyTimeout))
	defer cancel()
	err := machine.Await(ctx, func(status string) { _ = a.Printf("crawlbox: %s\n", status) })
	if err != nil {
		return err
	}
	if cmd.Name() == fleet.RoleWorker {
		return a.Say("worker is ready; `crawlbox status` shows how it is, `journalctl -u crawlbox` what it has logged")
	}
	token, err := api.NewClient(cfg.Socket).Token(ctx, fleet.RoleWorker)
	if elsewhere := (*api.Error)(nil); errors.As(err, &elsewhere) && elsewhere.Code == api.CodeNotManager {
		// It joined, and the tokens are elsewhere.
		return a.Printf("manager is ready; `crawlbox status` shows how it is\n")
	}
	if err != nil || !tui.IsTerminal(a.Env.Stdout) {
		return a.Say("manager is ready; `crawlbox token` prints the join token, for `crawlbox install worker --join " +
			"TOKEN` on each further server")
	}
	return a.Printf("manager is ready; on each further server run\n\n    crawlbox install worker --join %s\n\n",
		token.Join)
}
