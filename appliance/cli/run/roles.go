package run

import (
	"os"
	"runtime"

	"github.com/spf13/cobra"

	"github.com/crawlbox/crawlbox/appliance/cli/command"
	"github.com/crawlbox/crawlbox/appliance/fleet"
)

func ManagerCmd(a *command.App) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "manager",
		Short: "Run the first node of a cluster, or with --join a further manager",
		Long: `Run the first node of a cluster in the foreground, until a signal: it makes the
swarm or takes up the one it made before, serves the registry, the queue if the
config has it, and the local API, applies the services of the config, and prints
the line that joins a worker.

Killed at any moment and started again it goes on where it was.

With --restore, on a bare machine with any address, it brings back a cluster
from a backup: a file, or the copy that the node at an address keeps. It asks
for the recovery key, or finds it in CRAWLBOX_RECOVERY_KEY. The nodes follow by
themselves.`,
		Example: "  crawlbox manager\n  crawlbox manager --queue --advertise-addr 10.0.0.1\n" +
			"  crawlbox manager --restore 10.0.0.3 --recovery-key-file key",
		Args: command.NoArgs,
	}
	nodeFlags(cmd.Flags())
	dockerFlag(cmd)
	cmd.Flags().Bool("queue", false, "serve the queue, in clear text on the network")
	cmd.Flags().Bool("queue-tls", false, "serve the queue with TLS")
	cmd.Flags().Uint16("queue-port", 7891, "`port` of the queue")
	adopt := cmd.Flags().Bool("adopt-swarm", false, "take over the swarm this machine manages")
	joinFlags(cmd, "join as a further manager with this `token`")
	restoreFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		opts, err := NodeOptions(a, cmd)
		if err != nil {
			return err
		}
		opts.AdoptSwarm = *adopt
		if err := EnsureDocker(a, cmd, opts.Config, false); err != nil {
			return err
		}
		if restored, err := Restore(a, cmd, opts.Config); err != nil {
			return err
		} else if restored {
			if opts, err = NodeOptions(a, cmd); err != nil {
				return err
			}
		}
		return runNode(cmd.Context(), fleet.RoleManager, opts)
	}
	return cmd
}

func WorkerCmd(a *command.App) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "worker",
		Short: "Run a node that joins a cluster, or has joined it",
		Long: `Run a worker in the foreground, until a signal. The join token is needed only
the first time; the manager prints it, and 'crawlbox token' prints it again. It
can also stand in a file, in CRAWLBOX_JOIN, or in the config (join_file).

Killed at any moment and started again it goes on where it was, also while its
manager or its Docker is away.`,
		Example: "  crawlbox worker --join CBX1-…\n  ssh root@manager crawlbox token --uses 1 | crawlbox worker " +
			"--join-file -\n  crawlbox worker",
		Args: command.NoArgs,
	}
	nodeFlags(cmd.Flags())
	dockerFlag(cmd)
	joinFlags(cmd, "join `token` of the cluster")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		opts, err := NodeOptions(a, cmd)
		if err != nil {
			return err
		}
		if err := EnsureDocker(a, cmd, opts.Config, false); err != nil {
			return err
		}
		limitProcs()
		return runNode(cmd.Context(), fleet.RoleWorker, opts)
	}
	return cmd
}

// limitProcs keeps half of the processors free for the spiders, unless the operator has
// said how many to use. On two of them one also does more with its time: there are no
// threads to wake (an image in pieces took 12 % less of it).
func limitProcs() {
	if os.Getenv("GOMAXPROCS") == "" {
		runtime.GOMAXPROCS(max(1, runtime.GOMAXPROCS(0)/2))
	}
}

// RoleCmd returns the command that runs a node of a role.
func RoleCmd(a *command.App, role string) *cobra.Command {
	if role == fleet.RoleManager {
		return ManagerCmd(a)
	}
	return WorkerCmd(a)
}
