package cluster

import (
	"github.com/spf13/cobra"

	"github.com/crawlbox/crawlbox/appliance/api"
	"github.com/crawlbox/crawlbox/appliance/cli/command"
)

func CACmd(a *command.App) *cobra.Command {
	return &cobra.Command{
		Use:   "ca",
		Short: "Print the certificate of the cluster's CA",
		Long: `Print the certificate of the cluster's CA (PEM). It is no secret. By it programs
that connect to the queue with TLS, or to the registry from outside the cluster,
know that they speak to the cluster.`,
		Example: "  crawlbox ca > ca.pem\n  redis-cli --cacert ca.pem -u $(crawlbox queue url) ping",
		Args:    command.NoArgs,
		RunE: a.Asking(func(cmd *cobra.Command, c *api.Client, _ []string) error {
			pem, err := c.CA(cmd.Context())
			if err != nil {
				return err
			}
			return a.Printf("%s", pem)
		}),
	}
}
