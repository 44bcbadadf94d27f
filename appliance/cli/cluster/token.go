package cluster

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/crawlbox/crawlbox/appliance/api"
	"github.com/crawlbox/crawlbox/appliance/base/naming"
	"github.com/crawlbox/crawlbox/appliance/base/words"
	"github.com/crawlbox/crawlbox/appliance/cli/command"
	"github.com/crawlbox/crawlbox/appliance/cli/tui"
	"github.com/crawlbox/crawlbox/appliance/cluster/token"
	"github.com/crawlbox/crawlbox/appliance/fleet"
)

func TokenCmd(a *command.App) *cobra.Command {
	cmd := command.Group(&cobra.Command{
		Use:   "token [worker|manager]",
		Short: "Print the line that joins a node",
		Long: `Print the line that joins a node: the standing one, which stays the same until
'crawlbox token rotate', or with --ttl or --uses a new one.

With --bootstrap it is a line for a machine that has curl and no crawlbox: it
gets this manager's and installs that. It sends the join token only once the
checksum of the cluster's CA fits, and runs nothing before its checksum does.`,
		Example: "  crawlbox token\n  crawlbox token worker --ttl 24h --uses 5\n  crawlbox token manager --uses " +
			"1\n  crawlbox token --bootstrap --ttl 1h",
		ValidArgs: []string{fleet.RoleWorker, fleet.RoleManager},
	}, tokenLsCmd(a), tokenRevokeCmd(a), tokenRotateCmd(a))
	cmd.Args = command.AtMostOne("one role")
	asJSON := command.JSONFlag(cmd)
	bare := cmd.Flags().Bool("bootstrap", false, "print the line for a machine without crawlbox")
	var ttl command.Span
	cmd.Flags().Var(&ttl, "ttl", "make one that expires after this `time`, such as 24h or 7d")
	uses := cmd.Flags().Int("uses", 0, "make one that is good for `n` nodes")
	cmd.RunE = a.Asking(func(cmd *cobra.Command, c *api.Client, args []string) error {
		role, err := roleOf(cmd, args, fleet.RoleWorker)
		if err != nil {
			return err
		}
		if cmd.Flags().Changed("uses") && *uses < 1 {
			return command.Usagef(cmd, "--uses is %d; it must be 1 or more", *uses)
		}
		token, err := getToken(cmd.Context(), c, api.TokenRequest{Role: role, TTL: time.Duration(ttl), Uses: *uses})
		if err != nil {
			return err
		}
		if *asJSON {
			return a.PrintJSON(token)
		}
		if *bare {
			token.Command = token.Bootstrap
		}
		return printToken(a, token)
	})
	return cmd
}

// roleOf returns the role that args name, or otherwise.
func roleOf(cmd *cobra.Command, args []string, otherwise string) (string, error) {
	if len(args) == 0 {
		return otherwise, nil
	}
	if err := naming.CheckRole(args[0]); err != nil {
		return "", command.Usagef(cmd, "%s", err)
	}
	return args[0], nil
}

func getToken(ctx context.Context, c *api.Client, req api.TokenRequest) (api.Token, error) {
	if req.TTL == 0 && req.Uses == 0 {
		return c.Token(ctx, req.Role)
	}
	return c.NewToken(ctx, req)
}

func printToken(a *command.App, t api.Token) error {
	if tui.IsTerminal(a.Env.Stdout) {
		fmt.Fprintf(a.Env.Stderr, "To join a %s, run this on it as root%s:\n\n", t.Role, limits(t))
	}
	return a.Printf("%s\n", t.Command)
}

// limits says for how long and for how many nodes a token is good.
func limits(t api.Token) string {
	text := ""
	if !t.Expires.IsZero() {
		text += ", until " + t.Expires.Local().Format(time.DateTime)
	}
	if t.Uses > 0 {
		text += ", for " + words.Count(t.Uses, "node")
	}
	return text
}

func tokenLsCmd(a *command.App) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "ls",
		Short: "List the tokens that join nodes, without their secrets",
		Long: `List the tokens that join nodes, without their secrets.

The standing ones, which 'crawlbox token' prints, are marked with *. USES is how
many nodes a token has joined, of how many it may; - is any number. STATE is
good, expired, used up or revoked.`,
		Example: "  crawlbox token ls",
		Args:    command.NoArgs,
	}
	return command.ReadsAll(a, cmd, (*api.Client).Tokens, renderTokens)
}

func renderTokens(s tui.Screen, tokens []token.Info) {
	t := tui.Table{Columns: []tui.Column{
		{Head: "ID"},
		{Head: "ROLE"},
		{Head: "STATE"},
		{Head: "EXPIRES"},
		{Head: "USES"},
		{Head: "CREATED"},
	}}
	for _, k := range tokens {
		t.Add(tokenName(k), tui.Text(k.Role), tokenState(k), tui.Text(s.Until(k.Expires)),
			tui.Text(tokenUses(k)), tui.Text(s.Since(k.Created)))
	}
	t.Write(s)
}

func tokenName(t token.Info) tui.Cell {
	if t.Standing {
		return tui.Styled(t.ID+" *", tui.Bold)
	}
	return tui.Text(t.ID)
}

func tokenState(t token.Info) tui.Cell {
	if t.State == token.StateGood {
		return tui.Styled(t.State, tui.Green)
	}
	return tui.Styled(t.State, tui.Dim)
}

func tokenUses(t token.Info) string {
	if t.Uses == 0 {
		return "-"
	}
	return fmt.Sprintf("%d/%d", t.Used, t.Uses)
}

func tokenRevokeCmd(a *command.App) *cobra.Command {
	return &cobra.Command{
		Use:               "revoke ID...",
		Short:             "Make tokens useless; nodes they have joined stay",
		Example:           "  crawlbox token revoke aaaa",
		Args:              command.AtLeast(1, "the ID of a token"),
		ValidArgsFunction: a.Complete(command.TokenIDs),
		RunE:              a.Each("revoked", command.AllTokenIDs, (*api.Client).RevokeToken),
	}
}

func tokenRotateCmd(a *command.App) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "rotate [worker|manager]",
		Short: "Replace the standing tokens of a role, or of both",
		Long: `Replace the standing tokens of a role, or of both, and print the new lines. Join
strings printed before are of no use any more; nodes they have joined stay.`,
		Example:   "  crawlbox token rotate\n  crawlbox token rotate worker",
		Args:      command.AtMostOne("one role"),
		ValidArgs: []string{fleet.RoleWorker, fleet.RoleManager},
	}
	asJSON := command.JSONFlag(cmd)
	cmd.RunE = a.Asking(func(cmd *cobra.Command, c *api.Client, args []string) error {
		role, err := roleOf(cmd, args, "")
		if err != nil {
			return err
		}
		tokens, err := c.RotateTokens(cmd.Context(), role)
		if err != nil {
			return err
		}
		if *asJSON {
			return a.PrintJSON(tokens)
		}
		for _, t := range tokens {
			if err := printToken(a, t); err != nil {
				return err
			}
		}
		return nil
	})
	return cmd
}
