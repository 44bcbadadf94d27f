package cli

import (
	"bufio"
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/crawlbox/crawlbox/appliance/api"
)

func queueCmd(a *app) *cobra.Command {
	return group(&cobra.Command{Use: "queue", Short: "Look into the embedded queue, and fill it"},
		queueURLCmd(a), queueLenCmd(a), queuePushCmd(a), queuePeekCmd(a), queueClearCmd(a))
}

func queueURLCmd(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "url",
		Short: "Print the queue's URL with its password, as Redis clients take it",
		Example: "  docker service create --env REDIS_URL=$(crawlbox queue url) ...\n" +
			"  redis-cli -u $(crawlbox queue url) ping",
		Args: noArgs,
	}
	return reads(a, cmd, func(ctx context.Context, c *api.Client, _ []string) (api.QueueAddress, error) {
		return c.QueueAddress(ctx)
	}, func(s screen, v api.QueueAddress) { fmt.Fprintln(s.w, v.URL) })
}

func queueLenCmd(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:               "len [KEY]",
		Short:             "Show how long a list is, or all lists",
		Args:              atMostOne("one key"),
		ValidArgsFunction: a.completeOne(queueKeys),
	}
	asJSON := jsonFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		c, err := a.client()
		if err != nil {
			return err
		}
		lists, err := c.QueueLen(cmd.Context(), strings.Join(args, ""))
		if err != nil {
			return err
		}
		if len(args) == 1 && len(lists) == 1 && !*asJSON {
			return a.printf("%d\n", lists[0].Len)
		}
		return show(a, *asJSON, lists, renderLists)
	}
	return cmd
}

func renderLists(s screen, lists []api.Items) {
	t := table{columns: []column{{head: "KEY", min: 16}, {head: "ITEMS"}}}
	for _, l := range lists {
		t.add(cell{text: l.Key}, cell{text: strconv.FormatInt(l.Len, 10)})
	}
	t.write(s)
}

func queuePeekCmd(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:               "peek KEY",
		Short:             "Show the next items of a list, one a line, without taking them",
		Args:              exactlyOne("one key"),
		ValidArgsFunction: a.completeOne(queueKeys),
	}
	asJSON := jsonFlag(cmd)
	n := cmd.Flags().IntP("number", "n", 10, "how many `items`")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if *n < 1 {
			return usagef(cmd, "--number is %d; it must be 1 or more", *n)
		}
		c, err := a.client()
		if err != nil {
			return err
		}
		items, err := c.QueuePeek(cmd.Context(), args[0], *n)
		if err != nil {
			return err
		}
		return show(a, *asJSON, items, func(s screen, v api.Items) {
			for _, item := range v.Items {
				fmt.Fprintln(s.w, item)
			}
		})
	}
	return cmd
}

func queueClearCmd(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:               "clear KEY",
		Short:             "Delete a list",
		Args:              exactlyOne("one key"),
		ValidArgsFunction: a.completeOne(queueKeys),
	}
	yes := cmd.Flags().BoolP("yes", "y", false, "do not ask")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		key := args[0]
		if !*yes && !isTerminal(a.env.Stdin) {
			return usagef(cmd, "nobody can be asked here; say --yes to delete all items of %s", key)
		}
		c, err := a.client()
		if err != nil {
			return err
		}
		if !*yes {
			if err := a.confirmClear(cmd.Context(), c, key); err != nil {
				return err
			}
		}
		was, err := c.QueueClear(cmd.Context(), key)
		if err != nil {
			return err
		}
		return a.printf("%s: %s deleted\n", key, count(int(was.Len), "item"))
	}
	return cmd
}

func (a *app) confirmClear(ctx context.Context, c *api.Client, key string) error {
	lists, err := c.QueueLen(ctx, key)
	if err != nil {
		return err
	}
	var n int64
	for _, l := range lists {
		n += l.Len
	}
	fmt.Fprintf(a.env.Stderr, "Delete %s of %s? [y/N] ", count(int(n), "item"), key)
	answer, err := ask(ctx, a.env)
	if err != nil {
		return err
	}
	if a := strings.ToLower(answer); a != "y" && a != "yes" {
		return fmt.Errorf("%s: nothing deleted", key)
	}
	return nil
}

// ask reads one line, or until ctx ends: a read from a terminal does not end by
// itself, but the process does.
func ask(ctx context.Context, env Env) (string, error) {
	line := make(chan string, 1)
	go func() {
		text, _ := bufio.NewReader(env.Stdin).ReadString('\n')
		line <- strings.TrimSpace(text)
	}()
	select {
	case text := <-line:
		return text, nil
	case <-ctx.Done():
		fmt.Fprintln(env.Stderr)
		return "", ctx.Err()
	}
}
