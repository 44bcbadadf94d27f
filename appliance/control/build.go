package control

import (
	"context"
	"errors"
	"fmt"
	"io"
	"regexp"
	"time"

	"github.com/crawlbox/crawlbox/appliance/api"
	"github.com/crawlbox/crawlbox/appliance/deploy/history"
	"github.com/crawlbox/crawlbox/appliance/image"
	"github.com/crawlbox/crawlbox/embedded/registry"
)

// repositoryName and tagName are what a registry takes, without a host.
var (
	repositoryName = regexp.MustCompile(`^[a-z0-9]+([._-]+[a-z0-9]+)*(/[a-z0-9]+([._-]+[a-z0-9]+)*)*$`)
	tagName        = regexp.MustCompile(`^\w[\w.-]{0,127}$`)
)

// pushTick is how often a push says how far it is.
const pushTick = 100 * time.Millisecond

// Build lets Docker build the files and push the image to the registry here. A tag
// that is there already is not given to another image.
func (b *Backend) Build(ctx context.Context, q api.BuildRequest, files io.Reader, fn func(api.BuildEvent) error) error {
	if !repositoryName.MatchString(q.Repository) {
		return api.Invalid("%q can't be the name of an image; use small letters, digits and dashes", q.Repository)
	}
	tag, err := b.freeTag(ctx, q)
	if err != nil {
		return err
	}
	name := fmt.Sprintf("localhost:%d/%s:%s", b.Cfg.Registry.Port, q.Repository, tag)
	builder := image.NewBuilder(b.Engine.Client())
	var gone error // the client's
	_, err = builder.Build(ctx, files, image.BuildOptions{Tag: name, Dockerfile: q.Dockerfile, Args: q.Args, Secrets: q.Secrets, Target: q.Target,
		Platform: q.Platform, NoCache: q.NoCache, Pull: q.Pull, Builder: q.Builder}, func(p image.Progress) {
		if gone == nil {
			gone = fn(api.BuildEvent{Line: p.Line, Step: p.Step})
		}
	})
	if errors.Is(err, image.ErrNoBuildKit) {
		return api.Invalid("%v", err)
	}
	if err != nil {
		return b.explain(err)
	}
	var last time.Time
	digest, err := builder.Push(ctx, name, func(p image.PushProgress) {
		if gone == nil && time.Since(last) >= pushTick {
			last, gone = time.Now(), fn(api.BuildEvent{Push: &p})
		}
	})
	if err != nil {
		return b.explain(err)
	}
	return errors.Join(gone, fn(api.BuildEvent{Image: name + "@" + digest}))
}

// freeTag is the tag that was asked for, if there is no image of that name yet, or
// the next one.
func (b *Backend) freeTag(ctx context.Context, q api.BuildRequest) (string, error) {
	if q.Tag == "" {
		images, err := b.Registry.Images(ctx)
		if err != nil {
			return "", b.explain(err)
		}
		var tags []string
		for _, i := range images {
			if i.Repository == q.Repository {
				tags = append(tags, i.Tag)
			}
		}
		return history.NextTag(tags), nil
	}
	if !tagName.MatchString(q.Tag) {
		return "", api.Invalid("%q can't be a tag; use letters, digits, dots and dashes, such as 0.02", q.Tag)
	}
	_, err := b.Registry.Digest(ctx, q.Repository+":"+q.Tag)
	switch {
	case err == nil:
		return "", api.Conflict("the image %s:%s is there already; choose another --tag or leave it out, or remove that one with `crawlbox images rm %s:%s`", q.Repository, q.Tag, q.Repository, q.Tag)
	case errors.Is(err, registry.ErrUnknownImage):
		return q.Tag, nil
	}
	return "", b.explain(err)
}
