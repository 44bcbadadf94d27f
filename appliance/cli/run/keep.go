package run

import (
	"context"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/crawlbox/crawlbox/appliance/cli/command"
	"github.com/crawlbox/crawlbox/appliance/upgrade"
	"github.com/crawlbox/crawlbox/configs"
	"github.com/crawlbox/crawlbox/systemd/install"
	"github.com/crawlbox/crawlbox/systemd/notify"
)

// keepCommand is the command that crawlbox-upgrade.service runs, with the version before.
const keepCommand = "keep"

// KeepCmd returns crawlbox keep, which finishes the upgrade of this node.
func KeepCmd(a *command.App) *cobra.Command {
	cmd := &cobra.Command{
		Use:    keepCommand,
		Short:  "Bring the upgrade of this node to its end",
		Hidden: true,
		Args:   command.NoArgs,
	}
	dir := cmd.Flags().String("data-dir", configs.Default().DataDir, "state `dir` of the node")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return upgrade.Keeper{
			Directory: upgrade.In(*dir),
			Service:   service{install.LocalMachine()},
			Timeout:   upgrade.ReadyTimeout,
			Steady:    upgrade.SteadyTime,
			Log:       a.Log,
		}.Run(cmd.Context())
	}
	return cmd
}

// KeeperOf returns the command that upgrades a node.
func KeeperOf(cfg configs.Config) []string {
	dir, err := filepath.Abs(cfg.DataDir)
	if err != nil {
		dir = cfg.DataDir
	}
	return []string{upgrade.In(dir).Keeper(), keepCommand, "--data-dir", dir}
}

// startKeeper starts the keeper of this process's node. It is nil where systemd does not
// run this process as `crawlbox install` would have it.
func startKeeper(machine *install.Machine) func(context.Context) error {
	self, err := os.Executable()
	if err != nil || !isInstalled(self) || !notify.Listening() || !machine.HasUpgradeUnit() {
		return nil
	}
	return machine.StartUpgrade
}

// isInstalled reports whether a program, without symbolic links in its path, is the one
// that is installed. /usr/local may be a link.
func isInstalled(self string) bool {
	dir, err := filepath.EvalSymlinks(filepath.Dir(install.Program))
	return err == nil && self == filepath.Join(dir, filepath.Base(install.Program))
}

// service is crawlbox.service as the keeper sees it.
type service struct{ machine *install.Machine }

func (s service) Restart(ctx context.Context) error { return s.machine.Restart(ctx) }

func (s service) Await(ctx context.Context) error { return s.machine.Await(ctx, func(string) {}) }

func (s service) Program(ctx context.Context) (string, error) { return s.machine.Running(ctx) }
