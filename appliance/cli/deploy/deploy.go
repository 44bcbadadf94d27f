// Package deploy has the command that deploys: it finds out what its arguments name, uploads
// and builds directories, and changes services. It is a room of its own since a deploy begins
// here, with the user's files, before any node hears of it.
package deploy

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/crawlbox/crawlbox/appliance/api"
	"github.com/crawlbox/crawlbox/appliance/base/naming"
	"github.com/crawlbox/crawlbox/appliance/base/words"
	"github.com/crawlbox/crawlbox/appliance/cli/change"
	"github.com/crawlbox/crawlbox/appliance/cli/command"
)

type deployFlags struct {
	change.Flags
	build   buildFlags
	ofBuild []string // names of the flags of the build
	req     api.DeployRequest

	defined   api.Definition // of a service of the config file
	replicas  int
	envs      []string
	envFiles  []string
	memory    string
	tag, name string
}

func Cmd(a *command.App) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "deploy [PATH|IMAGE|SERVICE...]",
		Short: "Bring a version onto every node, then run it",

		SuggestFor: []string{"apply", "create", "up"},
		Long: `Deploy the services of crawlbox.yaml, or those named, or a directory, a static
program or an image as a service. It goes in stages:

  build   the directory becomes an image and goes into the cluster's registry
  pull    every node that may run it gets the image; nothing has changed yet
  update  the service is made, or changed a share of its replicas at a time
  watch   until all have run for the monitor time

A directory needs a Dockerfile, or is a Scrapy project, a Python script, a Node
package or a Go module, for which one is made. Images are tagged 0.01, 0.02 and
so on; --tag git takes the short name of the directory's commit, with -dirty
where files have changed since, and needs the program git.

Docker's BuildKit builds where the engine has it, its classic builder otherwise,
or with --builder classic or DOCKER_BUILDKIT=0. Your logins of docker login and
the proxies of ~/.docker/config.json are used. A --secret is a file or variable
that RUN --mount=type=secret,id=ID may read, and that is in no image.

Files of variables are read as env_file in crawlbox.yaml: with quotes, comments
and ${OTHER} variables.

When the new version fails the old one comes back. Ctrl-C before the
update changes nothing; after it the deploy goes on.

A word with a slash or a dot in front is a path. A name is a service of
crawlbox.yaml, else a directory or program here, else a service that runs, which
is deployed again from what it was made of, else an image.`,
		Example: `  crawlbox deploy
  crawlbox deploy .
  crawlbox deploy ./spider --name spider --replicas 50 --tag git
  crawlbox deploy . --secret id=pip,src=$HOME/.config/pip/pip.conf
  crawlbox deploy localhost:8003/spider:0.02`,
		Args:              command.AtLeast(0, "directories, images or services"),
		ValidArgsFunction: a.CompleteOr(command.ServiceNames),
	}
	var f deployFlags
	f.Flags = change.FollowFlags(cmd).PlanFlag(cmd)
	f.add(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error { return deployWhat(a, cmd, &f, args) }
	cmd.SetFlagErrorFunc(refuseDockers)
	return cmd
}

func (f *deployFlags) add(cmd *cobra.Command) {
	flags := cmd.Flags()
	f.addNames(flags, "the service")
	flags.IntVar(&f.replicas, "replicas", 0, "`number` of replicas (default: as there are, or 1)")
	flags.StringArrayVarP(&f.envs, "env", "e", nil, "`variable` NAME=VALUE; NAME alone: as it is here")
	flags.StringArrayVar(&f.envFiles, "env-file", nil, "`file` of variables")
	flags.Float64Var(&f.req.CPUs, "limit-cpu", 0, "`processors` for a replica, such as 0.5")
	flags.StringVar(&f.memory, "limit-memory", "", "memory for a replica, a `size` such as 256MB")
	flags.Uint64Var(&f.req.MaxPerNode, "max-per-node", 0, "`number` of replicas on one node at most")
	flags.StringArrayVar(&f.req.Constraints, "constraint", nil, "`rule` for nodes: node.labels.zone==eu")
	flags.StringVar(&f.req.Parallelism, "parallelism", "", "`share` replaced at once: 5, all (default 25%)")
	flags.DurationVar(&f.req.Delay, "delay", 0, "`time` between two lots of replicas")
	flags.DurationVar(&f.req.Monitor, "monitor", 0, "`time` a new replica is watched (default 5s)")
	flags.DurationVar(&f.req.StartTimeout, "start-timeout", 0, "`time` until a replica is healthy (default 10m)")
	flags.Float64Var(&f.req.FailureRatio, "failure-ratio", 0, "`share` that may fail, from 0 to 1 (default 0)")
	flags.BoolVar(&f.req.StartFirst, "start-first", false, "start a replica before its old one stops")
	flags.StringVar(&f.req.StageQuorum, "stage-quorum", "", "`share` of nodes that will do (default 100%)")
	flags.DurationVar(&f.req.StageTimeout, "stage-timeout", 0, "`time` for all to get the image (default 5m)")
	before := map[string]bool{}
	flags.VisitAll(func(flag *pflag.Flag) { before[flag.Name] = true })
	f.build.add(cmd)
	flags.VisitAll(func(flag *pflag.Flag) {
		if !before[flag.Name] {
			f.ofBuild = append(f.ofBuild, flag.Name)
		}
	})
}

