package cluster

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/mod/semver"

	"github.com/crawlbox/crawlbox/appliance/api"
	"github.com/crawlbox/crawlbox/appliance/base/words"
	"github.com/crawlbox/crawlbox/appliance/cli/command"
	"github.com/crawlbox/crawlbox/appliance/cli/tui"
	"github.com/crawlbox/crawlbox/appliance/upgrade"
)

func UpgradeCmd(a *command.App) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "upgrade --from FILE",
		Short: "Bring another version of crawlbox onto all nodes",
		Long: `Bring another version of crawlbox onto all nodes, one after the other: workers
first, then this manager. No container is restarted. A node that is not ready
with it within two minutes, or crashes right after, goes back to its old
version, and the command ends there; the same command again goes on. The
version before stays on each node as /usr/local/bin/crawlbox.old. An older
version goes the same way, shown as "back to".

A node that systemd does not run as 'crawlbox install' has it, or that is for
other processors, is told and left as it is.`,
		Example: "  crawlbox upgrade --from ./crawlbox --dry-run\n  crawlbox upgrade --from ./crawlbox --sha256 " +
			"9f86…\n  crawlbox upgrade --from /usr/local/bin/crawlbox.old",
		Args: command.NoArgs,
	}
	from := cmd.Flags().String("from", "", "the program, a `file`")
	sum := cmd.Flags().String("sha256", "", "refuse a file with another `checksum`")
	dry := cmd.Flags().Bool("dry-run", false, "only print what would be done to which node")
	_ = cmd.MarkFlagFilename("from")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if *from == "" {
			return command.Usagef(cmd, "upgrade needs --from FILE")
		}
		if sum, err := hex.DecodeString(*sum); err != nil || len(sum) != 0 && len(sum) != sha256.Size {
			return command.Usagef(cmd, "--sha256 is no SHA-256, which has 64 hexadecimal digits")
		}
		return upgradeNodes(a, cmd.Context(), *from, *sum, *dry)
	}
	return cmd
}

func upgradeNodes(a *command.App, ctx context.Context, path, sum string, dry bool) error {
	c, err := a.Client()
	if err != nil {
		return err
	}
	offer, err := inspect(ctx, path, sum)
	if err != nil {
		return err
	}
	steps, err := c.UpgradePlan(ctx, offer)
	if err != nil {
		return err
	}
	if err := upgrade.Refuse(steps, offer); err != nil {
		return err
	}
	s := a.Stdout()
	renderSteps(s, steps, offer)
	todo, self := 0, false
	for _, step := range steps {
		if step.Leave == "" {
			todo++
			self = self || step.Last
		}
	}
	switch {
	case dry:
		return a.Printf("nothing was changed\n")
	case todo == 0:
		return a.Printf("nothing has to be changed\n")
	}
	if err := bring(ctx, c, path, offer); err != nil {
		return err
	}
	err = c.UpgradeNodes(ctx, offer,
		func(e upgrade.Event) error { return a.Say("%s: %s", e.Node, words.OneLine(e.Text)) })
	if err == nil && self {
		err = upgradeManager(a, ctx, c, steps[len(steps)-1].Node.Display, offer)
	}
	if ctx.Err() != nil {
		return fmt.Errorf("%w; the node that was being upgraded goes on, the same command again does the rest",
			command.ErrInterrupted)
	}
	return err
}

// inspect requires an unaltered crawlbox for this machine.
func inspect(ctx context.Context, path, want string) (upgrade.Offer, error) {
	sum, _, err := upgrade.Sum(path)
	if err != nil {
		return upgrade.Offer{}, fmt.Errorf("%w; name the file of the new crawlbox with --from", err)
	}
	if want != "" && !strings.EqualFold(want, sum) {
		return upgrade.Offer{}, fmt.Errorf("the SHA-256 of %s is %s, not %s as --sha256 says; nothing was changed",
			path, sum, want)
	}
	offer, err := upgrade.Inspect(ctx, path)
	if err != nil {
		return offer, fmt.Errorf("%w; nothing was changed", err)
	}
	return offer, nil
}

// bring uploads the program to the manager.
func bring(ctx context.Context, c *api.Client, path string, offer upgrade.Offer) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	got, err := c.OfferProgram(ctx, offer, f)
	got.State = offer.State
	if err == nil && got != offer {
		err = errors.New("the manager finds another program in it than this command did")
	}
	if err != nil {
		return fmt.Errorf("bring %s to the manager: %w", path, err)
	}
	return nil
}

// upgradeSelf upgrades the manager. It does not answer while it is restarted.
func upgradeManager(a *command.App, ctx context.Context, c *api.Client, name string, offer upgrade.Offer) error {
	ctx, cancel := context.WithTimeoutCause(ctx, 3*upgrade.ReadyTimeout,
		errors.New("waited for the manager; `systemctl status crawlbox crawlbox-upgrade` tells more"))
	defer cancel()
	if err := c.UpgradeSelf(ctx, offer); err != nil {
		return err
	}
	err := upgrade.Follow(ctx, c.UpgradeState, offer,
		func(text string) error { return a.Say("%s: %s", name, words.OneLine(text)) })
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

// renderSteps shows what is done to which node, in order.
func renderSteps(s tui.Screen, steps []upgrade.Step, offer upgrade.Offer) {
	t := tui.Table{Columns: []tui.Column{
		{Head: "NAME", Min: 8},
		{Head: "ROLE"},
		{Head: "RUNS"},
		{Head: "UPGRADE", Min: 8},
	}}
	for _, step := range steps {
		what := tui.Styled("to "+offer.Version, tui.Green)
		switch {
		case step.Leave != "":
			what = tui.Styled("left: "+words.OneLine(step.Leave), tui.Yellow)
		case older(offer.Version, step.From):
			what = tui.Styled("back to "+offer.Version, tui.Yellow)
		}
		t.Add(nodeName(step.Node), tui.Text(step.Node.Role), tui.Text(tui.OrDash(step.From)), what)
	}
	t.Write(s)
}

// older reports whether one version comes before another, as far as their names tell:
// 1.2.3 or v1.2.3, with what `git describe` appends for the commits since.
func older(a, b string) bool {
	a, b = release(a), release(b)
	return a != "" && b != "" && semver.Compare(a, b) < 0
}

func release(version string) string {
	core, _, _ := strings.Cut("v"+strings.TrimPrefix(version, "v"), "-")
	if strings.Count(core, ".") != 2 || !semver.IsValid(core) {
		return "" // such as a commit
	}
	return core
}
