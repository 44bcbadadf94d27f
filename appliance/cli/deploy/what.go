package deploy

import (
	"context"
	"errors"
	"os"
	"slices"

	"github.com/spf13/cobra"

	"github.com/crawlbox/crawlbox/appliance/api"
	"github.com/crawlbox/crawlbox/appliance/base/naming"
	"github.com/crawlbox/crawlbox/appliance/cli/command"
	"github.com/crawlbox/crawlbox/appliance/deploy/history"
)

// target is a service to deploy: one of the config file, or one that
// runs and has no File.
type target struct {
	api.Definition
	of history.Source // what it was built of; without a path it was not, or that is unknown
}

// deployWhat finds out what the arguments of deploy name.
func deployWhat(a *command.App, cmd *cobra.Command, f *deployFlags, args []string) error {
	if slices.Contains(args, "") {
		return command.Usagef(cmd, "a name is empty")
	}
	if err := f.request(cmd); err != nil {
		return err
	}
	if len(args) == 1 && naming.CheckService(args[0]) != nil { // a path, or an image with a tag
		return deployImage(a, cmd, f, args[0])
	}
	c, err := a.Client()
	if err != nil {
		return err
	}
	defs, err := c.Definitions(cmd.Context())
	switch {
	case err != nil && len(args) == 1 && exists(args[0]):
		return deployImage(a, cmd, f, args[0]) // such as --eject, which needs no manager
	case err != nil:
		return err
	case len(args) == 0:
		present, err := withoutAway(a, defs)
		if err != nil || len(present) == 0 && len(defs) > 0 {
			return err
		}
		return deployServices(a, cmd, c, f, targets(present))
	}
	chosen, err := choose(cmd, c, args, defs)
	switch {
	case err != nil:
		return err
	case chosen != nil:
		if err := f.onlyForServices(cmd, chosen); err != nil {
			return err
		}
		if err := warnShadowed(a, chosen); err != nil {
			return err
		}
		return deployServices(a, cmd, c, f, chosen)
	case len(args) > 1:
		return command.Usagef(cmd, "of several arguments each has to be a service; deploy a directory, a program or "+
			"an image by itself")
	}
	return deployImage(a, cmd, f, args[0])
}

// choose returns the services that all arguments name, nil where one is none.
func choose(cmd *cobra.Command, c *api.Client, args []string,
	defs []api.Definition) (chosen []target, err error) {
	for _, arg := range args {
		d, err := serviceNamed(cmd.Context(), c, arg, defs)
		if err != nil {
			return nil, err
		}
		if d.Name == "" {
			return nil, nil
		}
		if slices.ContainsFunc(chosen, func(other target) bool { return other.Name == d.Name }) {
			return nil, command.Usagef(cmd, "service %q specified more than once", d.Name)
		}
		chosen = append(chosen, d)
	}
	return chosen, nil
}

// serviceNamed finds a service of the config file, or one that runs and has not the
// name of a directory or program here. Without a name it is none.
func serviceNamed(ctx context.Context, c *api.Client, name string, defs []api.Definition) (target, error) {
	i := slices.IndexFunc(defs, func(d api.Definition) bool { return d.Name == name })
	switch {
	case naming.CheckService(name) != nil:
		return target{}, nil
	case i >= 0:
		return target{Definition: defs[i]}, nil
	case exists(name):
		return target{}, nil
	}
	in, err := c.Inspect(ctx, name)
	if e, ok := errors.AsType[*api.Error](err); ok && e.Code == api.CodeNotFound {
		return target{}, nil // an image, maybe
	}
	if err != nil {
		return target{}, err
	}
	of, err := c.Source(ctx, in.Service.Name)
	return target{Definition: api.Definition{Name: in.Service.Name, Image: in.Service.Image}, of: of}, err
}

// withoutAway leaves out services that a person removed, and says so: they come back by their
// names.
func withoutAway(a *command.App, defs []api.Definition) (present []api.Definition, err error) {
	for _, d := range defs {
		if !d.Away {
			present = append(present, d)
		} else if err == nil {
			err = a.Tell("%s stays away, as it was removed with `crawlbox rm`; `crawlbox deploy %s` brings it back",
				d.Name, d.Name)
		}
	}
	return present, err
}

func targets(defs []api.Definition) (list []target) {
	for _, d := range defs {
		list = append(list, target{Definition: d})
	}
	return list
}

// warnShadowed tells of services that are taken though there are directories or programs of
// their names here, out of the way of what is printed for programs.
func warnShadowed(a *command.App, list []target) (err error) {
	for _, d := range list {
		if err == nil && d.shadows() {
			err = a.Tell("%s is the service of %s; write ./%s for what is here under that name", d.Name, d.File,
				d.Name)
		}
	}
	return err
}

// shadows reports whether a service of the config file is taken though there is a directory or a
// program of its name here.
func (t target) shadows() bool { return t.File != "" && exists(t.Name) }

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
