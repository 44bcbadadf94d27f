package data

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/crawlbox/crawlbox/appliance/api"
	"github.com/crawlbox/crawlbox/appliance/base/words"
	"github.com/crawlbox/crawlbox/appliance/cli/command"
	"github.com/crawlbox/crawlbox/appliance/cli/tui"
)

func queueInFlightCmd(a *command.App) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "inflight [KEY]",
		Short: "Show which items of safe keys are held, by whom and for how long",
		Long: `Show which items of safe keys (queue.safe in the config) consumers have popped
and not done yet, the container that holds each, and for how long.`,
		Example:           "  crawlbox queue inflight\n  crawlbox queue inflight urls -n 1000",
		Args:              command.AtMostOne("one key"),
		ValidArgsFunction: a.CompleteOne(command.QueueKeys),
	}
	n := someFlag(cmd, 50, "items")
	return command.Reads(a, cmd, func(ctx context.Context, c *api.Client, args []string) (api.InFlight, error) {
		if err := judgeSome(cmd, *n); err != nil {
			return api.InFlight{}, err
		}
		return c.QueueInFlight(ctx, strings.Join(args, ""), *n)
	}, renderHeld)
}

// someFlag adds how many of something are asked for.
func someFlag(cmd *cobra.Command, n int, what string) *int {
	return cmd.Flags().IntP("number", "n", n, "how many `"+what+"` at the most")
}

func judgeSome(cmd *cobra.Command, n int) error {
	if n < 1 || n > api.MaxKeys {
		return command.Usagef(cmd, "--number is %d; it must be from 1 to %d", n, api.MaxKeys)
	}
	return nil
}

func renderHeld(s tui.Screen, v api.InFlight) {
	t := tui.Table{Columns: []tui.Column{
		{Head: "ITEM", Min: 16}, {Head: "KEY", Min: 12}, {Head: "HELD BY", Min: 12}, {Head: "NODE", Min: 8},
		{Head: "CONTAINER", Min: 12}, {Head: "FOR"},
	}}
	for _, is := range v.Items {
		item := words.OneLine(is.Item)
		if is.Cut {
			item += "…"
		}
		t.Add(tui.Text(item), tui.Text(is.Key), tui.Text(tui.OrDash(is.Task)), tui.Text(tui.OrDash(is.Node)),
			tui.Text(tui.OrDash(is.Container)), tui.Text(s.Since(is.Since)))
	}
	t.Write(s)
	if v.More {
		fmt.Fprintln(s.W, s.Fit("There are more."))
	}
}

func queueDeadCmd(a *command.App) *cobra.Command {
	return command.Group(&cobra.Command{Use: "dead", Short: "Show items that came back too often, retry or drop them"},
		deadListCmd(a), deadRetryCmd(a), deadDropCmd(a))
}

func deadListCmd(a *command.App) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "ls [KEY]",
		Short: "List dead items of a key, one a line, or the keys that have some",
		Long: `List items of a key that came back queue.max_deliveries times, since the
containers that popped them were killed: one a line, the oldest first. Without
KEY list the keys that have some.`,
		Example:           "  crawlbox queue dead ls\n  crawlbox queue dead ls urls -n 1000",
		Args:              command.AtMostOne("one key"),
		ValidArgsFunction: a.CompleteOne(command.QueueKeys),
	}
	n := someFlag(cmd, 100, "items or keys")
	named := false
	return command.Reads(a, cmd, func(ctx context.Context, c *api.Client, args []string) ([]api.Items, error) {
		if err := judgeSome(cmd, *n); err != nil {
			return nil, err
		}
		named = len(args) == 1
		dead, err := c.QueueDead(ctx, strings.Join(args, ""), *n)
		switch {
		case err != nil:
		case named && len(dead) == 0:
			err = a.Tell("crawlbox: %s has no dead items", args[0])
		case len(dead) == 0:
			err = a.Tell("crawlbox: no key has dead items")
		case named && dead[0].Len > int64(len(dead[0].Items)):
			err = a.Tell("crawlbox: %d of %d dead items", len(dead[0].Items), dead[0].Len)
		case len(dead) == *n && !named:
			err = a.Tell("crawlbox: there may be more keys than these %d", *n)
		}
		return dead, err
	}, func(s tui.Screen, dead []api.Items) {
		if named {
			for _, is := range dead {
				renderItems(s, is)
			}
			return
		}
		renderDead(s, dead)
	})
}

