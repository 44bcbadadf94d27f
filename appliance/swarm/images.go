package swarm

import (
	"context"
	"slices"
	"strings"

	"github.com/docker/docker/api/types/image"
)

// ImageDigests are those of all images that this engine has, sorted: a task of one
// of them starts without a pull. An image that was built here, and neither pushed
// nor pulled, has none.
func (e *Engine) ImageDigests(ctx context.Context) ([]string, error) {
	ctx, cancel := bounded(ctx)
	defer cancel()
	list, err := e.cli.ImageList(ctx, image.ListOptions{})
	if err != nil {
		return nil, e.explain(err)
	}
	return digestsOf(list), nil
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
	ctx, cancel := bounded(ctx)
	defer cancel()
	list, err := e.cli.ImageList(ctx, image.ListOptions{})
	if err != nil {
		return nil, e.explain(err)
	}
	return namesIn(list, registries), nil
}

func namesIn(list []image.Summary, registries []string) (names []string) {
	add := func(name string) {
		if host, _, below := strings.Cut(name, "/"); below && slices.Contains(registries, host) {
			names = append(names, name)
		}
	}
	for _, i := range list {
		for _, name := range slices.Concat(i.RepoTags, i.RepoDigests) {
			add(name)
		}
	}
	return names
}
