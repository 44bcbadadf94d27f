package deploy

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/distribution/reference"
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

// Image builds a directory or program as a deploy without flags does, and returns the image's name.
func Image(a *command.App, ctx context.Context, c *api.Client, path string, asJSON *bool) (string, error) {
	f := deployFlags{Flags: change.Flags{JSON: asJSON}}
	f.build.add(&cobra.Command{}) // for what they are where nobody gives them
	if err := f.build.request(); err != nil {
		return "", err
	}
	src, err := f.open(a, ctx, path)
	if err != nil {
		return "", err
	}
	if err := showGenerated(a, &f, src, path); err != nil {
		return "", err
	}
	return buildImage(a, ctx, c, &f, src)
}

// buildFrom makes an image of what is at path, and puts it in the request. done
// says that there is nothing more to do.
func buildFrom(a *command.App, cmd *cobra.Command, c *api.Client, f *deployFlags, path string) (done bool, err error) {
	src, err := f.open(a, cmd.Context(), path)
	if err != nil || src == nil {
		return true, err
	}
	if err := f.define(a, cmd, c, f.name); err != nil {
		return false, err
	}
	f.req.Service, f.req.Image = f.name, ""
	f.req.Build = &api.ToBuild{
		From:       src.Path(),
		Repository: strings.ToLower(f.name),
		Tag:        f.tag,
		Platform:   f.build.platform,
	}
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
	image, took, err := followBuild(a, ctx, *f.JSON,
		func(see func(api.BuildEvent) error) error { return c.Build(ctx, q, files, see) })
	if err != nil || *f.JSON {
		return image, err
	}
	return image, a.Printf("built %s in %s, pushed in %s\n", nameOf(image), tui.Took(took.build), tui.Took(took.push))
}

// buildTook is how long an image took to be there.
type buildTook struct{ build, push time.Duration }

// followBuild shows how far a build or a push is, until the image is in the registry.
func followBuild(a *command.App, ctx context.Context, asJSON bool,
	run func(see func(api.BuildEvent) error) error) (image string, took buildTook, err error) {
	begun := a.Env.Now()
	pushing := begun
	view := tui.NewBuildView(a.Stdout())
	end := view.Start()
	err = run(func(e api.BuildEvent) error {
		if e.Image != "" {
			image = e.Image
		}
		if e.Push != nil && pushing.Equal(begun) {
			pushing = a.Env.Now()
		}
		if asJSON {
			return json.NewEncoder(a.Env.Stdout).Encode(e)
		}
		return view.See(e)
	})
	end()
	if ctx.Err() != nil {
		err = fmt.Errorf("%w; nothing was changed", command.ErrInterrupted)
	}
	return image, buildTook{pushing.Sub(begun), a.Env.Now().Sub(pushing)}, err
}

// nameOf returns an image without its digest.
func nameOf(image string) string {
	name, _, _ := strings.Cut(image, "@")
	return name
}

// PushCmd returns crawlbox push.
func PushCmd(a *command.App) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "push IMAGE",
		Short: "Push an image of this machine's Docker, without a deploy",
		Long: `Push an image that Docker has on this machine into the cluster's registry, under
its own name and tag, or the next number where that is latest. It is what docker
tag and docker push to localhost:8003/NAME:TAG do.`,
		Example: "  docker build --ssh default -t spider .\n  crawlbox push spider",
		Args:    command.ExactlyOne("one image"),
	}
	f := deployFlags{Flags: change.Flags{JSON: command.JSONFlag(cmd)}}
	cmd.Flags().StringVar(&f.name, "name", "", "`name` of the image in the registry (default: its own)")
	cmd.Flags().StringVar(&f.tag, "tag", "", "`tag` of it there (default: its own, or the next number)")
	cmd.RunE = a.Asking(func(cmd *cobra.Command, c *api.Client, args []string) error {
		if err := f.request(cmd); err != nil {
			return err
		}
		ref, err := reference.ParseNormalizedNamed(args[0])
		if err != nil {
			return command.Usagef(cmd, "%q is not the name of an image", args[0])
		}
		own := ""
		if tagged, ok := ref.(reference.Tagged); ok && tagged.Tag() != "latest" {
			own = tagged.Tag()
		}
		q := api.PushRequest{
			Image:      args[0],
			Repository: strings.ToLower(cmp.Or(f.name, nameOfImage(args[0]))),
			Tag:        cmp.Or(f.tag, own),
		}
		image, took, err := followBuild(a, cmd.Context(), *f.JSON,
			func(see func(api.BuildEvent) error) error { return c.Push(cmd.Context(), q, see) })
		if err != nil || *f.JSON {
			return err
		}
		return a.Printf("pushed %s in %s\n", nameOf(image), tui.Took(took.build+took.push))
	})
	return cmd
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
