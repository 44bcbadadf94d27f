package deploy

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/crawlbox/crawlbox/appliance/api"
	"github.com/crawlbox/crawlbox/appliance/cli/command"
	"github.com/crawlbox/crawlbox/appliance/cli/tui"
	"github.com/crawlbox/crawlbox/appliance/image/source"
)

// buildFrom makes an image of what is at path, and puts it in the request. done
// says that there is nothing more to do.
func buildFrom(a *command.App, cmd *cobra.Command, c *api.Client, f *deployFlags, path string) (done bool, err error) {
	src, err := source.Open(path, f.build.from)
	if err != nil {
		return false, err
	}
	if f.build.printDockerfile {
		return true, a.Printf("%s", src.Dockerfile)
	}
	if f.build.eject {
		return true, eject(a, src)
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
	if *f.DryRun {
		err := a.Printf("build: %s as %s, and push it to the cluster's registry\n", src.Dir,
			strings.TrimSuffix(f.name+":"+f.tag, ":"))
		return true, errors.Join(err, a.Printf(
			"then pull, update and watch; `crawlbox deploy IMAGE --dry-run` says how\n"))
	}
	if err := showGenerated(a, f, src, path); err != nil {
		return false, err
	}
	f.req.Source = f.source(cmd, path)
	f.req.Image, err = buildImage(a, cmd.Context(), c, f, src, secrets)
	return false, err
}

func showGenerated(a *command.App, f *deployFlags, src *source.Source, path string) error {
	if !src.Generated || src.Kind == source.Binary || *f.JSON {
		return nil
	}
	return a.Printf("%s has no Dockerfile; as a %s spider it gets this one (--eject writes it):\n%s", path, src.Kind,
		indent(src.Dockerfile))
}

func buildImage(a *command.App, ctx context.Context, c *api.Client, f *deployFlags, src *source.Source,
	secrets api.Secrets) (image string, err error) {
	files, w := io.Pipe()
	defer files.Close()
	go func() { w.CloseWithError(src.Tar(ctx, w)) }()
	begun := a.Env.Now()
	q := api.BuildRequest{
		Repository: strings.ToLower(f.name),
		Tag:        f.tag,
		Dockerfile: src.DockerfileName(),
		Args:       f.build.given,
		Secrets:    secrets,
		Target:     f.build.target,
		Platform:   f.build.platform,
		Builder:    f.build.builder,
		NoCache:    f.build.noCache,
		Pull:       f.build.pull,
	}
	pushing := begun
	view := tui.NewBuildView(a.Stdout())
	end := view.Start()
	err = c.Build(ctx, q, files, func(e api.BuildEvent) error {
		if e.Image != "" {
			image = e.Image
		}
		if e.Push != nil && pushing.Equal(begun) {
			pushing = a.Env.Now()
		}
		if *f.JSON {
			return json.NewEncoder(a.Env.Stdout).Encode(e)
		}
		return view.See(e)
	})
	end()
	switch {
	case ctx.Err() != nil:
		return "", fmt.Errorf("%w; nothing was changed", command.ErrInterrupted)
	case err != nil || *f.JSON:
		return image, err
	}
	name, _, _ := strings.Cut(image, "@")
	return image, a.Printf("built %s in %s, pushed in %s\n", name, tui.Took(pushing.Sub(begun)),
		tui.Took(a.Env.Now().Sub(pushing)))
}

func eject(a *command.App, src *source.Source) error {
	path, err := src.Eject()
	if err != nil {
		return err
	}
	return a.Printf("wrote %s\n", path)
}

func indent(text string) string {
	return "  " + strings.ReplaceAll(strings.TrimRight(text, "\n"), "\n", "\n  ") + "\n"
}
