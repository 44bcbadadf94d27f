package cli

import (
	"github.com/spf13/cobra"
)

func caCmd(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "ca",
		Short: "Print the certificate of the cluster's CA",
		Long: `Print the certificate of the cluster's CA (PEM). It is no secret. By it programs
that connect to the queue with TLS, or to the registry from outside the cluster,
know that they speak to the cluster.`,
		Example: "  crawlbox ca > ca.pem\n  redis-cli --cacert ca.pem -u $(crawlbox queue url) ping",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.client()
			if err != nil {
				return err
			}
			pem, err := c.CA(cmd.Context())
			if err != nil {
				return err
			}
			return a.printf("%s", pem)
		},
	}
}
