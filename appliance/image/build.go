package image

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"

	"github.com/docker/docker/api/types"
	"github.com/docker/docker/api/types/build"
	images "github.com/docker/docker/api/types/image"
)

// Engine is the part of the Docker Engine that a Builder needs; *client.Client has it.
type Engine interface {
	Ping(ctx context.Context) (types.Ping, error)
	DialHijack(ctx context.Context, path, proto string, meta map[string][]string) (net.Conn, error)
	ImageBuild(ctx context.Context, files io.Reader, o build.ImageBuildOptions) (build.ImageBuildResponse, error)
	ImagePush(ctx context.Context, ref string, o images.PushOptions) (io.ReadCloser, error)
	ImageTag(ctx context.Context, image, ref string) error
}

// Builder builds and pushes images by the Docker Engine of this node. It is
// safe for concurrent use. Only the caller's context bounds a build or a push.
type Builder struct{ engine Engine }

func NewBuilder(e Engine) *Builder { return &Builder{e} }

// The builders of the Docker Engine, by the names that BuildOptions takes.
const (
	Auto     = ""         // BuildKit, unless the engine has none or its daemon.json turns it off
	BuildKit = "buildkit" // or fail
	Classic  = "classic"  // one step after the other, in each engine
)

// BuildOptions say how to build an image of a Dockerfile. What is zero is as docker build has it.
//
// A build has the network of its host, as crawlers have: name servers on
// 127.0.0.1, routes and the mirror of the node are those of the host, and it
// works where Docker's bridge does not.
type BuildOptions struct {
	Tag            string            // name of the image; empty: it has none
	Dockerfile     string            // text
	DockerfileName string            // in the context; empty: it is none of the files there
	Args           map[string]string // of ARG
	Logins         Logins            // for the registries of base images
	Secrets        map[string][]byte // of RUN --mount=type=secret, by id; BuildKit only
	Target         string            // stage to stop at
	Platform       string            // such as linux/arm64; the engine's own if empty
	NoCache        bool              // run each step again
	Pull           bool              // ask the registry for a newer base image
	Builder        string            // Auto, BuildKit or Classic
}

// Progress is one word of a build. One field is set.
type Progress struct {
	Line string // of the classic builder
	Step *Step  // of BuildKit
}

// ErrNoBuildKit is wrapped by Build where a build needs BuildKit, and the engine
// has none or was told not to use it.
var ErrNoBuildKit = errors.New("BuildKit, which is not to be had here")

// Build builds an image of a build context, which is a tar. It calls see for
// each word of the builder, from one goroutine, and first after the context has been
// read. It returns the image's id. A build that failed is a *BuildError.
func (b *Builder) Build(ctx context.Context, files io.Reader, o BuildOptions,
	see func(Progress)) (id string, err error) {
	k, err := b.choose(ctx, o)
	switch {
	case err != nil:
		return "", err
	case k == nil:
		id, err = b.classic(ctx, files, o, func(line string) { see(Progress{Line: line}) })
	default:
		defer k.close()
		id, err = k.build(ctx, files, o, see)
	}
	if ctx.Err() != nil {
		return "", fmt.Errorf("build: %w", ctx.Err())
	}
	return id, err
}

// choose returns BuildKit, or nil for the classic builder.
func (b *Builder) choose(ctx context.Context, o BuildOptions) (*buildKit, error) {
	why := "the classic builder was asked for"
	if o.Builder != Classic {
		k, err := b.openBuildKit(ctx, o.Builder == BuildKit)
		if err == nil {
			return k, nil
		}
		why = err.Error()
	}
	switch {
	case len(o.Secrets) > 0:
		return nil, fmt.Errorf("build secrets need %w: %s", ErrNoBuildKit, why)
	case o.Builder == BuildKit:
		return nil, fmt.Errorf("the build wants %w: %s", ErrNoBuildKit, why)
	}
	return nil, nil
}
