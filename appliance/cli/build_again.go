package cli

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/crawlbox/crawlbox/appliance/api"
	"github.com/crawlbox/crawlbox/appliance/history"
	"github.com/crawlbox/crawlbox/appliance/image/source"
)

// buildAgain makes a new image of a service.
func (a *app) buildAgain(ctx context.Context, c *api.Client, f *deployFlags, d target) (image string, err error) {
	if d.Build != nil {
		return a.buildDefined(ctx, c, f, d)
	}
	// As with the command line of then.
	cmd := &cobra.Command{}
	cmd.SetContext(ctx)
	then := &deployFlags{changeFlags: f.changeFlags, name: d.Name}
	then.add(cmd)
	then.name = d.Name
	for _, flag := range d.of.Flags {
		name, value, _ := strings.Cut(flag, "=")
		if err := cmd.Flags().Set(name, value); err != nil {
			return "", fmt.Errorf("build it as before with --%s: %w", flag, err)
		}
	}
	_, err = a.buildFrom(cmd, c, then, d.of.Path)
	return then.req.Image, err
}

// source is what an image is built of, to be kept for the next time.
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
func (a *app) buildDefined(ctx context.Context, c *api.Client, f *deployFlags, d target) (image string, err error) {
	b := d.Build
	if len(b.Secrets) > 0 {
		return "", errors.New("build.secrets: builds are not given secrets yet; remove them from crawlbox.yaml")
	}
	own := deployFlags{changeFlags: f.changeFlags, name: b.Repository, tag: b.Tag, build: buildFlags{
		from: source.Options{Dockerfile: b.Dockerfile}, target: b.Target, platform: b.Platform,
		noCache: b.NoCache || f.build.noCache, pull: b.Pull || f.build.pull,
	}}
	for _, name := range slices.Sorted(maps.Keys(b.Args)) {
		own.build.args = append(own.build.args, name+"="+b.Args[name])
	}
	src, err := source.Open(b.Context, own.build.from)
	if err != nil {
		return "", err
	}
	if err := src.Check(); err != nil {
		return "", err
	}
	if err := a.showGenerated(f, src, b.Context); err != nil {
		return "", err
	}
	return a.build(ctx, c, &own, src)
}
