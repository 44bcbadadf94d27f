package cli

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/crawlbox/crawlbox/appliance/api"
)

// completionTimeout bounds how long the Tab key takes.
const completionTimeout = time.Second

func completionCmd() *cobra.Command {
	return &cobra.Command{
		Use:   "completion bash|zsh|fish",
		Short: "Print the completion script of a shell",
		Long: `Print the completion script of a shell. To have it in every new shell:

  crawlbox completion bash > /etc/bash_completion.d/crawlbox
  crawlbox completion zsh > "${fpath[1]}/_crawlbox"
  crawlbox completion fish > ~/.config/fish/completions/crawlbox.fish`,
		Args:      exactlyOne("one of bash, zsh and fish"),
		ValidArgs: []string{"bash", "zsh", "fish"},
		RunE: func(cmd *cobra.Command, args []string) error {
			root, out := cmd.Root(), cmd.OutOrStdout()
			switch args[0] {
			case "bash":
				return root.GenBashCompletionV2(out, true)
			case "zsh":
				return root.GenZshCompletion(out)
			case "fish":
				return root.GenFishCompletion(out, true)
			}
			return usagef(cmd, "unknown shell %q; it is bash, zsh or fish", args[0])
		},
	}
}

// names lists what can stand for an argument.
type names func(context.Context, *api.Client) ([]string, error)

// complete completes an argument of which there may be several. Where no
// crawlbox runs it is silent: an error would break the line being typed.
func (a *app) complete(list names) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
		found := slices.DeleteFunc(a.ask(cmd, list), func(name string) bool { return slices.Contains(args, name) })
		return found, cobra.ShellCompDirectiveNoFileComp
	}
}

// completeOne completes the first argument only.
func (a *app) completeOne(list names) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
		if len(args) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return a.ask(cmd, list), cobra.ShellCompDirectiveNoFileComp
	}
}

// completeScale completes SERVICE to SERVICE= and leaves the number to the user.
func (a *app) completeScale(cmd *cobra.Command, args []string, text string) ([]string, cobra.ShellCompDirective) {
	if strings.Contains(text, "=") {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var found []string
	for _, name := range a.ask(cmd, serviceNames) {
		given := slices.ContainsFunc(args, func(arg string) bool { return strings.HasPrefix(arg, name+"=") })
		if !given {
			found = append(found, name+"=")
		}
	}
	return found, cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveNoSpace
}

func (a *app) ask(cmd *cobra.Command, list names) []string {
	ctx, cancel := context.WithTimeout(cmd.Context(), completionTimeout)
	defer cancel()
	c, err := a.client()
	if err != nil {
		return nil
	}
	found, err := list(ctx, c)
	if err != nil {
		return nil
	}
	return found
}

func serviceNames(ctx context.Context, c *api.Client) ([]string, error) {
	services, err := c.Services(ctx)
	var found []string
	for _, s := range services {
		found = append(found, s.Name)
	}
	return found, err
}

// taskNames are the services too: logs takes both.
func taskNames(ctx context.Context, c *api.Client) ([]string, error) {
	found, err := serviceNames(ctx, c)
	if err != nil {
		return nil, err
	}
	tasks, err := c.Tasks(ctx, api.TaskQuery{})
	for _, t := range tasks {
		found = append(found, t.Name())
	}
	return found, err
}

func nodeNames(ctx context.Context, c *api.Client) ([]string, error) {
	nodes, err := c.Nodes(ctx)
	var found []string
	for _, n := range nodes {
		found = append(found, n.Display)
	}
	return found, err
}

func imageNames(ctx context.Context, c *api.Client) ([]string, error) {
	images, err := c.Images(ctx, false)
	var found []string
	for _, i := range images {
		found = append(found, i.Repository+":"+i.Tag)
	}
	return found, err
}

// pullNames are images by the names that services use.
func pullNames(ctx context.Context, c *api.Client) ([]string, error) {
	found, err := imageNames(ctx, c)
	if err != nil || len(found) == 0 {
		return nil, err
	}
	st, err := c.Status(ctx)
	for i := range found {
		found[i] = st.Registry.Local + "/" + found[i]
	}
	return found, err
}

// tokenIDs are the tokens that can still be revoked.
func tokenIDs(ctx context.Context, c *api.Client) ([]string, error) {
	tokens, err := c.Tokens(ctx)
	var found []string
	for _, t := range tokens {
		if t.State == api.TokenGood {
			found = append(found, t.ID)
		}
	}
	return found, err
}

func accountNames(ctx context.Context, c *api.Client) ([]string, error) {
	accounts, err := c.RegistryAccounts(ctx)
	var found []string
	for _, account := range accounts {
		found = append(found, account.Name)
	}
	return found, err
}

func queueKeys(ctx context.Context, c *api.Client) ([]string, error) {
	lists, err := c.QueueLen(ctx, "")
	var found []string
	for _, l := range lists {
		found = append(found, l.Key)
	}
	return found, err
}
