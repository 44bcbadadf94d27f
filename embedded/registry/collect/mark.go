package collect

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"slices"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/crawlbox/crawlbox/embedded/registry/layout"
)

// marks holds the digests that are needed, and by which repository.
type marks struct {
	layout layout.Layout
	log    *slog.Logger
	needed map[digest.Digest]map[string]bool
}

func newMarks(l layout.Layout, log *slog.Logger) *marks {
	return &marks{layout: l, log: log, needed: make(map[digest.Digest]map[string]bool)}
}

// roots marks everything beneath tags, the digests to keep, and manifests
// without a tag that were pushed or asked for since the cutoff.
func (m *marks) roots(ctx context.Context, inv *inventory, keep []digest.Digest, cutoff time.Time) error {
	for _, repo := range inv.repos {
		tags, err := m.layout.Tags(repo)
		if err != nil {
			return err
		}
		for tag, d := range tags {
			if err := errors.Join(ctx.Err(), m.manifest(repo, d)); err != nil {
				return fmt.Errorf("%s:%s: %w", repo, tag, err)
			}
		}
	}
	for d := range inv.revisions {
		if !youngerThan(m.layout, d, inv.links[d], cutoff) {
			continue
		}
		if err := errors.Join(ctx.Err(), m.everywhere(inv, d)); err != nil {
			return err
		}
	}
	for _, d := range keep {
		if err := d.Validate(); err != nil {
			return fmt.Errorf("keep %q: %w", d, err)
		}
		if err := m.everywhere(inv, d); err != nil {
			return err
		}
	}
	return nil
}

// everywhere marks a manifest in all repositories that have it.
func (m *marks) everywhere(inv *inventory, d digest.Digest) error {
	for _, l := range inv.links[d] {
		if err := m.manifest(l.repo, d); err != nil {
			return fmt.Errorf("%s@%s: %w", l.repo, d, err)
		}
	}
	return nil
}

// manifest marks d and all beneath it. What is missing marks nothing. A manifest
// that cannot be understood ends the collection: what it needs is unknown.
func (m *marks) manifest(repo string, d digest.Digest) error {
	err := m.image(repo, d)
	if errors.Is(err, fs.ErrNotExist) {
		m.log.Warn("found an image without a manifest", "repository", repo, "digest", d)
		return nil
	}
	return err
}

// image does the same, and returns fs.ErrNotExist where d is missing. An index may be
// sparse.
func (m *marks) image(repo string, d digest.Digest) error {
	if !m.add(repo, d) {
		return nil
	}
	content, err := m.layout.LoadManifest(d)
	if err != nil {
		return fmt.Errorf("read manifest %s: %w", d, err)
	}
	for _, child := range content.Manifests {
		if err := m.image(repo, child.Digest); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	for _, blob := range content.Blobs() {
		m.add(repo, blob.Digest)
	}
	return nil
}

// add marks one digest and reports whether that is new. A blob pushed under
// another algorithm is kept under its SHA-256; its link tells which.
func (m *marks) add(repo string, d digest.Digest) bool {
	if m.needed[d][repo] {
		return false
	}
	if m.needed[d] == nil {
		m.needed[d] = make(map[string]bool)
	}
	m.needed[d][repo] = true
	if d.Algorithm() != digest.Canonical {
		if target, err := m.layout.ReadLink(layout.LayerDir(repo, d)); err == nil && target != d {
			m.add(repo, target)
		}
	}
	return true
}

func (m *marks) has(repo string, d digest.Digest) bool { return m.needed[d][repo] }

func (m *marks) hasAnywhere(d digest.Digest) bool { return len(m.needed[d]) > 0 }

// youngerThan reports whether a client was told of d since the cutoff, through
// any of the links.
func youngerThan(l layout.Layout, d digest.Digest, links []link, cutoff time.Time) bool {
	if modifiedSince(l.BlobFile(d), cutoff) {
		return true
	}
	for _, k := range links {
		if modifiedSince(l.Abs(k.dir+"/link"), cutoff) {
			return true
		}
	}
	return false
}

func modifiedSince(path string, cutoff time.Time) bool {
	fi, err := os.Stat(path)
	return err == nil && !fi.ModTime().Before(cutoff)
}

// PartsOf lists the digests that an image consists of, through one repository.
func PartsOf(l layout.Layout, log *slog.Logger, repo string, d digest.Digest) ([]digest.Digest, error) {
	m := newMarks(l, log)
	err := m.manifest(repo, d)
	return slices.Collect(maps.Keys(m.needed)), err
}
