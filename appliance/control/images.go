package control

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"regexp"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/crawlbox/crawlbox/appliance/api"
	"github.com/crawlbox/crawlbox/appliance/base/naming"
	"github.com/crawlbox/crawlbox/appliance/fleet"
	"github.com/crawlbox/crawlbox/appliance/image"
	"github.com/crawlbox/crawlbox/appliance/swarm"
	"github.com/crawlbox/crawlbox/embedded/registry"
	"github.com/crawlbox/crawlbox/embedded/registry/collect"
)

// Images answers api.Images on the node that has the registry.
type Images struct {
	registry *registry.Registry
	engine   *swarm.Engine
	numbers  Numbers
	kept     func() []string
	collect  Collect
	holders  Holders
	log      *slog.Logger
	errs     Errors
}

// Collect frees the space of images that no tag needs and that are not to be kept, on all managers.
type Collect func(ctx context.Context, keep []digest.Digest) (collect.Report, error)

// Holders finds out how many nodes have an image.
type Holders func(context.Context) (of func(digest string) *fleet.Holders, err error)

// NewImages returns the images of a registry. kept has those that services may go back to, named with their
// digests.
func NewImages(reg *registry.Registry, engine *swarm.Engine, numbers Numbers, kept func() []string, collect Collect,
	holders Holders, log *slog.Logger, errs Errors) *Images {
	return &Images{
		registry: reg,
		engine:   engine,
		numbers:  numbers,
		kept:     kept,
		collect:  collect,
		holders:  holders,
		log:      log,
		errs:     errs,
	}
}

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

// held returns a function that counts the nodes with an image; nil where none could be asked.
func (i *Images) held(ctx context.Context) func(digest string) *fleet.Holders {
	of, err := i.holders(ctx)
	if err != nil {
		i.log.Debug("which nodes have which images is not known", "error", err)
		return func(string) *fleet.Holders { return nil }
	}
	return of
}

// RemoveImage leaves what a service runs unless forced: the service runs on without it, until it is
// deployed again.
func (i *Images) RemoveImage(ctx context.Context, ref string, force bool) error {
	img, err := i.registry.Image(ctx, ref)
	switch {
	case errors.Is(err, registry.ErrUnknownImage):
		return api.NotFound("%s", err)
	case errors.Is(err, registry.ErrBadName):
		return api.Invalid("%s", err)
	case err != nil:
		return i.errs.explain(err)
	}
	if !force {
		by, err := i.usedBy(ctx, img)
		if err != nil {
			return i.errs.explain(err)
		}
		if len(by) > 0 {
			return api.Conflict("%s is what %s runs; deploy another version of it or remove it first, or add "+
				"--force: it runs on, but can't be deployed again", img.Name(), strings.Join(by, " and "))
		}
	}
	if err := i.numbers.Note(img.Repository, img.Tag); err != nil {
		return i.errs.explain(err)
	}
	return i.errs.explain(i.registry.Remove(ctx, ref))
}

