package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/crawlbox/crawlbox/appliance/api"
	"github.com/crawlbox/crawlbox/appliance/image/source"
)

// buildFlags say how a folder becomes an image.
type buildFlags struct {
	from            source.Options
	args            []string
	target          string
	platform        string
	noCache, pull   bool
	printDockerfile bool
	eject           bool
}

func (f *buildFlags) add(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVarP(&f.from.Dockerfile, "dockerfile", "f", "", "`path` of the Dockerfile")
	flags.StringVar(&f.from.Spider, "spider", "", "`name` of the Scrapy spider to run")
	flags.StringVar(&f.from.Base, "base", "", "base `image` of a Dockerfile made by crawlbox")
	flags.StringArrayVar(&f.args, "build-arg", nil, "`value` NAME=VALUE of an ARG")
	flags.StringVar(&f.target, "target", "", "`stage` of the Dockerfile to stop at")
	flags.StringVar(&f.platform, "platform", "", "`platform` to build for, as linux/arm64")
	flags.BoolVar(&f.noCache, "no-cache", false, "run each step of the build again")
	flags.BoolVar(&f.pull, "pull", false, "ask for newer base images")
	flags.BoolVar(&f.printDockerfile, "print-dockerfile", false, "print the Dockerfile that is made, no more")
	flags.BoolVar(&f.eject, "eject", false, "write that Dockerfile to the folder, no more")
}

// buildFrom makes an image of what is at path, and puts it in the request. done
// says that there is nothing more to do.
func (a *app) buildFrom(cmd *cobra.Command, c *api.Client, f *deployFlags, path string) (done bool, err error) {
	src, err := source.Open(path, f.build.from)
	if err != nil {
		return false, err
	}
	if f.build.printDockerfile {
		return true, a.printf("%s", src.Dockerfile)
	}
	if f.build.eject {
		return true, a.eject(src)
	}
	if err := src.Check(); err != nil {
		return false, err
	}
	if f.name == "" {
		f.name = src.Name
	}
	if *f.dryRun {
		err := a.printf("build: %s as %s, and push it to the cluster's registry\n", src.Dir, f.name)
		return true, errors.Join(err, a.printf("then stage, flip and watch; `crawlbox deploy IMAGE --dry-run` says how\n"))
	}
	if err := a.showGenerated(f, src, path); err != nil {
		return false, err
	}
	f.req.Source = f.source(cmd, path)
	f.req.Image, err = a.build(cmd.Context(), c, f, src)
	return false, err
}

func (a *app) showGenerated(f *deployFlags, src *source.Source, path string) error {
	if !src.Generated || src.Kind == source.Binary || *f.json {
		return nil
	}
	return a.printf("%s has no Dockerfile; as a %s spider it gets this one (--eject writes it):\n%s", path, src.Kind, indent(src.Dockerfile))
}

func (a *app) build(ctx context.Context, c *api.Client, f *deployFlags, src *source.Source) (image string, err error) {
	files, w := io.Pipe()
	defer files.Close()
	go func() { w.CloseWithError(src.Tar(ctx, w)) }()
	begun := a.env.Now()
	q := api.BuildRequest{Repository: strings.ToLower(f.name), Tag: f.tag, Dockerfile: src.DockerfileName(), Args: buildArgs(f.build.args),
		Target: f.build.target, Platform: f.build.platform, NoCache: f.build.noCache, Pull: f.build.pull}
	pushing := begun
	err = c.Build(ctx, q, files, func(e api.BuildEvent) error {
		if e.Image != "" {
			image = e.Image
		}
		if e.Push != nil && pushing.Equal(begun) {
			pushing = a.env.Now()
		}
		return a.showBuild(*f.json, e)
	})
	switch {
	case ctx.Err() != nil:
		return "", fmt.Errorf("%w; nothing was changed", errInterrupted)
	case err != nil || *f.json:
		return image, err
	}
	name, _, _ := strings.Cut(image, "@")
	return image, a.printf("built %s in %s, pushed in %s\n", name, took(pushing.Sub(begun)), took(a.env.Now().Sub(pushing)))
}

func (a *app) showBuild(asJSON bool, e api.BuildEvent) error {
	switch {
	case asJSON:
		return json.NewEncoder(a.env.Stdout).Encode(e)
	case e.Line != "":
		return a.printf("  %s\n", strings.TrimRight(e.Line, "\r\n"))
	}
	return nil
}

func (a *app) eject(src *source.Source) error {
	path, err := src.Eject()
	if err != nil {
		return err
	}
	return a.printf("wrote %s\n", path)
}

func buildArgs(list []string) map[string]*string {
	args := map[string]*string{}
	for _, text := range list {
		name, value, given := strings.Cut(text, "=")
		args[name] = nil
		if given {
			args[name] = &value
		}
	}
	return args
}

func indent(text string) string {
	return "  " + strings.ReplaceAll(strings.TrimRight(text, "\n"), "\n", "\n  ") + "\n"
}
