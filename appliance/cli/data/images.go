// Package data has the commands for what a cluster keeps: images, accounts of the registry, and
// the lists of the queue. Each asks the node that runs here.
package data

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/crawlbox/crawlbox/appliance/api"
	"github.com/crawlbox/crawlbox/appliance/base/naming"
	"github.com/crawlbox/crawlbox/appliance/base/words"
	"github.com/crawlbox/crawlbox/appliance/cli/command"
	"github.com/crawlbox/crawlbox/appliance/cli/tui"
	"github.com/crawlbox/crawlbox/appliance/fleet"
)

func ImagesCmd(a *command.App) *cobra.Command {
	cmd := imagesLsCmd(a)
	list := cmd.RunE
	command.Group(cmd, imagesLsCmd(a), imagesRmCmd(a), imagesGCCmd(a))
	cmd.Use, cmd.RunE = "images", list
	return cmd
}

func imagesLsCmd(a *command.App) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "ls",
		Short:   "List the images of the cluster's registry",
		Example: "  crawlbox images ls\n  crawlbox images ls --json",
		Args:    command.NoArgs,
	}
	return command.Reads(a, cmd, func(ctx context.Context, c *api.Client, _ []string) ([]fleet.Image, error) {
		return c.Images(ctx, true)
	}, renderImages)
}

func renderImages(s tui.Screen, images []fleet.Image) {
	t := tui.Table{Columns: []tui.Column{
		{Head: "IMAGE", Min: 16, AtStart: true},
		{Head: "DIGEST"},
		{Head: "SIZE"},
		{Head: "PUSHED"},
		{Head: "NODES"},
		{Head: "USED BY", Min: 8},
	}}
	for _, i := range images {
		t.Add(tui.Text(i.Repository+":"+i.Tag), tui.Text(Short(i.Digest)), tui.Text(tui.Size(i.Size)),
			tui.Text(s.Since(i.Pushed)), holders(i.Nodes), tui.Text(tui.OrDash(strings.Join(i.Used, ","))))
	}
	t.Write(s)
}

// holders shows on how many of all nodes an image is.
func holders(h *fleet.Holders) tui.Cell {
	switch {
	case h == nil:
		return tui.Text("-")
	case h.Unknown > 0:
		return tui.Text(fmt.Sprintf("%d/%d, %d unknown", h.Have, h.All, h.Unknown))
	}
	return tui.Text(fmt.Sprintf("%d/%d", h.Have, h.All))
}

// Short returns the beginning of a digest, as docker shows it.
func Short(digest string) string {
	_, hex, _ := strings.Cut(digest, ":")
	return hex[:min(12, len(hex))]
}

func imagesRmCmd(a *command.App) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "rm IMAGE...",
		Short: "Remove images, such as spider:0.01",
		Long: `Remove images, named with or without the registry's address. One that a
service runs stays unless --force is given: the service runs on without it, but
can't be deployed again by its name. The number of an image that was built here
is never given again.`,
		Example:           "  crawlbox images rm spider:0.01",
		Args:              command.AtLeast(1, "an image"),
		ValidArgsFunction: a.Complete(command.ImageNames),
	}
	force := cmd.Flags().Bool("force", false, "remove an image although a service runs it")
	remove := a.Each("removed", command.ImageNames, func(c *api.Client, ctx context.Context, ref string) error {
		return c.RemoveImage(ctx, ref, *force)
	})
	cmd.RunE = func(cmd *cobra.Command, images []string) error {
		for i, image := range images {
			if image != "" {
				images[i] = naming.Tagged(image)
			}
		}
		return remove(cmd, images)
	}
	return cmd
}

// collected says what a collection did, and why it did not do more.
func collected(r api.GCReport) string {
	text := fmt.Sprintf("freed %s: %s, %s", tui.Size(r.Bytes), words.Count(r.Manifests, "manifest"),
		words.Count(r.Blobs, "blob"))
	if r.Held > 0 {
		text += fmt.Sprintf("; %s more can go from %s on: a push that is under way may count on it", tui.Size(r.Held),
			r.HeldUntil.Local().Format("15:04:05"))
	}
	return text
}

func imagesGCCmd(a *command.App) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "gc",
		Short:   "Free what no tag and no service needs",
		Example: "  crawlbox images gc",
		Args:    command.NoArgs,
	}
	return command.ReadsAll(a, cmd, (*api.Client).CollectImages,
		func(s tui.Screen, r api.GCReport) { fmt.Fprintln(s.W, collected(r)) })
}
