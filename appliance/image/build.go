package image

import (
	"context"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/build"
	images "github.com/docker/docker/api/types/image"
)

// Engine is what a Builder needs of the Docker Engine; *client.Client has it.
type Engine interface {
	ImageBuild(ctx context.Context, files io.Reader, o build.ImageBuildOptions) (build.ImageBuildResponse, error)
	ImagePush(ctx context.Context, ref string, o images.PushOptions) (io.ReadCloser, error)
}

// Builder builds and pushes images by the Docker Engine of this node. It is
// safe for concurrent use. Only the caller's context bounds a build or a push.
type Builder struct{ engine Engine }

// NewBuilder makes a Builder.
func NewBuilder(e Engine) *Builder { return &Builder{e} }

// BuildOptions say how to build. The zero value builds an image without a name
// of the file Dockerfile.
type BuildOptions struct {
	Tag        string             // name of the image
	Dockerfile string             // name in the context
	Args       map[string]*string // of ARG; nil takes the value from the engine's environment
	Target     string             // stage to stop at
	Platform   string             // such as linux/arm64; the engine's own if empty
	NoCache    bool               // run each step again
	Pull       bool               // ask the registry for a newer base image
}

// Build builds an image of a build context, which is a tar. It calls see for
// each line of output, and returns the image's id. A build that failed is a
// *BuildError.
func (b *Builder) Build(ctx context.Context, files io.Reader, o BuildOptions, see func(line string)) (id string, err error) {
	resp, err := b.engine.ImageBuild(ctx, files, o.docker())
	if cerrdefs.IsInvalidArgument(err) {
		return "", &BuildError{Message: oneLine(strings.TrimPrefix(err.Error(), "Error response from daemon: "))}
	}
	if err != nil {
		return "", fmt.Errorf("build: %w", err)
	}
	defer resp.Body.Close()
	id, err = readBuild(resp.Body, see)
	if ctx.Err() != nil {
		return "", fmt.Errorf("build: %w", ctx.Err())
	}
	return id, err
}

// docker gives the options to the classic builder: it is in each engine, while
// BuildKit wants a session that the client keeps up.
//
// A build has the network of its host, as crawlers have: name servers on
// 127.0.0.1, routes and the mirror of the node are those of the host, and it
// works where Docker's bridge does not.
func (o BuildOptions) docker() build.ImageBuildOptions {
	d := build.ImageBuildOptions{
		Version: build.BuilderV1, NetworkMode: "host", Remove: true, ForceRemove: true,
		Dockerfile: o.Dockerfile, BuildArgs: o.Args, Target: o.Target, Platform: o.Platform, NoCache: o.NoCache, PullParent: o.Pull,
	}
	if o.Tag != "" {
		d.Tags = []string{o.Tag}
	}
	return d
}

var stepLine = regexp.MustCompile(`^Step (\d+/\d+) : (.*)`)

// readBuild follows a build to its end.
func readBuild(r io.Reader, see func(string)) (id string, err error) {
	var failed BuildError
	out := lineWriter{see: func(line string) {
		if m := stepLine.FindStringSubmatch(line); m != nil {
			failed.Step, failed.Command = m[1], m[2]
		}
		failed.keep(line)
		see(line)
	}}
	err = decode(r, func(m message) {
		switch {
		case m.Aux != nil: // each stage says its own, the last one that of the image
			id = auxOf(m).ID
		case m.Status == "":
			out.write(m.Stream)
		case m.ID == "" || strings.HasPrefix(m.Status, "Pulling from"): // not each state of each layer
			out.write(strings.TrimPrefix(m.ID+": "+m.Status, ": ") + "\n")
		}
	})
	out.flush()
	var said errSaid
	switch {
	case errors.As(err, &said):
		failed.Message = string(said)
		return "", &failed
	case err != nil:
		return "", fmt.Errorf("build: %w", err)
	case id == "":
		return "", errors.New("build: the engine ended without an image")
	}
	return id, nil
}
