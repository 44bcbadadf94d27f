package deploy

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/crawlbox/crawlbox/appliance/cli/command"
	"github.com/crawlbox/crawlbox/appliance/image"
	"github.com/crawlbox/crawlbox/appliance/image/dockerconfig"
)

// dockers adds to a build what the user has set up for docker build: proxies to its arguments,
// and logins. What can't be had is told, and is no error: the build may not need it.
func dockers(a *command.App, ctx context.Context, dockerfile string,
	given map[string]string) (args map[string]string, logins image.Logins) {
	warn := func(err error) { _ = a.Tell("warning: %v", err) }
	cfg, err := dockerconfig.Load()
	if err != nil {
		warn(fmt.Errorf("%w; its logins and proxies are not used", err))
		return given, nil
	}
	args = cfg.Proxies(given)
	logins, failed := cfg.Logins(ctx, dockerfile, args)
	for _, err := range failed {
		warn(err)
	}
	return args, logins
}

// What is to be done in place of flags that docker build has and a deploy has not.
const (
	byHand    = "build with docker build, and give the image to crawlbox push"
	inFile    = "say it in the Dockerfile, or " + byHand
	oneCache  = "the manager's Docker keeps the cache of earlier builds itself; leave it out"
	bySecret  = "give the key with --secret, or " + byHand
	intoDir   = "copy the files into the directory, or " + byHand
	noOutput  = "what is built goes into the cluster's registry; leave it out"
	sameImage = "the image has the name of the service, which --name and --tag choose"
	asIs      = "leave it out"
	plain     = "leave it out; output that is no terminal is plain, and --json is for programs"
)

// dockersFlags has the flags of docker build, by name or letter, that a deploy has not.
var dockersFlags = map[string]string{
	"add-host":              byHand,
	"allow":                 byHand,
	"annotation":            inFile,
	"attest":                byHand,
	"build-context":         intoDir,
	"cache-from":            oneCache,
	"cache-to":              oneCache,
	"call":                  byHand,
	"cgroup-parent":         byHand,
	"check":                 byHand,
	"compress":              asIs,
	"cpu-period":            byHand,
	"cpu-quota":             byHand,
	"cpu-shares":            byHand,
	"cpuset-cpus":           byHand,
	"cpuset-mems":           byHand,
	"c":                     byHand,
	"disable-content-trust": asIs,
	"file":                  "it is -f or --dockerfile here",
	"force-rm":              asIs,
	"iidfile":               "the last line of --json has the digest",
	"isolation":             asIs,
	"label":                 inFile,
	"load":                  noOutput,
	"m":                     byHand,
	"memory":                byHand,
	"memory-swap":           byHand,
	"metadata-file":         "the last line of --json has the digest",
	"network":               "builds use the host's network here; leave it out",
	"no-cache-filter":       "take --no-cache",
	"o":                     noOutput,
	"output":                noOutput,
	"policy":                byHand,
	"progress":              plain,
	"provenance":            byHand,
	"push":                  noOutput,
	"q":                     plain,
	"quiet":                 plain,
	"rm":                    asIs,
	"sbom":                  byHand,
	"security-opt":          byHand,
	"shm-size":              byHand,
	"squash":                byHand,
	"ssh":                   bySecret,
	"stream":                asIs,
	"t":                     sameImage,
	"ulimit":                byHand,
}

// refuseDockers explains a flag that docker build has and a deploy has not.
func refuseDockers(cmd *cobra.Command, err error) error {
	unknown := (*pflag.NotExistError)(nil)
	if errors.As(err, &unknown) {
		if way, ok := dockersFlags[unknown.GetSpecifiedName()]; ok {
			dashes := strings.Repeat("-", min(2, len(unknown.GetSpecifiedName())))
			return command.Usagef(cmd, "%s%s of docker build is not offered: %s", dashes, unknown.GetSpecifiedName(),
				way)
		}
	}
	return cmd.Parent().FlagErrorFunc()(cmd, err)
}

// agentMount matches a step that may use an SSH agent.
var agentMount = regexp.MustCompile(`(?im)^\s*RUN\s.*--mount=\S*type=ssh`)

// warnOfAgent tells of steps that docker build gives an SSH agent if it is asked to.
func warnOfAgent(a *command.App, dockerfile string) {
	if agentMount.MatchString(dockerfile) {
		_ = a.Tell("warning: the Dockerfile has steps for an SSH agent, and they get none: %s", bySecret)
	}
}
