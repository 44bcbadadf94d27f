package cli

import "github.com/spf13/cobra"

func leaveCmd(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "leave",
		Short: "Take this node out of the cluster and end its crawlbox",
		Args:  noArgs,
	}
	force := cmd.Flags().Bool("force", false, "leave although the cluster ends or suffers by it")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		c, err := a.client()
		if err != nil {
			return err
		}
		if err := c.Leave(cmd.Context(), *force); err != nil {
			return err
		}
		return a.printf("this node has left the cluster\n")
	}
	return cmd
}
