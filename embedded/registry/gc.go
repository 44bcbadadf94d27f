package registry

import (
	"context"
	"fmt"
	"time"

	"github.com/opencontainers/go-digest"
)

// Report says what a collection freed.
type Report struct {
	// Bytes is the size of the files that are gone.
	Bytes int64
	// Blobs counts configs and layers.
	Blobs int
	// Manifests counts manifests and indexes.
	Manifests int
	// Uploads counts those that were begun and left.
	Uploads int
	// Held is the size in bytes of what nothing needs and the grace still keeps,
	// since a push may be under way that counts on it. By HeldUntil all of it
	// may go.
	Held      int64
	HeldUntil time.Time
}

// GC deletes what no tag needs and no digest in keep: images that services run,
// in whatever repository they are. What clients were told about within the grace
// stays, but of what [Registry.Remove] took the tag from only what a push under
// way counts on. It runs beside pushes and pulls; a second call waits for the first.
// The report is right also beside an error.
func (r *Registry) GC(ctx context.Context, keep []digest.Digest) (Report, error) {
	select {
	case r.collecting <- struct{}{}:
		defer func() { <-r.collecting }()
	case <-ctx.Done():
		return Report{}, ctx.Err()
	}
	r.ageRemoved()
	cutoff := r.barrier()
	m := newMarks(r.layout, r.log)
	inv, err := r.layout.inventory(ctx)
	if err != nil {
		return Report{}, fmt.Errorf("look through the registry: %w", err)
	}
	if err := m.roots(ctx, inv, keep, cutoff); err != nil {
		return Report{}, fmt.Errorf("find images in use: %w", err)
	}
	s := &sweep{layout: r.layout, touch: r.touch, marks: m, inv: inv, cutoff: cutoff, grace: r.grace}
	if err := s.run(ctx); err != nil {
		return s.report, fmt.Errorf("remove unused images: %w", err)
	}
	if err := r.held(ctx, inv, keep, &s.report); err != nil {
		return s.report, fmt.Errorf("find what is kept for now: %w", err)
	}
	r.log.Info("images collected", "bytes", s.report.Bytes, "blobs", s.report.Blobs,
		"manifests", s.report.Manifests, "uploads", s.report.Uploads)
	return s.report, nil
}

// barrier waits for the manifest PUTs under way and returns the time before
// which an untouched blob counts as left. The clock is read inside: a PUT that
// begins later touches its blobs after the cutoff.
func (r *Registry) barrier() time.Time {
	r.puts.Lock()
	defer r.puts.Unlock()
	return r.now().Add(-r.grace)
}

// inventory is what the folder held when the collection began. What comes later
// is younger than the cutoff.
type inventory struct {
	repos []string
	// links are the folders through which repositories have a digest.
	links map[digest.Digest][]link
	blobs map[digest.Digest]bool
	// revisions are the digests that are manifests.
	revisions map[digest.Digest]bool
}

// link is a folder with a file "link" in it.
type link struct {
	repo string
	dir  string
}

func (l layout) inventory(ctx context.Context) (*inventory, error) {
	repos, err := l.repositories(ctx)
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
	blobs, err := l.blobs()
	for _, d := range blobs {
		inv.blobs[d] = true
	}
	return inv, err
}

func (inv *inventory) addRepository(ctx context.Context, l layout, repo string) error {
	revisions, err := l.digests(repoDir(repo, "_manifests/revisions"))
	if err != nil {
		return err
	}
	for _, d := range revisions {
		inv.revisions[d] = true
		inv.links[d] = append(inv.links[d], link{repo, revisionDir(repo, d)})
	}
	layers, err := l.digests(repoDir(repo, "_layers"))
	if err != nil {
		return err
	}
	for _, d := range layers {
		inv.links[d] = append(inv.links[d], link{repo, layerDir(repo, d)})
	}
	return inv.addHistory(ctx, l, repo)
}

// addHistory finds the entries that each tag keeps for what it pointed at.
func (inv *inventory) addHistory(ctx context.Context, l layout, repo string) error {
	tags, err := l.list(repoDir(repo, "_manifests/tags"))
	if err != nil {
		return err
	}
	for _, tag := range tags {
		if err := ctx.Err(); err != nil {
			return err
		}
		index := tagDir(repo, tag) + "/index"
		entries, err := l.digests(index)
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
