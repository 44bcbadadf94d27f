package swarm

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/distribution/reference"
	"github.com/docker/docker/api/types/image"

	"github.com/crawlbox/crawlbox/appliance/fleet"
)

// ImageDigests returns the digests of all images that this engine has, sorted: a task of one
// of them starts without a pull. An image that was built here, and neither pushed
// nor pulled, has none.
func (e *Engine) ImageDigests(ctx context.Context) ([]string, error) {
	list, err := e.images(ctx)
	return digestsOf(list), err
}

func (e *Engine) images(ctx context.Context) ([]image.Summary, error) {
	ctx, cancel := bounded(ctx)
	defer cancel()
	list, err := e.cli.ImageList(ctx, image.ListOptions{})
	return list, e.explain(err)
}

func digestsOf(list []image.Summary) []string {
	digests := []string{}
	for _, i := range list {
		for _, name := range i.RepoDigests {
			if _, digest, ok := strings.Cut(name, "@"); ok && digest != "<none>" {
				digests = append(digests, digest)
			}
		}
	}
	slices.Sort(digests)
	return slices.Compact(digests)
}

// ImagesOf lists the names that this engine's images have in one of the registries,
// given as HOST:PORT: with tags, then with digests.
func (e *Engine) ImagesOf(ctx context.Context, registries []string) ([]string, error) {
	list, err := e.images(ctx)
	return namesIn(list, registries), err
}

func namesIn(list []image.Summary, registries []string) (names []string) {
	for _, i := range list {
		for _, name := range slices.Concat(i.RepoTags, i.RepoDigests) {
			if host, _, below := strings.Cut(name, "/"); below && slices.Contains(registries, host) {
				names = append(names, name)
			}
		}
	}
	return names
}

// platformsTimeout bounds the look-up of what an image was made for: a deploy goes
// on without.
const platformsTimeout = 10 * time.Second

// Platforms says what an image, named with its digest, was made for, as its
// registry has it, or else this engine's own copy. None are returned where neither
// tells.
func (e *Engine) Platforms(ctx context.Context, image string) (list []fleet.Platform) {
	ctx, cancel := context.WithTimeout(ctx, platformsTimeout)
	defer cancel()
	if found, err := e.cli.DistributionInspect(ctx, WithoutTag(image), ""); err == nil {
		for _, p := range found.Platforms {
			list = append(list, fleet.Platform{OS: p.OS, Arch: p.Architecture})
		}
		return list
	}
	if found, err := e.cli.ImageInspect(ctx, WithoutTag(image)); err == nil {
		list = append(list, fleet.Platform{OS: found.Os, Arch: found.Architecture})
	}
	return list
}

// RemoveImage removes an image from this engine, whatever names it has. One
// that is not there is no error.
func (e *Engine) RemoveImage(ctx context.Context, ref string) error {
	ctx, cancel := bounded(ctx)
	defer cancel()
	return e.explain(insist(ctx, func(ctx context.Context) error {
		_, err := e.cli.ImageRemove(ctx, ref, image.RemoveOptions{Force: true, PruneChildren: true})
		return err
	}))
}

// Digest asks the registry behind image, by way of the engine, for its digest.
// ErrNoImage is wrapped where it has none of that name.
func (e *Engine) Digest(ctx context.Context, image string) (string, error) {
	named, err := reference.ParseNormalizedNamed(image)
	if err != nil {
		return "", fmt.Errorf("%q is not an image name: %w; use NAME:TAG, such as localhost:8003/spider:0.01", image,
			err)
	}
	ctx, cancel := bounded(ctx)
	defer cancel()
	insp, err := e.cli.DistributionInspect(ctx, reference.TagNameOnly(named).String(), "")
	if err == nil {
		return insp.Descriptor.Digest.String(), nil
	}
	if cerrdefs.IsNotFound(err) || strings.Contains(err.Error(), "manifest unknown") ||
		strings.Contains(err.Error(), "not found") {
		return "", fmt.Errorf("%w %s; `crawlbox images` lists what was pushed", ErrNoImage, image)
	}
	if errors.Is(e.explain(err), ErrUnreachable) {
		return "", e.explain(err)
	}
	return "", fmt.Errorf("look up image %s: %w; check its name, and that its registry is up", image, e.explain(err))
}
