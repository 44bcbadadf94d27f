package control

import (
	"context"
	"errors"

	"github.com/opencontainers/go-digest"

	"github.com/crawlbox/crawlbox/appliance/api"
	"github.com/crawlbox/crawlbox/appliance/fleet"
	"github.com/crawlbox/crawlbox/embedded/registry"
)

func (b *Backend) Images(ctx context.Context, nodes bool) ([]fleet.Image, error) {
	if b.Registry == nil {
		return nil, b.onlyOn("the registry")
	}
	list, err := b.Registry.Images(ctx)
	if err != nil {
		return nil, b.explain(err)
	}
	used, err := b.imagesInUse(ctx)
	if err != nil {
		// The registry can be looked at also while Docker is away.
		b.Log.Debug("images in use are not known", "error", err)
	}
	held := func(string) *fleet.Holders { return nil }
	if nodes {
		held = b.held(ctx)
	}
	images := make([]fleet.Image, 0, len(list))
	for _, i := range list {
		images = append(images, fleet.Image{Repository: i.Repository, Tag: i.Tag, Digest: i.Digest.String(),
			Size: i.Size, Pushed: i.Pushed, Used: used[i.Digest.String()],
			Nodes: held(i.Digest.String())})
	}
	return images, nil
}

// held says how many nodes have an image; nil where nobody could be asked.
func (b *Backend) held(ctx context.Context) func(digest string) *fleet.Holders {
	of, err := b.Holders(ctx)
	if err != nil {
		b.Log.Debug("which nodes have which images is not known", "error", err)
		return func(string) *fleet.Holders { return nil }
	}
	return of
}

func (b *Backend) RemoveImage(ctx context.Context, ref string) error {
	if b.Registry == nil {
		return b.onlyOn("the registry")
	}
	err := b.Registry.Remove(ctx, ref)
	switch {
	case errors.Is(err, registry.ErrUnknownImage):
		return &api.Error{Code: api.CodeNotFound, Message: err.Error()}
	case errors.Is(err, registry.ErrBadName):
		return api.Invalid("%s", err)
	}
	return b.explain(err)
}

// CollectImages needs Docker: without knowing what services run, nothing may
// be deleted.
func (b *Backend) CollectImages(ctx context.Context) (api.GCReport, error) {
	if b.Registry == nil {
		return api.GCReport{}, b.onlyOn("the registry")
	}
	used, err := b.imagesInUse(ctx)
	if err != nil {
		return api.GCReport{}, b.explain(err)
	}
	keep := make([]digest.Digest, 0, len(used))
	for d := range used {
		keep = append(keep, digest.Digest(d))
	}
	for _, d := range b.Deploys.KeptDigests() {
		keep = append(keep, digest.Digest(d))
	}
	r, err := b.Registry.GC(ctx, keep)
	return api.GCReport{Manifests: r.Manifests, Blobs: r.Blobs, Bytes: r.Bytes, Held: r.Held, HeldUntil: r.HeldUntil}, b.explain(err)
}

// imagesInUse returns the services by the digest that they ask for, or that a
// task of theirs still runs. A service that names a tag without a digest needs
// what the tag points at, which the tag keeps.
func (b *Backend) imagesInUse(ctx context.Context) (map[string][]string, error) {
	snap, err := b.Engine.Snapshot(ctx)
	if err != nil {
		return nil, err
	}
	used := map[string][]string{}
	for _, s := range snap.Services {
		if s.Digest != "" {
			used[s.Digest] = append(used[s.Digest], s.Name)
		}
	}
	for _, t := range snap.Tasks {
		if _, known := used[t.Digest]; !known && t.Digest != "" {
			used[t.Digest] = nil
		}
	}
	return used, nil
}