// usedBy returns the services that name an image, at whatever address of the registry.
func (i *Images) usedBy(ctx context.Context, img registry.Image) (by []string, err error) {
	services, err := i.engine.Services(ctx)
	for _, s := range services {
		if _, name, _ := strings.Cut(s.Image, "/"); name == img.Name() {
			by = append(by, s.Name)
		}
	}
	return by, err
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
	for _, image := range i.kept() {
		_, d, _ := strings.Cut(image, "@")
		keep = append(keep, digest.Digest(d))
	}
	r, err := i.collect(ctx, keep)
	return api.GCReport{
		Manifests: r.Manifests,
		Blobs:     r.Blobs,
		Bytes:     r.Bytes,
		Held:      r.Held,
		HeldUntil: r.HeldUntil,
	}, i.errs.explain(err)
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

// repositoryName matches what a registry takes, without a host.
var repositoryName = regexp.MustCompile(`^[a-z0-9]+([._-]+[a-z0-9]+)*(/[a-z0-9]+([._-]+[a-z0-9]+)*)*$`)

// pushTick is how often a push says how far it is.
const pushTick = 100 * time.Millisecond

// Builds answers api.Builds on the node that has the registry.
type Builds struct {
	engine   *swarm.Engine
	registry *registry.Registry
	numbers  Numbers
	port     uint16
	errs     Errors
}

// NewBuilds returns what builds images by engine and pushes them into a registry, which is
// at a port of this machine.
func NewBuilds(engine *swarm.Engine, reg *registry.Registry, numbers Numbers, port uint16, errs Errors) *Builds {
	return &Builds{
		engine:   engine,
		registry: reg,
		numbers:  numbers,
		port:     port,
		errs:     errs,
	}
}

// name returns what an image is called in the registry.
func (b *Builds) name(repository, tag string) string {
	return fmt.Sprintf("%s/%s:%s", LocalRegistry(b.port), repository, tag)
}

// Build implements api.Builds. It lets Docker build the files and push the image to the registry here. A tag
// that is there already is not given to another image.
func (b *Builds) Build(ctx context.Context, q api.BuildRequest, files io.Reader, fn func(api.BuildEvent) error) error {
	tag, err := b.claim(ctx, q.Repository, q.Tag)
	if err != nil {
		return err
	}
	builder := image.NewBuilder(b.engine.Client())
	var gone error // the client's
	_, err = builder.Build(ctx, files, image.BuildOptions{
		Tag:            b.name(q.Repository, tag),
		Dockerfile:     string(q.Dockerfile),
		DockerfileName: q.DockerfileName,
		Args:           q.Args,
		Logins:         q.Logins,
		Secrets:        q.Secrets,
		Target:         q.Target,
		Platform:       q.Platform,
		NoCache:        q.NoCache,
		Pull:           q.Pull,
		Builder:        q.Builder,
	}, func(p image.Progress) {
		if gone == nil {
			gone = fn(api.BuildEvent{Line: p.Line, Step: p.Step})
		}
	})
	if errors.Is(err, image.ErrNoBuildKit) {
		return api.Invalid("%v", err)
	}
	if err != nil {
		return b.errs.explain(err)
	}
	return b.push(ctx, builder, q.Repository, tag, gone, fn)
}

// Push brings an image that Docker has here into the registry, as Build does with what it built.
func (b *Builds) Push(ctx context.Context, q api.PushRequest, fn func(api.BuildEvent) error) error {
	tag, err := b.claim(ctx, q.Repository, q.Tag)
	if err != nil {
		return err
	}
	builder := image.NewBuilder(b.engine.Client())
	err = builder.Tag(ctx, q.Image, b.name(q.Repository, tag))
	if errors.Is(err, image.ErrNotHere) {
		return api.NotFound("%v; see `docker images`, or fetch it with `docker pull %s`", err, q.Image)
	}
	if err != nil {
		return b.errs.explain(err)
	}
	return b.push(ctx, builder, q.Repository, tag, nil, fn)
}

// claim returns the tag of an image that goes into the registry: the one given if it is free, or the
// next one.
func (b *Builds) claim(ctx context.Context, repository, tag string) (string, error) {
	if !repositoryName.MatchString(repository) {
		return "", api.Invalid("%q can't be the name of an image; use small letters, digits and dashes", repository)
	}
	return b.freeTag(ctx, repository, tag)
}

// push brings an image of the engine into the registry and says so. gone is set where the client is.
func (b *Builds) push(ctx context.Context, builder *image.Builder, repository, tag string, gone error,
	fn func(api.BuildEvent) error) error {
	if err := b.numbers.Note(repository, tag); err != nil {
		return b.errs.explain(err)
	}
	name, last := b.name(repository, tag), time.Time{}
	digest, err := builder.Push(ctx, name, func(p image.PushProgress) {
		if gone == nil && time.Since(last) >= pushTick {
			last, gone = time.Now(), fn(api.BuildEvent{Push: &p})
		}
	})
	if err != nil {
		return b.errs.explain(err)
	}
	return errors.Join(gone, fn(api.BuildEvent{Image: name + "@" + digest}))
}

// tags returns those that images of a repository have in the registry, and in services and this
// machine's Docker: after a part of a backup was restored these alone know the last ones.
func (b *Builds) tags(ctx context.Context, repository string) (tags []string, err error) {
	images, err := b.registry.Images(ctx)
	for _, i := range images {
		if i.Repository == repository {
			tags = append(tags, i.Tag)
		}
	}
	services, svcErr := b.engine.Services(ctx)
	names, imgErr := b.engine.ImagesOf(ctx, []string{LocalRegistry(b.port)})
	for _, s := range services {
		names = append(names, s.Image)
	}
	for _, name := range names {
		if tag, ok := strings.CutPrefix(name, b.name(repository, "")); ok {
			tags = append(tags, tag)
		}
	}
	return tags, cmp.Or(err, svcErr, imgErr)
}

// freeTag returns the tag that was asked for, if there is no image of that name yet, or
// the next one.
func (b *Builds) freeTag(ctx context.Context, repository, tag string) (string, error) {
	if tag == "" {
		tags, err := b.tags(ctx, repository)
		if err != nil {
			return "", b.errs.explain(err)
		}
		next, err := b.numbers.Next(repository, tags)
		return next, b.errs.explain(err)
	}
	if err := naming.CheckTag(tag); err != nil {
		return "", api.Invalid("%s", err)
	}
	_, err := b.registry.Digest(ctx, repository+":"+tag)
	switch {
	case err == nil:
		return "", api.Conflict("the image %s:%s is there already; choose another --tag or leave it out, or remove "+
			"that one with `crawlbox images rm %s:%s`", repository, tag, repository, tag)
	case errors.Is(err, registry.ErrUnknownImage):
		return tag, nil
	}
	return "", b.errs.explain(err)
}
