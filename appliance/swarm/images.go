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
