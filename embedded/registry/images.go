package registry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/crawlbox/crawlbox/embedded/registry/layout"
)

// Image is a tag and what it points at.
type Image struct {
	Repository string
	Tag        string
	// Digest is the digest of the manifest or the index.
	Digest digest.Digest
	// Size is the size of config and layers in bytes, compressed as they are
	// pulled; of an index, those of all its children, each blob counted once.
	Size int64
	// Pushed is when the tag was last pushed.
	Pushed time.Time
	// Platforms are such as linux/amd64 and linux/arm/v7; none for what is not
	// an image.
	Platforms []string
}

// Name returns REPOSITORY:TAG.
func (i Image) Name() string { return i.Repository + ":" + i.Tag }

// Images lists all tags by name. A tag whose manifest is gone is listed with
// size 0.
func (r *Registry) Images(ctx context.Context) ([]Image, error) {
	if r.shares() {
		return r.sharedImages()
	}
	repos, err := r.layout.Repositories(ctx)
	if err != nil {
		return nil, fmt.Errorf("list repositories: %w", err)
	}
	var images []Image
	for _, repo := range repos {
		tags, err := r.layout.Tags(repo)
		if err != nil {
			return nil, fmt.Errorf("list tags of %s: %w", repo, err)
		}
		for tag, d := range tags {
			if err := ctx.Err(); err != nil {
				return nil, err
			}
			img, err := imageOf(r.layout, repo, tag, d)
			if err != nil {
				return nil, fmt.Errorf("look at %s:%s: %w", repo, tag, err)
			}
			images = append(images, img)
		}
	}
	return sorted(images), nil
}

func sorted(images []Image) []Image {
	slices.SortFunc(images, func(a, b Image) int { return strings.Compare(a.Name(), b.Name()) })
	return images
}

// Image returns what a tag points at. Errors: ErrBadName, also for a digest, and ErrUnknownImage.
func (r *Registry) Image(ctx context.Context, ref string) (Image, error) {
	n, err := parseTag(ref)
	if err != nil {
		return Image{}, err
	}
	if r.shares() {
		return r.sharedImage(ctx, n)
	}
	d, err := r.Digest(ctx, ref)
	if err != nil {
		return Image{}, err
	}
	return imageOf(r.layout, n.repo, n.tag, d)
}

// Digest returns that of the manifest that ref names: a tag, or a digest, which
// is then known to be there. Errors: ErrBadName, ErrUnknownImage.
func (r *Registry) Digest(ctx context.Context, ref string) (digest.Digest, error) {
	n, err := parseName(ref)
	if err != nil {
		return "", err
	}
	if r.shares() {
		return r.sharedDigest(ctx, n)
	}
	dir := layout.TagDir(n.repo, n.tag) + "/current"
	if n.digest != "" {
		dir = layout.RevisionDir(n.repo, n.digest)
	}
	d, err := r.layout.ReadLink(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return "", r.unknown(ctx, n)
	}
	if err != nil {
		return "", fmt.Errorf("resolve %s: %w", n, err)
	}
	return d, nil
}

// Remove takes a tag away. The space comes back with the next GC, except for what a
// push under way counts on; after a restart, with one after the grace. Errors:
// ErrBadName, ErrUnknownImage.
func (r *Registry) Remove(ctx context.Context, ref string) error {
	n, err := parseTag(ref)
	if err != nil {
		return err
	}
	if r.shares() {
		return r.removeShared(ctx, n)
	}
	r.puts.Lock()
	defer r.puts.Unlock()
	dir := layout.TagDir(n.repo, n.tag)
	if _, err := os.Stat(r.layout.Abs(dir)); errors.Is(err, fs.ErrNotExist) {
		return r.unknown(ctx, n)
	}
	d, linkErr := r.layout.ReadLink(dir + "/current")
	if err := r.layout.RemoveAll(dir); err != nil {
		return fmt.Errorf("remove %s: %w", n, err)
	}
	if linkErr == nil {
		r.noteRemoved(n.repo, d)
	}
	r.log.Info("removed an image", "image", n.String())
	return nil
}

func (r *Registry) unknown(ctx context.Context, n name) error {
	images, err := r.Images(ctx)
	if err != nil {
		return fmt.Errorf("%w: %s (no proposals: %w)", ErrUnknownImage, n, err)
	}
	known := make([]string, len(images))
	for i, img := range images {
		known[i] = img.Name()
	}
	return unknown(n, known)
}

func imageOf(l layout.Layout, repo, tag string, d digest.Digest) (Image, error) {
	img := Image{Repository: repo, Tag: tag, Digest: d}
	fi, err := os.Stat(l.Abs(layout.TagDir(repo, tag) + "/current/link"))
	if err != nil {
		return img, layout.IgnoreGone(err) // removed meanwhile
	}
	img.Pushed = fi.ModTime()
	sizes := make(map[digest.Digest]int64)
	if err := measure(l, d, sizes, &img.Platforms); err != nil {
		return img, err
	}
	for _, size := range sizes {
		img.Size += size
	}
	slices.Sort(img.Platforms)
	img.Platforms = slices.Compact(img.Platforms)
	return img, nil
}

// measure collects what is beneath a manifest, each once however often it is named, and its platforms. A manifest
// itself has no size.
func measure(l layout.Layout, d digest.Digest, sizes map[digest.Digest]int64, platforms *[]string) error {
	if _, seen := sizes[d]; seen {
		return nil
	}
	sizes[d] = 0
	m, err := l.LoadManifest(d)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, layout.ErrBadManifest) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, child := range m.Manifests {
		if err := measure(l, child.Digest, sizes, platforms); err != nil {
			return err
		}
	}
	for _, blob := range m.Blobs() {
		sizes[blob.Digest] = blob.Size
	}
	if m.Config != nil {
		*platforms = append(*platforms, platform(l, m.Config)...)
	}
	return nil
}

// maxConfig bounds what is read of an image's config.
const maxConfig = 8 << 20

// platform reads the platform from an image's config, none if it has none.
func platform(l layout.Layout, config *ocispec.Descriptor) []string {
	if config.Size > maxConfig {
		return nil
	}
	raw, err := l.ReadBlob(config.Digest)
	if err != nil {
		return nil
	}
	var p ocispec.Platform
	if json.Unmarshal(raw, &p) != nil || p.OS == "" || p.Architecture == "" || p.OS == "unknown" {
		return nil
	}
	s := p.OS + "/" + p.Architecture
	if p.Variant != "" {
		s += "/" + p.Variant
	}
	return []string{s}
}
