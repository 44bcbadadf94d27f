package deploy

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/crawlbox/crawlbox/appliance/api"
	"github.com/crawlbox/crawlbox/appliance/cli/command"
	"github.com/crawlbox/crawlbox/appliance/deploy/history"
	"github.com/crawlbox/crawlbox/appliance/image/source"
)

// buildAgain makes a new image of a service.
func buildAgain(a *command.App, ctx context.Context, c *api.Client, f *deployFlags,
	d target) (image string, err error) {
	if d.Build != nil {
		return buildDefined(a, ctx, c, f, d)
	}
	// As with the command line of then.
	cmd := &cobra.Command{}
	cmd.SetContext(ctx)
	then := &deployFlags{Flags: f.Flags, name: d.Name}
	then.add(cmd)
	then.name = d.Name
	for _, flag := range d.of.Flags {
		name, value, _ := strings.Cut(flag, "=")
		if err := cmd.Flags().Set(name, value); err != nil {
			return "", fmt.Errorf("build it as before with --%s: %w", flag, err)
		}
	}
	then.build.maxContext = cmp.Or(f.build.maxContext, then.build.maxContext)
	if err := then.build.request(); err != nil {
		return "", err
	}
	_, err = buildFrom(a, cmd, c, then, d.of.Path)
	return then.req.Image, err
}

// source returns what an image is built of, to be kept for the next time.
func (f *deployFlags) source(cmd *cobra.Command, path string) *history.Source {
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil
	}
	s := &history.Source{Path: abs, Flags: []string{}}
	for _, name := range f.ofBuild {
		flag := cmd.Flags().Lookup(name)
		if !flag.Changed {
			continue
		}
		values := []string{flag.Value.String()}
		if list, ok := flag.Value.(pflag.SliceValue); ok {
			values = list.GetSlice()
		}
		for _, value := range values {
			s.Flags = append(s.Flags, name+"="+value)
		}
	}
	return s
}

// buildDefined makes the image of a service as its definition says.
func buildDefined(a *command.App, ctx context.Context, c *api.Client, f *deployFlags,
	d target) (image string, err error) {
	b := d.Build
	own := deployFlags{Flags: f.Flags, name: b.Repository, tag: b.Tag, build: buildFlags{
		from:        source.Options{Dockerfile: b.Dockerfile},
		maxContext:  f.build.maxContext,
		target:      b.Target,
		platform:    b.Platform,
		builder:     f.build.builder,
		secretFlags: b.Secrets,
		noCache:     b.NoCache || f.build.noCache,
		pull:        b.Pull || f.build.pull,
	}}
	for _, name := range slices.Sorted(maps.Keys(b.Args)) {
		own.build.args = append(own.build.args, name+"="+b.Args[name])
	}
	if err := own.build.request(); err != nil {
		return "", err
	}
	src, err := source.Open(b.Context, own.build.from)
	if err != nil {
		return "", err
	}
	if err := own.build.check(a, src); err != nil {
		return "", err
	}
	// The cluster, too, is asked before anything is built.
	if _, err := c.DeployPlan(ctx, f.requestFor(d)); err != nil {
		return "", err
	}
	if err := showGenerated(a, f, src, b.Context); err != nil {
		return "", err
	}
	return buildImage(a, ctx, c, &own, src)
}