func renderDead(s tui.Screen, dead []api.Items) {
	if len(dead) == 0 {
		return
	}
	t := tui.Table{Columns: []tui.Column{{Head: "KEY", Min: 16}, {Head: "DEAD"}}}
	for _, is := range dead {
		t.Add(tui.Text(is.Key), tui.Text(strconv.FormatInt(is.Len, 10)))
	}
	t.Write(s)
}

// whichDead is of which dead items a command is, as its arguments and --all say.
type whichDead struct {
	api.Items
	all bool
}

func (w whichDead) String() string {
	if w.all {
		return "all dead items of " + w.Key
	}
	return words.Count(len(w.Items.Items), "dead item") + " of " + w.Key
}

func deadOf(cmd *cobra.Command, args []string, all bool) (whichDead, error) {
	w := whichDead{api.Items{Key: args[0], Items: args[1:]}, all}
	switch {
	case w.Key == "":
		return w, command.Usagef(cmd, "the key is empty")
	case all == (len(args) > 1):
		return w, command.Usagef(cmd, "name items, or say --all for all dead items of %s", w.Key)
	}
	return w, nil
}

func allFlag(cmd *cobra.Command) *bool {
	return cmd.Flags().Bool("all", false, "all dead items of the key")
}

// told says of how many dead items something was done; it is an error if one was named that is none.
func (w whichDead) told(a *command.App, n int64, done string) error {
	err := a.Printf("%s: %s %s\n", w.Key, words.Count(int(n), "item"), done)
	if missing := int64(len(w.Items.Items)) - n; missing > 0 {
		return cmp.Or(err, errors.New(words.Count(int(missing), "item")+
			" not among the dead ones; `crawlbox queue dead ls "+w.Key+"` lists these"))
	}
	return err
}

func deadRetryCmd(a *command.App) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "retry KEY ITEM...|--all",
		Short: "Put dead items back into their queue",
		Long: `Put dead items at the end of their queue, in a sorted set where they were. How
often they have come back is forgotten.`,
		Example: "  crawlbox queue dead retry urls https://example.com/\n" +
			"  crawlbox queue dead retry urls --all",
		Args:              command.AtLeast(1, "a key"),
		ValidArgsFunction: a.CompleteOne(command.QueueKeys),
	}
	all := allFlag(cmd)
	cmd.RunE = a.Asking(func(cmd *cobra.Command, c *api.Client, args []string) error {
		w, err := deadOf(cmd, args, *all)
		if err != nil {
			return err
		}
		moved, err := c.QueueRetry(cmd.Context(), w.Items)
		if err != nil {
			return err
		}
		return w.told(a, moved.Len, "put back")
	})
	return cmd
}

func deadDropCmd(a *command.App) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "drop KEY ITEM...|--all",
		Short: "Delete dead items",
		Example: "  crawlbox queue dead drop urls https://example.com/\n" +
			"  crawlbox queue dead drop urls --all",
		Args:              command.AtLeast(1, "a key"),
		ValidArgsFunction: a.CompleteOne(command.QueueKeys),
	}
	all, yes := allFlag(cmd), command.YesFlag(cmd)
	cmd.RunE = a.Asking(func(cmd *cobra.Command, c *api.Client, args []string) error {
		w, err := deadOf(cmd, args, *all)
		if err != nil {
			return err
		}
		if !*yes {
			err := a.Sure(cmd, command.Question{Do: "delete " + w.String(), Not: w.Key + ": nothing deleted"})
			if err != nil {
				return err
			}
		}
		gone, err := c.QueueDrop(cmd.Context(), w.Items)
		if err != nil {
			return err
		}
		return w.told(a, gone.Len, "deleted")
	})
	return cmd
}
