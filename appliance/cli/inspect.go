package cli

import "github.com/spf13/cobra"

func inspectCmd(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:               "inspect SERVICE",
		Short:             "Show all of a service as JSON, with Docker's own description",
		Args:              exactlyOne("one service"),
		ValidArgsFunction: a.completeOne(serviceNames),
	}
	jsonFlag(cmd) // accepted like everywhere; there is no other form
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		c, err := a.client()
		if err != nil {
			return err
		}
		v, err := c.Inspect(cmd.Context(), args[0])
		if err != nil {
			return err
		}
		return a.printJSON(v)
	}
	return cmd
}
