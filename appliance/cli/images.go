package cli

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/crawlbox/crawlbox/appliance/api"
	"github.com/crawlbox/crawlbox/appliance/fleet"
)

func imagesCmd(a *app) *cobra.Command {
	cmd := imagesLsCmd(a)
	list := cmd.RunE
	group(cmd, imagesLsCmd(a), imagesRmCmd(a), imagesGCCmd(a))
	cmd.Use, cmd.RunE = "images", list
	return cmd
}

func imagesLsCmd(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "ls",
		Short: "List the images of the cluster's registry",
		Args:  noArgs,
	}
	return reads(a, cmd, func(ctx context.Context, c *api.Client, _ []string) ([]fleet.Image, error) {
		return c.Images(ctx, true)
	}, a.renderImages)
}

func (a *app) renderImages(s screen, images []fleet.Image) {
	t := table{columns: []column{
		{head: "IMAGE", min: 16, atStart: true}, {head: "DIGEST"}, {head: "SIZE"}, {head: "PUSHED"}, {head: "NODES"}, {head: "USED BY", min: 8},
	}}
	for _, i := range images {
		t.add(cell{text: i.Repository + ":" + i.Tag}, cell{text: short(i.Digest)}, cell{text: size(i.Size)},
			cell{text: a.since(i.Pushed)}, holders(i.Nodes), cell{text: orDash(strings.Join(i.Used, ","))})
	}
	t.write(s)
}

// holders is on how many of all nodes an image is.
func holders(h *fleet.Holders) cell {
	switch {
	case h == nil:
		return cell{text: "-"}
	case h.Unknown > 0:
		return cell{text: fmt.Sprintf("%d/%d, %d unknown", h.Have, h.All, h.Unknown)}
	}
	return cell{text: fmt.Sprintf("%d/%d", h.Have, h.All)}
}

// short is the beginning of a digest, as docker shows it.
func short(digest string) string {
	_, hex, _ := strings.Cut(digest, ":")
	return hex[:min(12, len(hex))]
}

func imagesRmCmd(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:               "rm IMAGE...",
		Short:             "Remove images, such as spider:0.01",
		Args:              atLeast(1, "an image"),
		ValidArgsFunction: a.complete(imageNames),
	}
	cmd.RunE = func(cmd *cobra.Command, refs []string) error {
		return a.each(cmd, refs, "removed", func(ctx context.Context, c *api.Client, ref string) error {
			return c.RemoveImage(ctx, ref)
		})
	}
	return cmd
}

// collected says what a collection did, and why it did not do more.
func collected(r api.GCReport) string {
	text := fmt.Sprintf("freed %s: %s, %s", size(r.Bytes), count(r.Manifests, "manifest"), count(r.Blobs, "blob"))
	if r.Held > 0 {
		text += fmt.Sprintf("; %s more can go from %s on: a push that is under way may count on it", size(r.Held), r.HeldUntil.Local().Format("15:04:05"))
	}
	return text
}

func imagesGCCmd(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "gc",
		Short: "Free what no tag and no service needs",
		Args:  noArgs,
	}
	asJSON := jsonFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		c, err := a.client()
		if err != nil {
			return err
		}
		r, err := c.CollectImages(cmd.Context())
		if err != nil {
			return err
		}
		if *asJSON {
			return a.printJSON(r)
		}
		return a.printf("%s\n", collected(r))
	}
	return cmd
}
