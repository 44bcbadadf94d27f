package cli

import (
	"context"
	"fmt"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/crawlbox/crawlbox/appliance/api"
	"github.com/crawlbox/crawlbox/appliance/deploy/history"
	"github.com/crawlbox/crawlbox/appliance/fleet"
)

func historyCmd(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:               "history SERVICE",
		Short:             "List what was deployed of a service, and how it went",
		Args:              exactlyOne("one service"),
		ValidArgsFunction: a.completeOne(serviceNames),
	}
	return reads(a, cmd, func(ctx context.Context, c *api.Client, args []string) ([]history.Entry, error) {
		return c.History(ctx, args[0])
	}, a.renderHistory)
}

func (a *app) renderHistory(s screen, entries []history.Entry) {
	t := table{columns: []column{{head: "VERSION"}, {head: "IMAGE", min: 16, atStart: true}, {head: "DIGEST"}, {head: "WHEN"}, {head: "BY", min: 6}, {head: "RESULT"}, {head: "TOOK"}}}
	for _, e := range entries {
		t.add(cell{text: strconv.Itoa(e.Version)}, cell{text: fleet.FamiliarImage(e.Image)}, cell{text: short(e.Digest)}, cell{text: a.since(e.At) + " ago"},
			cell{text: orDash(e.By)}, resultCell(e), cell{text: tookOrDash(e)})
		if e.Why != "" {
			t.note(e.Why)
		}
	}
	t.write(s)
}

func resultCell(e history.Entry) cell {
	text := string(e.Result)
	if e.From > 0 {
		text = fmt.Sprintf("%s (back to %d)", text, e.From)
	}
	switch e.Result {
	case history.Done:
		return cell{text, green}
	case history.Running:
		return cell{text + ": " + e.Stage, yellow}
	}
	return cell{text, red}
}

func tookOrDash(e history.Entry) string {
	if e.Took == 0 {
		return "-"
	}
	return took(e.Took)
}

func rollbackCmd(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "rollback SERVICE [VERSION]",
		Short: "Bring a service back to a version that it ran before",
		Long: `Bring a service back to a version that it ran before: to the last good one with
another image, or to one that crawlbox history lists.`,
		Args:              argument{1, 2, "a service and maybe the number of a version"}.check,
		ValidArgsFunction: a.completeOne(serviceNames),
	}
	flags := followFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		req := api.RollbackRequest{Service: args[0]}
		if len(args) == 2 {
			n, err := strconv.ParseUint(args[1], 10, 31)
			if err != nil || n == 0 {
				return usagef(cmd, "%q is not the number of a version; see `crawlbox history %s`", args[1], args[0])
			}
			req.Version = int(n)
		}
		return a.follow(cmd, flags, deployChange(args[0], "rolled back", func(ctx context.Context, c *api.Client, see func(api.Event) error) error {
			return c.Rollback(ctx, req, see)
		}))
	}
	return cmd
}
