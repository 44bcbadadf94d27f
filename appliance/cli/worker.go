package cli

import (
	"context"
	"os"
	"runtime"

	"github.com/spf13/cobra"

	"github.com/crawlbox/crawlbox/appliance/fleet"
	"github.com/crawlbox/crawlbox/appliance/node"
)

func workerCmd(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "worker",
		Short: "Run a node that joins a cluster, or has joined it",
		Long: `Run a worker in the foreground, until a signal. The join string is needed only
the first time; the manager prints it, and 'crawlbox token' prints it again. It
can also stand in a file, in CRAWLBOX_JOIN, or in the config (join_file).

Killed at any moment and started again it goes on where it was, also while its
manager or its Docker is away.`,
		Example: "  crawlbox worker --join CBX1-…\n  ssh root@manager crawlbox token --uses 1 | crawlbox worker --join-file -\n  crawlbox worker",
		Args:    noArgs,
	}
	nodeFlags(cmd.Flags())
	dockerFlag(cmd)
	joinFlags(cmd, "join `string` of the cluster")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		opts, err := a.nodeOptions(cmd)
		if err != nil {
			return err
		}
		if err := a.setJoin(cmd, &opts); err != nil {
			return err
		}
		if err := a.ensureDocker(cmd, opts.Config, false); err != nil {
			return err
		}
		leaveRoom()
		return runNode(cmd.Context(), runWorker, opts)
	}
	return cmd
}

// leaveRoom keeps half of the processors free for the spiders, unless the operator has
// said how many to use. On two of them one also does more with its time: there are no
// threads to wake (an image in pieces took 12 % less of it).
func leaveRoom() {
	if os.Getenv("GOMAXPROCS") == "" {
		runtime.GOMAXPROCS(max(1, runtime.GOMAXPROCS(0)/2))
	}
}

func runWorker(ctx context.Context, opts node.Options) error {
	return node.RunWorker(ctx, fleet.RoleWorker, opts)
}
