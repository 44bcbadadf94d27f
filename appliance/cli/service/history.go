package service

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/crawlbox/crawlbox/appliance/api"
	"github.com/crawlbox/crawlbox/appliance/cli/change"
	"github.com/crawlbox/crawlbox/appliance/cli/command"
	"github.com/crawlbox/crawlbox/appliance/cli/data"
	"github.com/crawlbox/crawlbox/appliance/cli/tui"
	"github.com/crawlbox/crawlbox/appliance/deploy"
	"github.com/crawlbox/crawlbox/appliance/deploy/history"
	"github.com/crawlbox/crawlbox/appliance/fleet"
)

func HistoryCmd(a *command.App) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "history SERVICE",
		Short: "List what was deployed of a service, and how it went",
		Long: `List what was deployed of a service, and how it went, the newest first, and how
its replicas followed a queue meanwhile, see crawlbox autoscale, and why.

RESULT is done; rolled-back, when it failed and the version before runs again;
failed, when there was none; interrupted, when the manager stopped before
anything was changed; running, with the stage that it is at.`,
		Example:           "  crawlbox history spider",
		Args:              command.ExactlyOne("one service"),
		ValidArgsFunction: a.CompleteOne(command.ServiceNames),
	}
	return command.Reads(a, cmd, func(ctx context.Context, c *api.Client, args []string) ([]history.Entry, error) {
		return c.History(ctx, args[0])
	}, renderHistory)
}

func renderHistory(s tui.Screen, entries []history.Entry) {
	t := tui.Table{Columns: []tui.Column{
		{Head: "VERSION"},
		{Head: "IMAGE", Min: 16, AtStart: true},
		{Head: "DIGEST", Min: 8},
		{Head: "WHEN"},
		{Head: "BY", Min: 6},
		{Head: "RESULT"},
		{Head: "TOOK"},
	}}
	for _, e := range entries {
		for _, to := range slices.Backward(e.Scaled) {
			t.Add(tui.Text("-"), tui.Text(fmt.Sprintf("%d -> %d replicas", to.From, to.To)), tui.Text("-"),
				tui.Text(s.Since(to.At)+" ago"), tui.Text(tui.OrDash(to.By)), tui.Styled("scaled", tui.Green),
				tui.Text("-"))
			t.Marked(tui.Remark, to.Why)
		}
		t.Add(tui.Text(strconv.Itoa(e.Version)), tui.Text(ownImage(e.Image)), tui.Text(data.Short(e.Digest)),
			tui.Text(s.Since(e.At)+" ago"),
			tui.Text(tui.OrDash(e.By)), resultCell(e), tui.Text(tookOrDash(e)))
		switch {
		case e.Why == "":
		case e.Result == history.Done: // what was excused
			t.Marked(tui.Remark, e.Why)
		default:
			t.Note(e.Why)
		}
	}
	t.Write(s)
}

// ownRegistry is the address of the cluster's registry on each node.
var ownRegistry = regexp.MustCompile(`^(localhost|127\.0\.0\.1):\d+/`)

// ownImage names an image as people do, without the address that all of the cluster have.
func ownImage(image string) string {
	return ownRegistry.ReplaceAllString(fleet.FamiliarImage(image), "")
}

func resultCell(e history.Entry) tui.Cell {
	text := string(e.Result)
	if e.From > 0 {
		text = fmt.Sprintf("%s (back to %d)", text, e.From)
	}
	switch e.Result {
	case history.Done:
		return tui.Styled(text, tui.Green)
	case history.Running:
		return tui.Styled(text+": "+string(e.Stage), tui.Yellow)
	}
	return tui.Styled(text, tui.Red)
}

func tookOrDash(e history.Entry) string {
	if e.Took == 0 {
		return "-"
	}
	return tui.Took(e.Took)
}

func RollbackCmd(a *command.App) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "rollback SERVICE [VERSION]",
		Short: "Bring a service back to a version that it ran before",
		Long: `Bring a service back to a version that it ran before: to the last good one with
another image, or to one that crawlbox history lists. Done again it goes further
back, never to the version that it came from.`,
		Example:           "  crawlbox rollback spider\n  crawlbox rollback spider 3",
		Args:              command.Between(1, 2, "a service and maybe the number of a version"),
		ValidArgsFunction: completeVersion(a),
	}
	flags := change.FollowFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		req := api.RollbackRequest{Service: args[0]}
		if len(args) == 2 {
			n, err := strconv.ParseUint(args[1], 10, 31)
			if err != nil || n == 0 {
				return command.Usagef(cmd, "%q is not the number of a version; see `crawlbox history %s`", args[1],
					args[0])
			}
			req.Version = int(n)
		}
		ch := change.OfDeploy(args[0], "", change.Asks((*api.Client).Rollback, req))
		ch.Done = wentBack
		return change.Follow(a, cmd, flags, ch)
	}
	return cmd
}

// completeVersion completes a service, and then the version that it may go back to.
func completeVersion(a *command.App) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
		list := command.ServiceNames
		switch len(args) {
		case 0:
		case 1:
			list = func(ctx context.Context, c *api.Client) (versions []string, err error) {
				entries, err := c.History(ctx, args[0])
				for _, e := range entries {
					if e.Result == history.Done {
						versions = append(versions, fmt.Sprintf("%d\t%s", e.Version, fleet.FamiliarImage(e.Image)))
					}
				}
				return versions, err
			}
		default:
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return a.Ask(cmd, list), cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveKeepOrder
	}
}

// wentBack returns "back to version 2, localhost:8003/spider:0.01, 3 running in 5.2s".
func wentBack(e deploy.Progress) string {
	return fmt.Sprintf("back to version %d, %s, %s", e.Done.From, fleet.FamiliarImage(e.Done.Image), tui.Summary(e))
}