// addNames adds the flags that say what is built is called.
func (f *deployFlags) addNames(flags *pflag.FlagSet, of string) {
	flags.StringVar(&f.name, "name", "", "`name` of "+of+" (default: of the directory)")
	flags.StringVar(&f.tag, "tag", "", "`tag` of a built image; git: of its commit")
}

func deployImage(a *command.App, cmd *cobra.Command, f *deployFlags, what string) error {
	c, err := a.Client()
	if err != nil {
		return err
	}
	f.req.Image = what
	_, err = os.Stat(what)
	switch {
	case err == nil:
		done, err := buildFrom(a, cmd, c, f, what)
		if err != nil || done {
			return err
		}
	case IsPath(what) && errors.Is(err, fs.ErrNotExist):
		return words.Error(fs.ErrNotExist, "there is no directory or file %s on this machine; name a directory, a "+
			"static program, or an image such as localhost:8003/spider:0.02", what)
	case IsPath(what):
		return fmt.Errorf("%w; name a directory, a static program, or an image such as localhost:8003/spider:0.02", err)
	case isRemote(what):
		return fmt.Errorf("%s is nothing on this machine; fetch it, such as with git clone, and name the directory",
			what)
	default:
		if err := f.define(a, cmd, c, cmp.Or(f.name, nameOfImage(what))); err != nil {
			return err
		}
	}
	f.req.Service = cmp.Or(f.name, nameOfImage(f.req.Image))
	if err := f.warnOtherImage(a); err != nil {
		return err
	}
	ch := change.OfDeploy(f.req.Service, f.req.Image, change.Asks((*api.Client).Deploy, f.req))
	ch.Plan = change.Plans((*api.Client).DeployPlan, f.req)
	err = change.Follow(a, cmd, f.Flags, ch)
	if naming.CheckService(what) == nil && what == f.req.Image && !ch.Begun() && errors.As(err, new(*api.Error)) {
		return fmt.Errorf("%s is no directory or program here, and no service of crawlbox.yaml or of the cluster, so "+
			"it was taken for an image of another registry (this cluster's are named as `crawlbox images` lists "+
			"them, with localhost:8003/ before): %w", what, err)
	}
	return err
}

// define finds out whether the config file has the service: then it is deployed with what stands
// there, and with this image. A node that does not know the file deploys nothing either.
func (f *deployFlags) define(a *command.App, cmd *cobra.Command, c *api.Client, service string) error {
	defs, err := c.Definitions(cmd.Context())
	i := slices.IndexFunc(defs, func(d api.Definition) bool { return d.Name == service })
	if err != nil || i < 0 {
		return nil
	}
	if name := otherFlag(cmd, slices.Concat(forServices, f.ofBuild, []string{"name", "tag"})); name != "" {
		return command.Usagef(cmd, "%s is a service of %s, so that --%s is not for it: write it there, or choose "+
			"another --name", service, defs[i].File, name)
	}
	f.req.Defined, f.defined = true, defs[i]
	if *f.JSON {
		return nil
	}
	return a.Say("%s is a service of %s: it gets what stands there, and this image", service, defs[i].File)
}

// warnOtherImage tells of an image that is another than the config file names.
func (f *deployFlags) warnOtherImage(a *command.App) error {
	image, _, _ := strings.Cut(f.req.Image, "@")
	if *f.JSON || !f.req.Defined || f.defined.Build != nil || f.defined.Image == "" || f.defined.Image == image {
		return nil
	}
	return a.Say("%s names the image %s for it: write %s there, or the next change of the file brings the other "+
		"back", f.defined.File, f.defined.Image, image)
}

// IsPath reports whether a word is meant as a path, though nothing is there.
func IsPath(what string) bool {
	return strings.HasPrefix(what, ".") || strings.HasPrefix(what, "/") || strings.HasPrefix(what, "~")
}

// isRemote reports whether a word is what docker build takes, too: an address, or standard input.
func isRemote(what string) bool { return what == "-" || strings.Contains(what, "://") }

// nameOfImage returns the last part of an image's name: spider of localhost:8003/spider:0.02.
func nameOfImage(image string) string {
	name, _, _ := strings.Cut(image, "@")
	name = name[strings.LastIndexByte(name, '/')+1:]
	name, _, _ = strings.Cut(name, ":")
	return name
}
