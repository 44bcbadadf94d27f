package data

import (
	"context"
	"fmt"
	"slices"
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
		queueURLCmd(a), queueLenCmd(a), queuePushCmd(a), queuePeekCmd(a), queueClearCmd(a), queueWatchCmd(a),
		queueInFlightCmd(a), queueDeadCmd(a), queueImportCmd(a), queueExportCmd(a))
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
		Use:   "len [KEY]",
		Short: "Show how many items a key has, or all keys",
		Long: `Show how many items a list, a set or a sorted set has, or a hash fields, or list
the keys with their types.

Of keys that are safe (queue.safe in the config) it shows how many items wait,
how many are held by containers, to come back if these are killed, and how many
came back too often. With KEY it is the number of those that wait.`,
		Example:           "  crawlbox queue len\n  crawlbox queue len urls",
		Args:              command.AtMostOne("one key"),
		ValidArgsFunction: a.CompleteOne(command.QueueKeys),
	}
	single := false
	return command.Reads(a, cmd, func(ctx context.Context, c *api.Client, args []string) ([]api.Items, error) {
		single = len(args) == 1
		return c.QueueLen(ctx, strings.Join(args, ""))
	}, func(s tui.Screen, keys []api.Items) {
		if single && len(keys) == 1 {
			fmt.Fprintln(s.W, keys[0].Len)
			return
		}
		renderKeys(s, keys)
	})
}

func renderKeys(s tui.Screen, keys []api.Items) {
	t := tui.Table{Columns: []tui.Column{{Head: "KEY", Min: 16}, {Head: "TYPE"}, {Head: "ITEMS"}}}
	safe := slices.ContainsFunc(keys, func(k api.Items) bool { return k.Dead != nil })
	if safe {
		t.Columns[2].Head = "WAITING"
		t.Columns = append(t.Columns, tui.Column{Head: "IN FLIGHT"}, tui.Column{Head: "DEAD"})
	}
	uncounted := false
	for _, k := range keys {
		cells := []tui.Cell{
			tui.Text(k.Key), tui.Text(tui.OrDash(typeName(k.Type))), tui.Text(strconv.FormatInt(k.Len, 10)),
		}
		if safe {
			cells = append(cells, tui.Text(countText(k.InFlight)), tui.Text(countText(k.Dead)))
		}
		uncounted = uncounted || k.Dead != nil && k.InFlight == nil
		t.Add(cells...)
	}
	t.Write(s)
	if uncounted {
		fmt.Fprintln(s.W, s.Fit("More is in flight than is counted."))
	}
	if len(keys) >= api.MaxKeys {
		fmt.Fprintln(s.W, s.Fit(fmt.Sprintf("Only %d keys are listed.", len(keys))))
	}
}

// countText returns a number that is not known of each key.
func countText(n *int64) string {
	if n == nil {
		return "-"
	}
	return strconv.FormatInt(*n, 10)
}

func typeName(is string) string {
	if is == "zset" {
		return "sorted set"
	}
	return is
}

func queuePeekCmd(a *command.App) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "peek KEY",
		Short: "Show the next items of a key, one a line, without taking them",
		Long: `Show the next items of a key, one a line, without taking them: of a list its
head, of a sorted set the lowest scores with their items, of a hash names and
values.`,
		Example:           "  crawlbox queue peek urls\n  crawlbox queue peek urls -n 100",
		Args:              command.ExactlyOne("one key"),
		ValidArgsFunction: a.CompleteOne(command.QueueKeys),
	}
	n := cmd.Flags().IntP("number", "n", 10, "how many `items`")
	command.Reads(a, cmd, func(ctx context.Context, c *api.Client, args []string) (is api.Items, err error) {
		if *n < 1 {
			return api.Items{}, command.Usagef(cmd, "--number is %d; it must be 1 or more", *n)
		}
		is, err = c.QueuePeek(ctx, args[0], *n)
		if err == nil && len(is.Items) == 0 {
			err = a.Tell("crawlbox: there is nothing in %s", args[0])
		}
		return is, err
	}, renderItems)
	return cmd
}

func renderItems(s tui.Screen, v api.Items) {
	for i, item := range v.Items {
		switch {
		case i < len(v.Scores):
			item = strconv.FormatFloat(v.Scores[i], 'g', -1, 64) + "\t" + item
		case i < len(v.Values):
			item += "\t" + v.Values[i]
		}
		fmt.Fprintln(s.W, item)
	}
}

func queueClearCmd(a *command.App) *cobra.Command {
	cmd := &cobra.Command{
		Use:               "clear KEY",
		Short:             "Delete a key with all its items",
		Example:           "  crawlbox queue clear urls",
		Args:              command.ExactlyOne("one key"),
		ValidArgsFunction: a.CompleteOne(command.QueueKeys),
	}
	yes := command.YesFlag(cmd)
	cmd.RunE = a.Asking(func(cmd *cobra.Command, c *api.Client, args []string) error {
		key := args[0]
		if !*yes {
			if err := confirmClear(a, cmd, c, key); err != nil {
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

func confirmClear(a *command.App, cmd *cobra.Command, c *api.Client, key string) error {
	lists, err := c.QueueLen(cmd.Context(), key)
	if err != nil {
		return err
	}
	var n int64
	for _, l := range lists {
		n += l.Len
	}
	return a.Sure(cmd, command.Question{
		Do:  fmt.Sprintf("delete %s of %s", words.Count(int(n), "item"), key),
		Not: key + ": nothing deleted",
	})
}
