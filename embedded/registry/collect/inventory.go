package collect

import (
	"context"
	"fmt"

	"github.com/opencontainers/go-digest"

	"github.com/crawlbox/crawlbox/embedded/registry/layout"
)

// inventory lists what the directory held when the collection began. What comes later
// is younger than the cutoff.
type inventory struct {
	repos []string
	// links lists the directories through which repositories have a digest.
	links map[digest.Digest][]link
	blobs map[digest.Digest]bool
	// revisions lists the digests that are manifests.
	revisions map[digest.Digest]bool
}

// link is a directory with a file "link" in it.
type link struct {
	repo string
	dir  string
}

// newInventory looks through the whole directory.
func newInventory(ctx context.Context, l layout.Layout) (*inventory, error) {
	repos, err := l.Repositories(ctx)
	if err != nil {
		return nil, err
	}
	inv := &inventory{
		repos:     repos,
		links:     make(map[digest.Digest][]link),
		blobs:     make(map[digest.Digest]bool),
		revisions: make(map[digest.Digest]bool),
	}
	for _, repo := range repos {
		if err := inv.addRepository(ctx, l, repo); err != nil {
			return nil, fmt.Errorf("repository %s: %w", repo, err)
		}
	}
	blobs, err := l.Blobs()
	for _, d := range blobs {
		inv.blobs[d] = true
	}
	return inv, err
}

func (inv *inventory) addRepository(ctx context.Context, l layout.Layout, repo string) error {
	revisions, err := l.Digests(layout.RepoDir(repo, "_manifests/revisions"))
	if err != nil {
		return err
	}
	for _, d := range revisions {
		inv.revisions[d] = true
		inv.links[d] = append(inv.links[d], link{repo, layout.RevisionDir(repo, d)})
	}
	layers, err := l.Digests(layout.RepoDir(repo, "_layers"))
	if err != nil {
		return err
	}
	for _, d := range layers {
		inv.links[d] = append(inv.links[d], link{repo, layout.LayerDir(repo, d)})
	}
	return inv.addHistory(ctx, l, repo)
}

// addHistory finds the entries that each tag keeps for what it pointed at.
func (inv *inventory) addHistory(ctx context.Context, l layout.Layout, repo string) error {
	tags, err := l.List(layout.RepoDir(repo, "_manifests/tags"))
	if err != nil {
		return err
	}
	for _, tag := range tags {
		if err := ctx.Err(); err != nil {
			return err
		}
		index := layout.TagDir(repo, tag) + "/index"
		entries, err := l.Digests(index)
		if err != nil {
			return err
		}
		for _, d := range entries {
			dir := index + "/" + d.Algorithm().String() + "/" + d.Encoded()
			inv.links[d] = append(inv.links[d], link{repo, dir})
		}
	}
	return nil
}
