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

	"github.com/crawlbox/crawlbox/appliance/base/words"
)

// classic builds as docker build did before BuildKit.
func (b *Builder) classic(ctx context.Context, files io.Reader, o BuildOptions,
	see func(line string)) (id string, err error) {
	if o.DockerfileName == "" {
		added := withDockerfile(files, o.Dockerfile)
		defer added.Close()
		files, o.DockerfileName = added, apart
	}
	resp, err := b.engine.ImageBuild(ctx, files, o.docker())
	if cerrdefs.IsInvalidArgument(err) {
		return "", &BuildError{Message: words.Docker(err.Error())}
	}
	if err != nil {
		return "", fmt.Errorf("build: %w", err)
	}
	defer resp.Body.Close()
	return readBuild(resp.Body, see)
}

func (o BuildOptions) docker() build.ImageBuildOptions {
	d := build.ImageBuildOptions{
		Version:     build.BuilderV1,
		NetworkMode: "host",
		Remove:      true,
		ForceRemove: true,
		Dockerfile:  o.DockerfileName,
		AuthConfigs: o.Logins.classic(),
		BuildArgs:   map[string]*string{},
		Target:      o.Target,
		Platform:    o.Platform,
		NoCache:     o.NoCache,
		PullParent:  o.Pull,
	}
	for name, value := range o.Args {
		d.BuildArgs[name] = &value
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
