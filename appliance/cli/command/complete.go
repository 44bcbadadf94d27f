package command

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/crawlbox/crawlbox/appliance/api"
	"github.com/crawlbox/crawlbox/appliance/cluster/token"
	"github.com/crawlbox/crawlbox/appliance/fleet"
	"github.com/crawlbox/crawlbox/appliance/runs"
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

// CompleteOr completes an argument that may also be a path, which the shell completes where no
// name fits.
func (a *App) CompleteOr(list names) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, text string) ([]string, cobra.ShellCompDirective) {
		if strings.ContainsAny(text, "./~") {
			return nil, cobra.ShellCompDirectiveDefault
		}
		found, _ := a.Complete(list)(cmd, args, text)
		return found, cobra.ShellCompDirectiveDefault
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

// namesOf lists the names of what list returns, but for empty ones.
func namesOf[T any](list func(*api.Client, context.Context) ([]T, error), name func(T) string) names {
	return func(ctx context.Context, c *api.Client) (found []string, err error) {
		all, err := list(c, ctx)
		for _, v := range all {
			if text := name(v); text != "" {
				found = append(found, text)
			}
		}
		return found, err
	}
}

var (
	ServiceNames = namesOf((*api.Client).Services, func(s fleet.Service) string { return s.Name })
	NodeNames    = namesOf((*api.Client).Nodes, func(n fleet.Node) string { return n.Display })
	// RunNames lists runs, those of which a record is kept too.
	RunNames = namesOf(func(c *api.Client, ctx context.Context) ([]runs.Record, error) {
		return c.Runs(ctx, api.RunQuery{Most: 100})
	},
		func(r runs.Record) string { return r.ID })
	SilenceNames = func(ctx context.Context, c *api.Client) (names []string, err error) {
		seen, err := c.Alerts(ctx)
		for _, s := range seen.Silences {
			names = append(names, s.Of)
		}
		return names, err
	}
	ChannelNames = func(ctx context.Context, c *api.Client) (names []string, err error) {
		seen, err := c.Alerts(ctx)
		for _, ch := range seen.Channels {
			names = append(names, ch.Name)
		}
		return names, err
	}
	ScheduleNames = namesOf((*api.Client).Schedules, func(s api.Schedule) string { return s.Name })
	ImageNames    = namesOf(func(c *api.Client, ctx context.Context) ([]fleet.Image, error) {
		return c.Images(ctx, false)
	},
		func(i fleet.Image) string { return i.Repository + ":" + i.Tag })
	AccountNames = namesOf((*api.Client).RegistryAccounts, func(a api.RegistryAccount) string { return a.Name })
	// QueueKeys lists the lists of the queue.
	QueueKeys = namesOf(func(c *api.Client, ctx context.Context) ([]api.Items, error) { return c.QueueLen(ctx, "") },
		func(l api.Items) string { return l.Key })
)

// AllTokenIDs lists tokens that are of no use any more too.
var AllTokenIDs = namesOf((*api.Client).Tokens, func(t token.Info) string { return t.ID })

// TokenIDs lists the tokens that can still be revoked.
var TokenIDs = namesOf((*api.Client).Tokens, func(t token.Info) string {
	if t.State != token.StateGood {
		return ""
	}
	return t.ID
})

// NodeReferences lists what may stand for a node.
func NodeReferences(ctx context.Context, c *api.Client) ([]string, error) {
	nodes, err := c.Nodes(ctx)
	var found []string
	for _, n := range nodes {
		found = append(found, n.Display, n.Name, n.ID, n.Addr)
	}
	return found, err
}

// TaskNames lists tasks and services: logs takes both.
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

// PullNames lists images by the names that services use.
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

// completionTimeout bounds how long the Tab key takes.
const completionTimeout = time.Second
