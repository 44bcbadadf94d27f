package control

import (
	"context"
	"errors"
	"log/slog"

	"github.com/opencontainers/go-digest"

	"github.com/crawlbox/crawlbox/appliance/api"
	"github.com/crawlbox/crawlbox/appliance/fleet"
	"github.com/crawlbox/crawlbox/appliance/swarm"
	"github.com/crawlbox/crawlbox/embedded/registry"
)

// Images answers api.Images on the node that has the registry.
type Images struct {
	registry *registry.Registry
	engine   *swarm.Engine
	kept     func() []string
	holders  Holders
	log      *slog.Logger
	errs     Errors
}

// Holders finds out how many nodes have an image.
type Holders func(context.Context) (of func(digest string) *fleet.Holders, err error)

// NewImages returns the images of a registry. kept has the digests of those that services
// may go back to.
func NewImages(reg *registry.Registry, engine *swarm.Engine, kept func() []string, holders Holders, log *slog.Logger, errs Errors) *Images {
	return &Images{registry: reg, engine: engine, kept: kept, holders: holders, log: log, errs: errs}
}

// Images implements api.Images.
func (i *Images) Images(ctx context.Context, nodes bool) ([]fleet.Image, error) {
	list, err := i.registry.Images(ctx)
	if err != nil {
		return nil, i.errs.explain(err)
	}
	used, err := i.inUse(ctx)
	if err != nil {
		// The registry can be looked at also while Docker is away.
		i.log.Debug("images in use are not known", "error", err)
	}
	held := func(string) *fleet.Holders { return nil }
	if nodes {
		held = i.held(ctx)
	}
	images := make([]fleet.Image, 0, len(list))
	for _, t := range list {
		images = append(images, fleet.Image{
			Repository: t.Repository,
			Tag:        t.Tag,
			Digest:     t.Digest.String(),
			Size:       t.Size,
			Pushed:     t.Pushed,
			Used:       used[t.Digest.String()],
			Nodes:      held(t.Digest.String()),
		})
	}
	return images, nil
}

// held says how many nodes have an image; nil where nobody could be asked.
func (i *Images) held(ctx context.Context) func(digest string) *fleet.Holders {
	of, err := i.holders(ctx)
	if err != nil {
		i.log.Debug("which nodes have which images is not known", "error", err)
		return func(string) *fleet.Holders { return nil }
	}
	return of
}

// RemoveImage implements api.Images.
func (i *Images) RemoveImage(ctx context.Context, ref string) error {
	err := i.registry.Remove(ctx, ref)
	switch {
	case errors.Is(err, registry.ErrUnknownImage):
		return &api.Error{Code: api.CodeNotFound, Message: err.Error()}
	case errors.Is(err, registry.ErrBadName):
		return api.Invalid("%s", err)
	}
	return i.errs.explain(err)
}

// CollectImages implements api.Images. It needs Docker: without knowing what services run, nothing may
// be deleted.
func (i *Images) CollectImages(ctx context.Context) (api.GCReport, error) {
	used, err := i.inUse(ctx)
	if err != nil {
		return api.GCReport{}, i.errs.explain(err)
	}
	keep := make([]digest.Digest, 0, len(used))
	for d := range used {
		keep = append(keep, digest.Digest(d))
	}
	for _, d := range i.kept() {
		keep = append(keep, digest.Digest(d))
	}
	r, err := i.registry.GC(ctx, keep)
	return api.GCReport{Manifests: r.Manifests, Blobs: r.Blobs, Bytes: r.Bytes, Held: r.Held, HeldUntil: r.HeldUntil}, i.errs.explain(err)
}

// inUse returns the services by the digest that they ask for, or that a
// task of theirs still runs. A service that names a tag without a digest needs
// what the tag points at, which the tag keeps.
func (i *Images) inUse(ctx context.Context) (map[string][]string, error) {
	snap, err := i.engine.Snapshot(ctx)
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
