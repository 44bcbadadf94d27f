package cli

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/crawlbox/crawlbox/appliance/fleet"
)

func tokenCmd(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:       "token [worker|manager]",
		Short:     "Print the line that joins a node",
		Args:      atMost(1, "one role"),
		ValidArgs: []string{fleet.RoleWorker, fleet.RoleManager},
	}
	asJSON := jsonFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		role := fleet.RoleWorker
		if len(args) > 0 {
			role = args[0]
		}
		if role != fleet.RoleWorker && role != fleet.RoleManager {
			return usagef(cmd, "unknown role %q; it is worker or manager", role)
		}
		c, err := a.client()
		if err != nil {
			return err
		}
		token, err := c.Token(cmd.Context(), role)
		if err != nil {
			return err
		}
		if *asJSON {
			return a.printJSON(token)
		}
		if isTerminal(a.env.Stdout) {
			fmt.Fprintf(a.env.Stderr, "To join a %s, run this on it as root:\n\n", role)
		}
		return a.printf("%s\n", token.Command)
	}
	return cmd
}
