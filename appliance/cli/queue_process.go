package cli

import (
	"github.com/spf13/cobra"

	"github.com/crawlbox/crawlbox/appliance/queueproc"
)

// queueProcessCmd is what a manager starts for its queue.
func queueProcessCmd(a *app) *cobra.Command {
	return &cobra.Command{
		Use:    queueproc.Command,
		Short:  "The process of the queue",
		Hidden: true,
		Args:   noArgs,
		RunE:   func(*cobra.Command, []string) error { return queueproc.Main(a.log) },
	}
}
