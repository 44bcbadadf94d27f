package cluster

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/crawlbox/crawlbox/appliance/api"
	"github.com/crawlbox/crawlbox/appliance/cli/command"
	"github.com/crawlbox/crawlbox/appliance/cli/tui"
	"github.com/crawlbox/crawlbox/appliance/fleet"
)

func nodeLabelCmd(a *command.App) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "label NODE [NAME=VALUE...]",
		Short: "Show or set the labels of a node, which --constraint uses",
		Long: `Show the labels of a node, or set some. A service runs where a label has a value
with crawlbox deploy --constraint node.labels.NAME==VALUE, or with
deploy.placement.constraints in the config file.`,
		Example: "  crawlbox node label h2 zone=eu\n  crawlbox node label h2 --rm zone\n" +
			"  crawlbox node label h2",
		Args:              command.AtLeast(1, "a node, and maybe labels such as zone=eu"),
		ValidArgsFunction: a.CompleteOne(command.NodeNames),
	}
	remove := cmd.Flags().StringSlice("rm", nil, "take away the label of this `name`")
	return command.Reads(a, cmd, func(ctx context.Context, c *api.Client, args []string) (fleet.Node, error) {
		req := api.LabelRequest{Node: args[0], Set: map[string]string{}, Remove: *remove}
		for _, text := range args[1:] {
			name, value, ok := strings.Cut(text, "=")
			if err := fleet.CheckLabel(name, value); !ok || err != nil {
				return fleet.Node{}, command.Usagef(cmd, "%q is not a name and a value, such as zone=eu", text)
			}
			req.Set[name] = value
		}
		if len(req.Set)+len(req.Remove) == 0 {
			return c.Node(ctx, req.Node)
		}
		return c.LabelNode(ctx, req)
	}, renderLabels)
}

func renderLabels(s tui.Screen, n fleet.Node) {
	if len(n.Labels) == 0 {
		fmt.Fprintf(s.W, "%s has no labels\n", n.Display)
		return
	}
	labels := make([]string, 0, len(n.Labels))
	for _, name := range slices.Sorted(maps.Keys(n.Labels)) {
		labels = append(labels, name+"="+n.Labels[name])
	}
	fmt.Fprintf(s.W, "%s: %s\n", n.Display, strings.Join(labels, " "))
}
