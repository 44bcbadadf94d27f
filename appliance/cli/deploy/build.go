package deploy

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/crawlbox/crawlbox/appliance/api"
	"github.com/crawlbox/crawlbox/appliance/cli/change"
	"github.com/crawlbox/crawlbox/appliance/cli/command"
	"github.com/crawlbox/crawlbox/appliance/cli/tui"
	"github.com/crawlbox/crawlbox/appliance/image/source"
)

// BuildCmd returns crawlbox build.
func BuildCmd(a *command.App) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "build [PATH]",
		Short: "Build an image and push it, without a deploy",
		Long: `Build a directory, or a static program, as 'crawlbox deploy' does, and push the
image into the cluster's registry. Nothing that runs is changed.`,
		Example: "  crawlbox build\n  crawlbox build ./spider --name spider --tag 1.4",
		Args:    command.AtMostOne("one directory or program"),
	}
	f := deployFlags{Flags: change.Flags{JSON: command.JSONFlag(cmd)}}
	f.addNames(cmd.Flags(), "the image")
	f.build.add(cmd)
	cmd.RunE = a.Asking(func(cmd *cobra.Command, c *api.Client, args []string) error {
		if err := f.request(cmd); err != nil {
			return err
		}
		path := cmp.Or(strings.Join(args, ""), ".")
		src, err := f.open(a, cmd.Context(), path)
		if err != nil || src == nil {
			return err
		}
		if err := showGenerated(a, &f, src, path); err != nil {
			return err
		}
		_, err = buildImage(a, cmd.Context(), c, &f, src)
		return err
	})
	cmd.SetFlagErrorFunc(refuseDockers)
	return cmd
}

// buildFrom makes an image of what is at path, and puts it in the request. done
// says that there is nothing more to do.
func buildFrom(a *command.App, cmd *cobra.Command, c *api.Client, f *deployFlags, path string) (done bool, err error) {
	src, err := f.open(a, cmd.Context(), path)
	if err != nil || src == nil {
		return true, err
	}
	f.req.Service, f.req.Image = f.name, ""
	f.req.Build = &api.ToBuild{From: src.Dir, Repository: strings.ToLower(f.name), Tag: f.tag}
	if *f.DryRun {
		return false, nil
	}
	// The cluster, too, is asked before anything is built.
	if _, err := c.DeployPlan(cmd.Context(), f.req); err != nil {
		return false, err
	}
	f.req.Build = nil
	if err := showGenerated(a, f, src, path); err != nil {
		return false, err
	}
	f.req.Source = f.source(cmd, path)
	f.req.Image, err = buildImage(a, cmd.Context(), c, f, src)
	return false, err
}

// open reads what is at path, and completes what the image is called. It returns nil where only
// the Dockerfile was wanted.
func (f *deployFlags) open(a *command.App, ctx context.Context, path string) (*source.Source, error) {
	src, err := source.Open(path, f.build.from)
	if err != nil {
		return nil, err
	}
	if f.build.printDockerfile {
		return nil, a.Printf("%s", src.Dockerfile)
	}
	if f.build.eject {
		return nil, eject(a, src)
	}
	f.name = cmp.Or(f.name, src.Name)
	if f.tag == tagOfGit {
		if f.tag, err = source.Revision(ctx, src.Dir); err != nil {
			return nil, fmt.Errorf("--tag %s: %w", tagOfGit, err)
		}
	}
	return src, f.build.check(a, src)
}

func showGenerated(a *command.App, f *deployFlags, src *source.Source, path string) error {
	if !src.Generated || src.Kind == source.Binary || *f.JSON {
		return nil
	}
	return a.Printf("%s has no Dockerfile; as a %s spider it gets this one (--eject writes it):\n%s", path, src.Kind,
		indent(src.Dockerfile))
}

func buildImage(a *command.App, ctx context.Context, c *api.Client, f *deployFlags,
	src *source.Source) (image string, err error) {
	args, logins := dockers(a, ctx, src.Dockerfile, f.build.given)
	files, w := io.Pipe()
	defer files.Close()
	go func() { w.CloseWithError(src.Tar(ctx, w)) }()
	begun := a.Env.Now()
	q := api.BuildRequest{
		Repository:     strings.ToLower(f.name),
		Tag:            f.tag,
		Dockerfile:     []byte(src.Dockerfile),
		DockerfileName: src.DockerfileName(),
		Args:           args,
		Logins:         logins,
		Secrets:        f.build.sent,
		Target:         f.build.target,
		Platform:       f.build.platform,
		Builder:        f.build.builder,
		NoCache:        f.build.noCache,
		Pull:           f.build.pull,
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
