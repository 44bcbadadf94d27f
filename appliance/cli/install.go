package cli

import (
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/crawlbox/crawlbox/appliance/api"
	"github.com/crawlbox/crawlbox/appliance/doctor"
	"github.com/crawlbox/crawlbox/appliance/fleet"
	"github.com/crawlbox/crawlbox/appliance/upgrade"
	"github.com/crawlbox/crawlbox/configs"
	"github.com/crawlbox/crawlbox/systemd"
	"github.com/crawlbox/crawlbox/systemd/install"
)

// readyTimeout bounds how long an install waits for the node. Docker may take a
// minute and a half to join a swarm.
const readyTimeout = 3 * time.Minute

func installCmd(a *app) *cobra.Command {
	return group(&cobra.Command{
		Use:   "install",
		Short: "Make this server a node for good, run by systemd",
	}, a.installRole(managerCmd(a)), a.installRole(workerCmd(a)))
}

// installRole makes of a command that runs a node the one that installs it: it takes
// the same flags.
func (a *app) installRole(cmd *cobra.Command) *cobra.Command {
	role := cmd.Name()
	cmd.Short = map[string]string{
		fleet.RoleManager: "Install the first node of a cluster, or a further manager",
		fleet.RoleWorker:  "Install a node that joins a cluster",
	}[role]
	cmd.Long = fmt.Sprintf(`Install crawlbox as a service of systemd and wait until it is ready. The flags
are those of 'crawlbox %s', and go into the unit; a join string does not,
it is deleted once the node has joined.

It copies itself to %s and writes, where there is none, a
config file that explains every key. Run again with other flags it changes what
differs, and says what. A unit that was edited by hand stays.`, role, install.Program)
	cmd.Example = map[string]string{
		fleet.RoleManager: "  crawlbox install manager --queue\n  crawlbox install manager --dry-run",
		fleet.RoleWorker:  "  crawlbox install worker --join CBX1-…\n  ssh root@manager crawlbox token | crawlbox install worker --join-file -",
	}[role]
	dry := cmd.Flags().Bool("dry-run", false, "only print the files and commands")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error { return a.install(cmd, *dry) }
	return cmd
}

func (a *app) install(cmd *cobra.Command, dry bool) error {
	machine := install.This()
	if !machine.HasSystemd() {
		return fmt.Errorf("this machine is not run by systemd; let its own init system run `crawlbox %s`, or run that in the foreground", cmd.Name())
	}
	if err := doctor.Root(); err != nil && !dry {
		return err
	}
	want, cfg, err := a.wanted(cmd)
	if err != nil {
		return err
	}
	if err := upgrade.In(cfg.DataDir).Underway(); err != nil && !dry {
		return err
	}
	if err := a.ensureDocker(cmd, cfg, dry); err != nil {
		return err
	}
	if err := a.missesDocker(cmd.Context(), machine, cfg); err != nil && !dry {
		return err
	}
	plan, err := machine.Install(cmd.Context(), want)
	if err != nil {
		return err
	}
	plan.Notes = append(plan.Notes, notTaken(os.Environ())...)
	if dry {
		return a.printPlan(plan)
	}
	for _, note := range plan.Notes {
		_ = a.printf("%s\n", note)
	}
	if err := machine.Do(cmd.Context(), plan, a.sayStep); err != nil {
		return err
	}
	if len(plan.Steps) == 0 {
		_ = a.printf("nothing has to be changed\n")
	}
	return a.awaitNode(cmd, machine, cfg)
}

func (a *app) printPlan(p install.Plan) error {
	a.printSteps(p)
	return a.printf("nothing was changed\n")
}

func (a *app) printSteps(p install.Plan) {
	for _, note := range p.Notes {
		_ = a.printf("%s\n", note)
	}
	for _, step := range p.Steps {
		_ = a.printf("%s\n", step)
		if w, ok := step.(install.Write); ok && (strings.HasPrefix(w.Path, systemd.Dir) || strings.HasSuffix(w.Path, ".list")) {
			_ = a.printf("    %s\n", strings.ReplaceAll(strings.TrimSpace(w.Text), "\n", "\n    "))
		}
	}
}

func (a *app) sayStep(s install.Step) { _ = a.printf("%s\n", s) }

// awaitNode waits until the node is ready and says what comes next.
func (a *app) awaitNode(cmd *cobra.Command, machine *install.Machine, cfg configs.Config) error {
	ctx, cancel := context.WithTimeoutCause(cmd.Context(), readyTimeout, fmt.Errorf("waited %s", readyTimeout))
	defer cancel()
	err := machine.Await(ctx, func(status string) { _ = a.printf("crawlbox: %s\n", status) })
	if err != nil {
		return err
	}
	if cmd.Name() == fleet.RoleWorker {
		return a.printf("worker is ready; `crawlbox status` shows how it is, `journalctl -u crawlbox` what it has logged\n")
	}
	token, err := api.NewClient(cfg.Socket).Token(ctx, fleet.RoleWorker)
	if err != nil || !isTerminal(a.env.Stdout) {
		return a.printf("manager is ready; `crawlbox token` prints the join string, for `crawlbox install worker --join STRING` on each further server\n")
	}
	return a.printf("manager is ready; on each further server run\n\n    crawlbox install worker --join %s\n\n", token.Join)
}
