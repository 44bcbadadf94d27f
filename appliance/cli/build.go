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
	if f.tag == tagOfGit {
		if f.tag, err = source.Revision(cmd.Context(), src.Dir); err != nil {
			return false, fmt.Errorf("--tag %s: %w", tagOfGit, err)
		}
	}
	secrets, err := f.build.readSecrets()
	if err != nil {
		return false, err
	}
	if *f.dryRun {
		err := a.printf("build: %s as %s, and push it to the cluster's registry\n", src.Dir, strings.TrimSuffix(f.name+":"+f.tag, ":"))
		return true, errors.Join(err, a.printf("then stage, flip and watch; `crawlbox deploy IMAGE --dry-run` says how\n"))
	}
	if err := a.showGenerated(f, src, path); err != nil {
		return false, err
	}
	f.req.Source = f.source(cmd, path)
	f.req.Image, err = a.build(cmd.Context(), c, f, src, secrets)
	return false, err
}

func (a *app) showGenerated(f *deployFlags, src *source.Source, path string) error {
	if !src.Generated || src.Kind == source.Binary || *f.json {
		return nil
	}
	return a.printf("%s has no Dockerfile; as a %s spider it gets this one (--eject writes it):\n%s", path, src.Kind, indent(src.Dockerfile))
}

func (a *app) build(ctx context.Context, c *api.Client, f *deployFlags, src *source.Source, secrets api.Secrets) (image string, err error) {
	files, w := io.Pipe()
	defer files.Close()
	go func() { w.CloseWithError(src.Tar(ctx, w)) }()
	begun := a.env.Now()
	q := api.BuildRequest{Repository: strings.ToLower(f.name), Tag: f.tag, Dockerfile: src.DockerfileName(), Args: f.build.given, Secrets: secrets,
		Target: f.build.target, Platform: f.build.platform, Builder: f.build.builder, NoCache: f.build.noCache, Pull: f.build.pull}
	pushing := begun
	view := newBuildView(a.stdout(), a.env.Now)
	end := view.start()
	err = c.Build(ctx, q, files, func(e api.BuildEvent) error {
		if e.Image != "" {
			image = e.Image
		}
		if e.Push != nil && pushing.Equal(begun) {
			pushing = a.env.Now()
		}
		if *f.json {
			return json.NewEncoder(a.env.Stdout).Encode(e)
		}
		return view.see(e)
	})
	end()
	switch {
	case ctx.Err() != nil:
		return "", fmt.Errorf("%w; nothing was changed", errInterrupted)
	case err != nil || *f.json:
		return image, err
	}
	name, _, _ := strings.Cut(image, "@")
	return image, a.printf("built %s in %s, pushed in %s\n", name, took(pushing.Sub(begun)), took(a.env.Now().Sub(pushing)))
}

func (a *app) eject(src *source.Source) error {
	path, err := src.Eject()
	if err != nil {
		return err
	}
	return a.printf("wrote %s\n", path)
}

func indent(text string) string {
	return "  " + strings.ReplaceAll(strings.TrimRight(text, "\n"), "\n", "\n  ") + "\n"
}
