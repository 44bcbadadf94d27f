package node

import (
	"context"
	"errors"

	"github.com/opencontainers/go-digest"

	"github.com/crawlbox/crawlbox/appliance/api"
	"github.com/crawlbox/crawlbox/appliance/fleet"
	"github.com/crawlbox/crawlbox/embedded/registry"
)

func (b *backend) Images(ctx context.Context, nodes bool) ([]fleet.Image, error) {
	if b.registry == nil {
		return nil, b.onlyOn("the registry")
	}
	list, err := b.registry.Images(ctx)
	if err != nil {
		return nil, b.explain(err)
	}
	used, err := b.imagesInUse(ctx)
	if err != nil {
		// The registry can be looked at also while Docker is away.
		b.log.Debug("images in use are not known", "error", err)
	}
	var held *holders
	if nodes {
		held = b.held(ctx)
	}
	images := make([]fleet.Image, 0, len(list))
	for _, i := range list {
		images = append(images, fleet.Image{Repository: i.Repository, Tag: i.Tag, Digest: i.Digest.String(),
			Size: i.Size, Pushed: i.Pushed, Used: used[i.Digest.String()],
			Nodes: held.of(i.Digest.String())})
	}
	return images, nil
}

// held says which nodes have what; nil where nobody could be asked.
func (b *backend) held(ctx context.Context) *holders {
	h, err := b.holders(ctx)
	if err != nil {
		b.log.Debug("which nodes have which images is not known", "error", err)
		return nil
	}
	return &h
}

func (b *backend) RemoveImage(ctx context.Context, ref string) error {
	if b.registry == nil {
		return b.onlyOn("the registry")
	}
	err := b.registry.Remove(ctx, ref)
	switch {
	case errors.Is(err, registry.ErrUnknownImage):
		return &api.Error{Code: api.CodeNotFound, Message: err.Error()}
	case errors.Is(err, registry.ErrBadName):
		return invalid("%s", err)
	}
	return b.explain(err)
}

// CollectImages needs Docker: without knowing what services run, nothing may
// be deleted.
func (b *backend) CollectImages(ctx context.Context) (api.GCReport, error) {
	if b.registry == nil {
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
	for _, d := range b.deploys.kept() {
		keep = append(keep, digest.Digest(d))
	}
	r, err := b.registry.GC(ctx, keep)
	return api.GCReport{Manifests: r.Manifests, Blobs: r.Blobs, Bytes: r.Bytes, Held: r.Held, HeldUntil: r.HeldUntil}, b.explain(err)
}

// imagesInUse returns the services by the digest that they ask for, or that a
// task of theirs still runs. A service that names a tag without a digest needs
// what the tag points at, which the tag keeps.
func (b *backend) imagesInUse(ctx context.Context) (map[string][]string, error) {
	snap, err := b.engine.Snapshot(ctx)
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
