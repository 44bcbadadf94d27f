package data

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/crawlbox/crawlbox/appliance/api"
	"github.com/crawlbox/crawlbox/appliance/base/words"
	"github.com/crawlbox/crawlbox/appliance/cli/command"
	"github.com/crawlbox/crawlbox/appliance/cli/tui"
)

func QueueCmd(a *command.App) *cobra.Command {
	return command.Group(&cobra.Command{Use: "queue", Short: "Look into the embedded queue, and fill it"},
		queueURLCmd(a), queueLenCmd(a), queuePushCmd(a), queuePeekCmd(a), queueClearCmd(a))
}

func queueURLCmd(a *command.App) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "url",
		Short: "Print the queue's URL with its password, as Redis clients take it",
		Long: `Print the queue's URL with its password, as Redis clients take it. What crawlbox
deploys knows it by itself, as REDIS_URL and CRAWLBOX_QUEUE_URL.`,
		Example: "  redis-cli -u $(crawlbox queue url) ping\n" +
			"  docker service create --env REDIS_URL=$(crawlbox queue url) ...",
		Args: command.NoArgs,
	}
	return command.ReadsAll(a, cmd, (*api.Client).QueueAddress,
		func(s tui.Screen, v api.QueueAddress) { fmt.Fprintln(s.W, v.URL) })
}

func queueLenCmd(a *command.App) *cobra.Command {
	cmd := &cobra.Command{
		Use:               "len [KEY]",
		Short:             "Show how long a list is, or all lists",
		Args:              command.AtMostOne("one key"),
		ValidArgsFunction: a.CompleteOne(command.QueueKeys),
	}
	asJSON := command.JSONFlag(cmd)
	cmd.RunE = a.Asking(func(cmd *cobra.Command, c *api.Client, args []string) error {
		lists, err := c.QueueLen(cmd.Context(), strings.Join(args, ""))
		if err != nil {
			return err
		}
		if len(args) == 1 && len(lists) == 1 && !*asJSON {
			return a.Printf("%d\n", lists[0].Len)
		}
		return command.Show(a, *asJSON, lists, renderLists)
	})
	return cmd
}

func renderLists(s tui.Screen, lists []api.Items) {
	t := tui.Table{Columns: []tui.Column{{Head: "KEY", Min: 16}, {Head: "ITEMS"}}}
	for _, l := range lists {
		t.Add(tui.Text(l.Key), tui.Text(strconv.FormatInt(l.Len, 10)))
	}
	t.Write(s)
}

func queuePeekCmd(a *command.App) *cobra.Command {
	cmd := &cobra.Command{
		Use:               "peek KEY",
		Short:             "Show the next items of a list, one a line, without taking them",
		Args:              command.ExactlyOne("one key"),
		ValidArgsFunction: a.CompleteOne(command.QueueKeys),
	}
	n := cmd.Flags().IntP("number", "n", 10, "how many `items`")
	return command.Reads(a, cmd, func(ctx context.Context, c *api.Client, args []string) (api.Items, error) {
		if *n < 1 {
			return api.Items{}, command.Usagef(cmd, "--number is %d; it must be 1 or more", *n)
		}
		return c.QueuePeek(ctx, args[0], *n)
	}, func(s tui.Screen, v api.Items) {
		for _, item := range v.Items {
			fmt.Fprintln(s.W, item)
		}
	})
}

func queueClearCmd(a *command.App) *cobra.Command {
	cmd := &cobra.Command{
		Use:               "clear KEY",
		Short:             "Delete a list",
		Args:              command.ExactlyOne("one key"),
		ValidArgsFunction: a.CompleteOne(command.QueueKeys),
	}
	yes := cmd.Flags().BoolP("yes", "y", false, "do not ask")
	cmd.RunE = a.Asking(func(cmd *cobra.Command, c *api.Client, args []string) error {
		key := args[0]
		if !*yes && !tui.IsTerminal(a.Env.Stdin) {
			return command.Usagef(cmd, "nobody can be asked here; say --yes to delete all items of %s", key)
		}
		if !*yes {
			if err := confirmClear(a, cmd.Context(), c, key); err != nil {
				return err
			}
		}
		was, err := c.QueueClear(cmd.Context(), key)
		if err != nil {
			return err
		}
		return a.Printf("%s: %s deleted\n", key, words.Count(int(was.Len), "item"))
	})
	return cmd
}

func confirmClear(a *command.App, ctx context.Context, c *api.Client, key string) error {
	lists, err := c.QueueLen(ctx, key)
	if err != nil {
		return err
	}
	var n int64
	for _, l := range lists {
		n += l.Len
	}
	fmt.Fprintf(a.Env.Stderr, "Delete %s of %s? [y/N] ", words.Count(int(n), "item"), key)
	answer, err := command.Ask(ctx, a.Env)
	if err != nil {
		return err
	}
	if a := strings.ToLower(answer); a != "y" && a != "yes" {
		return fmt.Errorf("%s: nothing deleted", key)
	}
	return nil
}
