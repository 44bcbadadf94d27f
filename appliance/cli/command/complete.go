package command

import (
	"context"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/crawlbox/crawlbox/appliance/api"
	"github.com/crawlbox/crawlbox/appliance/cluster/token"
)

// names lists what can stand for an argument.
type names func(context.Context, *api.Client) ([]string, error)

// Complete completes an argument of which there may be several. Where no
// crawlbox runs it is silent: an error would break the line being typed.
func (a *App) Complete(list names) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
		found := slices.DeleteFunc(a.Ask(cmd, list), func(name string) bool { return slices.Contains(args, name) })
		return found, cobra.ShellCompDirectiveNoFileComp
	}
}

// CompleteOne completes the first argument only.
func (a *App) CompleteOne(list names) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
		if len(args) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return a.Ask(cmd, list), cobra.ShellCompDirectiveNoFileComp
	}
}

func (a *App) Ask(cmd *cobra.Command, list names) []string {
	ctx, cancel := context.WithTimeout(cmd.Context(), completionTimeout)
	defer cancel()
	c, err := a.Client()
	if err != nil {
		return nil
	}
	found, err := list(ctx, c)
	if err != nil {
		return nil
	}
	return found
}

// ServiceNames lists the services.
func ServiceNames(ctx context.Context, c *api.Client) ([]string, error) {
	services, err := c.Services(ctx)
	var found []string
	for _, s := range services {
		found = append(found, s.Name)
	}
	return found, err
}

// TaskNames returns tasks and services: logs takes both.
func TaskNames(ctx context.Context, c *api.Client) ([]string, error) {
	found, err := ServiceNames(ctx, c)
	if err != nil {
		return nil, err
	}
	tasks, err := c.Tasks(ctx, api.TaskQuery{})
	for _, t := range tasks {
		found = append(found, t.Name())
	}
	return found, err
}

// NodeNames lists the nodes.
func NodeNames(ctx context.Context, c *api.Client) ([]string, error) {
	nodes, err := c.Nodes(ctx)
	var found []string
	for _, n := range nodes {
		found = append(found, n.Display)
	}
	return found, err
}

// ImageNames lists the images of the registry.
func ImageNames(ctx context.Context, c *api.Client) ([]string, error) {
	images, err := c.Images(ctx, false)
	var found []string
	for _, i := range images {
		found = append(found, i.Repository+":"+i.Tag)
	}
	return found, err
}

// PullNames returns images by the names that services use.
func PullNames(ctx context.Context, c *api.Client) ([]string, error) {
	found, err := ImageNames(ctx, c)
	if err != nil || len(found) == 0 {
		return nil, err
	}
	st, err := c.Status(ctx)
	for i := range found {
		found[i] = st.Registry.Local + "/" + found[i]
	}
	return found, err
}

// TokenIDs returns the tokens that can still be revoked.
func TokenIDs(ctx context.Context, c *api.Client) ([]string, error) {
	tokens, err := c.Tokens(ctx)
	var found []string
	for _, t := range tokens {
		if t.State == token.StateGood {
			found = append(found, t.ID)
		}
	}
	return found, err
}

// AccountNames lists the accounts that may push.
func AccountNames(ctx context.Context, c *api.Client) ([]string, error) {
	accounts, err := c.RegistryAccounts(ctx)
	var found []string
	for _, account := range accounts {
		found = append(found, account.Name)
	}
	return found, err
}

// QueueKeys lists the lists of the queue.
func QueueKeys(ctx context.Context, c *api.Client) ([]string, error) {
	lists, err := c.QueueLen(ctx, "")
	var found []string
	for _, l := range lists {
		found = append(found, l.Key)
	}
	return found, err
}

// completionTimeout bounds how long the Tab key takes.
const completionTimeout = time.Second
