package cluster

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/crawlbox/crawlbox/appliance/api"
	"github.com/crawlbox/crawlbox/appliance/base/clock"
	"github.com/crawlbox/crawlbox/appliance/cli/command"
	"github.com/crawlbox/crawlbox/appliance/fleet"
)

func nodePromoteCmd(a *command.App) *cobra.Command {
	cmd := nodeVerbCmd(a, promote)
	cmd.Long = `Make workers managers, which have the cluster's state and let nodes in. Have
three or five, never two: with two, the loss of either stops every change. It
returns when they have the state.`
	force := cmd.Flags().Bool("force", false, "let there be two managers")
	detach := cmd.Flags().BoolP("detach", "d", false, "do not wait until they have the cluster's state")
	cmd.RunE = a.Asking(func(cmd *cobra.Command, c *api.Client, names []string) error {
		nodes, err := nodesNamed(cmd, c, names)
		if err != nil {
			return err
		}
		all, err := c.Nodes(cmd.Context())
		if err != nil {
			return err
		}
		if makesTwo(all, nodes) && !*force {
			return errors.New(worseThanOne + "promote two at once, as in `crawlbox node promote h2 h3`, or this one " +
				"alone with --force")
		}
		if err := setNodes(a, cmd.Context(), c, promote, nodes, func(fleet.Node) error { return nil }); err != nil ||
			*detach {
			return err
		}
		return awaitState(a, cmd.Context(), nodes, c.Nodes)
	})
	return cmd
}

const worseThanOne = "with two managers the loss of either stops every change, which is worse than with one: "

// makesTwo reports whether there are two managers once nodes are promoted, and were fewer.
func makesTwo(all, promoted []fleet.Node) bool {
	managers := 0
	for _, n := range all {
		if promote.is(n) {
			managers++
		}
	}
	more := len(slices.DeleteFunc(slices.Clone(promoted), promote.is))
	return more > 0 && managers+more == 2
}

const (
	// stateTimeout bounds the wait for new managers to have the cluster's state.
	stateTimeout = time.Minute
	stateLook    = 500 * time.Millisecond
)

// awaitState waits until nodes are on the list of managers that have the cluster's state, and says what comes then.
func awaitState(a *command.App, ctx context.Context, nodes []fleet.Node,
	list func(context.Context) ([]fleet.Node, error)) error {
	said := false
	for begun := time.Now(); ; {
		all, err := list(ctx)
		missing := withoutState(all, nodes)
		names := strings.Join(displays(missing), ", ")
		switch {
		case err == nil && len(missing) == 0 && !said:
			return nil // they had it
		case err == nil && len(missing) == 0:
			return a.Tell("Now %s can do what any manager does, and the images follow by themselves.",
				strings.Join(displays(nodes), ", "))
		case err == nil && !slices.ContainsFunc(all, func(n fleet.Node) bool { return n.HasState }):
			return nil // this node has no list
		case time.Since(begun) > stateTimeout:
			return a.Tell("After %s the cluster's state is yet to come to %s, by itself where crawlbox runs; "+
				"`crawlbox status` says what the loss of a manager means until then.", stateTimeout,
				cmp.Or(names, "them"))
		case err == nil && !said:
			said = true
			if err := a.Tell("Waiting until %s get the cluster's state…", names); err != nil {
				return err
			}
		}
		if clock.Sleep(ctx, stateLook) != nil {
			return fmt.Errorf("%w; what was promoted gets the cluster's state by itself", command.ErrInterrupted)
		}
	}
}

// withoutState returns which of some nodes do not have the cluster's state.
func withoutState(all, some []fleet.Node) []fleet.Node {
	return slices.DeleteFunc(slices.Clone(some), func(n fleet.Node) bool {
		return slices.ContainsFunc(all, func(now fleet.Node) bool { return now.ID == n.ID && now.HasState })
	})
}

func nodeDemoteCmd(a *command.App) *cobra.Command {
	cmd := nodeVerbCmd(a, demote)
	cmd.Long = `Make managers workers; do it before you remove a manager. Leave one, three or
five, never two, unless those that go are down.`
	force := cmd.Flags().Bool("force", false, "let there be two managers")
	cmd.RunE = a.Asking(func(cmd *cobra.Command, c *api.Client, names []string) error {
		nodes, err := nodesNamed(cmd, c, names)
		if err != nil {
			return err
		}
		all, err := c.Nodes(cmd.Context())
		if err != nil {
			return err
		}
		means, err := demotion(all, nodes, *force)
		if err != nil {
			return err
		}
		if err := setNodes(a, cmd.Context(), c, demote, nodes, func(fleet.Node) error { return nil }); err != nil {
			return err
		}
		if means == "" {
			return nil
		}
		return a.Tell("%s.", means)
	})
	return cmd
}

// demotion decides on all nodes that are to be demoted, before any is: what it would leave. It returns what two
// managers that are left mean, and refuses to leave two but by taking off who is down, and what no manager does.
func demotion(all, demoted []fleet.Node, force bool) (means string, err error) {
	goes := func(n fleet.Node) bool {
		return slices.ContainsFunc(demoted, func(d fleet.Node) bool { return d.ID == n.ID })
	}
	var left, up []fleet.Node // managers that stay, and those that go and are not lost
	changes := false
	for _, n := range all {
		switch {
		case !promote.is(n):
		case !goes(n):
			left = append(left, n)
		default:
			changes = true
			if !n.Away() {
				up = append(up, n)
			}
		}
	}
	switch {
	case !changes:
		return "", nil
	case len(left) == 0:
		last := " is the last manager and can't be demoted"
		if len(demoted) > 1 {
			last = " are the last managers and can't all be demoted"
		}
		return "", errors.New(strings.Join(displays(demoted), ", ") + last + "; promote another node first")
	}
	for _, n := range up {
		if n.HasQueue {
			return "", fmt.Errorf("%s holds the cluster's queue, and stays a manager as long as it is up: "+
				"`crawlbox move NODE` there has another one go on; nothing was demoted", n.Display)
		}
	}
	if len(left) != 2 {
		return "", nil
	}
	if len(up) > 0 && !force {
		return "", errors.New(worseThanOne + "demote two at once, promote another node first, or do it with --force")
	}
	m := fleet.CountManagers(slices.DeleteFunc(slices.Clone(all), goes))
	m.Workers += len(demoted)
	return m.NextLoss(), nil
}
