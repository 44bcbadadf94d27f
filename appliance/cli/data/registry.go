package data

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/crawlbox/crawlbox/appliance/api"
	"github.com/crawlbox/crawlbox/appliance/cli/command"
	"github.com/crawlbox/crawlbox/appliance/cli/tui"
)

// defaultAccount is the account of a user who does not name one.
const defaultAccount = "push"

func RegistryCmd(a *command.App) *cobra.Command {
	return command.Group(&cobra.Command{Use: "registry", Short: "Let machines outside the cluster push images"},
		registryLoginCmd(a), registryLsCmd(a), registryLogoutCmd(a))
}

func registryLoginCmd(a *command.App) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "login [NAME]",
		Short: "Issue a password for pushing, and print how to log in with it",
		Long: `Issue a password for pushing images from a machine outside the cluster. Paste
the lines that are printed on that machine: they make its Docker trust the
registry, and log in. The password is shown this once; a NAME that has one gets
another.

The password is on no command line, and a shell that leaves out of its history
what begins with a space (HISTCONTROL=ignorespace) does not keep it.`,
		Example: "  crawlbox registry login\n  crawlbox registry login ci",
		Args:    command.AtMostOne("one name"),
	}
	return command.Reads(a, cmd, func(ctx context.Context, c *api.Client, args []string) (api.RegistryLogin, error) {
		name := defaultAccount
		if len(args) > 0 {
			name = args[0]
		}
		if name == "" {
			return api.RegistryLogin{}, command.Usagef(cmd, "a name is empty")
		}
		return c.RegistryLogin(ctx, name)
	}, func(s tui.Screen, l api.RegistryLogin) { renderLogin(a, s, l) })
}

func renderLogin(a *command.App, s tui.Screen, l api.RegistryLogin) {
	if tui.IsTerminal(a.Env.Stdout) {
		fmt.Fprintf(a.Env.Stderr, "Paste this on the machine that pushes to %s:\n\n", l.Registry)
	}
	fmt.Fprint(s.W, loginLines(l))
}

// loginLines put the CA where Docker looks for it, and log in. Who is root may have no sudo.
func loginLines(l api.RegistryLogin) string {
	dir := quote("/etc/docker/certs.d/" + l.Registry)
	const asRoot = `as() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi; }`
	return fmt.Sprintf(" (%s; as mkdir -p %s && as tee %s/ca.crt >/dev/null) <<'EOF'\n%s\nEOF\n", asRoot, dir, dir,
		strings.TrimSpace(l.CA)) +
		fmt.Sprintf(" docker login %s --username %s --password-stdin <<'EOF'\n%s\nEOF\n", quote(l.Registry),
			quote(l.User), l.Password)
}

// quote makes text one word of a shell.
func quote(text string) string {
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("/._-:", r)
	}
	if text != "" && strings.TrimLeftFunc(text, plain) == "" {
		return text
	}
	return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'"
}

func registryLsCmd(a *command.App) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "ls",
		Short:   "List the accounts that may push",
		Example: "  crawlbox registry ls",
		Args:    command.NoArgs,
	}
	return command.ReadsAll(a, cmd, (*api.Client).RegistryAccounts, renderAccounts)
}

func renderAccounts(s tui.Screen, accounts []api.RegistryAccount) {
	t := tui.Table{Columns: []tui.Column{{Head: "NAME", Min: 8}, {Head: "CREATED"}}}
	for _, account := range accounts {
		t.Add(tui.Text(account.Name), tui.Text(s.Since(account.Created)))
	}
	t.Write(s)
}

func registryLogoutCmd(a *command.App) *cobra.Command {
	return &cobra.Command{
		Use:               "logout NAME...",
		Short:             "End accounts that may push",
		Example:           "  crawlbox registry logout ci",
		Args:              command.AtLeast(1, "a name"),
		ValidArgsFunction: a.Complete(command.AccountNames),
		RunE:              a.Each("logged out", command.AccountNames, (*api.Client).RegistryLogout),
	}
}
