package cli

import (
	"github.com/spf13/cobra"

	"github.com/crawlbox/crawlbox/appliance/node"
)

func managerCmd(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "manager",
		Short: "Run the first node of a cluster, or with --join a further manager",
		Long: `Run the first node of a cluster in the foreground, until a signal: it makes the
swarm or takes up the one it made before, serves the registry, the queue if the
config has it, and the local API, applies the services of the config, and prints
the line that joins a worker.

Killed at any moment and started again it goes on where it was.`,
		Example: "  crawlbox manager\n  crawlbox manager --queue --advertise-addr 10.0.0.1",
		Args:    noArgs,
	}
	nodeFlags(cmd.Flags())
	dockerFlag(cmd)
	cmd.Flags().Bool("queue", false, "serve the queue")
	cmd.Flags().Uint16("queue-port", 7891, "`port` of the queue")
	adopt := cmd.Flags().Bool("adopt-swarm", false, "take over the swarm this machine manages")
	joinFlags(cmd, "join as a further manager with this `string`")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		opts, err := a.nodeOptions(cmd)
		if err != nil {
			return err
		}
		opts.AdoptSwarm = *adopt
		if err := a.setJoin(cmd, &opts); err != nil {
			return err
		}
		if err := a.ensureDocker(cmd, opts.Config, false); err != nil {
			return err
		}
		return runNode(cmd.Context(), node.RunManager, opts)
	}
	return cmd
}
