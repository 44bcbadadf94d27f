// Package dockerconfig reads what a user of the docker command has set up for builds, in
// ~/.docker/config.json and DOCKER_AUTH_CONFIG: logins and proxies. It is apart from what builds:
// the file and the helpers that keep passwords are the user's own, and are read and run by the
// command that the user types, never by a node.
package dockerconfig

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/docker/cli/cli/config"
	"github.com/docker/cli/cli/config/configfile"
	"github.com/docker/cli/cli/config/credentials"
	"github.com/docker/cli/cli/config/types"

	"github.com/crawlbox/crawlbox/appliance/base/words"
	"github.com/crawlbox/crawlbox/appliance/image"
)

// helperTime bounds how long a credential helper may take: it may ask the user for something.
const helperTime = time.Minute

// engine is the address of the engine that builds, by which the file may have proxies of its own.
const engine = "unix:///var/run/docker.sock"

// Config is what a user has set up.
type Config struct{ file *configfile.ConfigFile }

// Load reads the file, where there is one, in the directory that the environment names or is usual.
func Load() (Config, error) {
	dir := os.Getenv(config.EnvOverrideConfigDir)
	if dir == "" {
		home, err := os.UserHomeDir()
		if err != nil {
			return Config{configfile.New("")}, nil // of a user without a home
		}
		dir = filepath.Join(home, ".docker")
	}
	file, err := config.Load(dir)
	return Config{file}, err
}

// Proxies adds the proxies that builds are to use to their arguments, but for those that are there.
func (c Config) Proxies(args map[string]string) map[string]string {
	given := map[string]*string{}
	for name, value := range args {
		given[name] = &value
	}
	all := map[string]string{}
	for name, value := range c.file.ParseProxyConfig(engine, given) {
		all[name] = *value
	}
	return all
}

// fromVariable matches a base image that is known only when the arguments are put in.
var fromVariable = regexp.MustCompile(`(?im)^\s*FROM\s.*\$|\bfrom=\S*\$`)

// Logins returns the logins for a build of a Dockerfile with arguments. Those that the file has
// are all there. A credential helper is run, which takes a second or asks for a passphrase, for
// registries that the Dockerfile may name, and for Docker Hub. Of those that failed the errors
// say so, in a line each: the build may not need them.
func (c Config) Logins(ctx context.Context, dockerfile string, args map[string]string) (image.Logins, []error) {
	text := strings.Join(append(slices.Collect(maps.Values(args)), dockerfile), "\n")
	named := func(registry string) bool {
		return registry == image.DockerHub || fromVariable.MatchString(dockerfile) ||
			strings.Contains(text, credentials.ConvertToHostname(registry))
	}
	logins := image.Logins{}
	var failed []error
	for _, registry := range c.registries() {
		helper := cmp.Or(c.file.CredentialHelpers[registry], c.file.CredentialsStore)
		if helper != "" && !named(registry) {
			continue
		}
		login, err := c.login(ctx, registry)
		if err != nil {
			failed = append(failed, fmt.Errorf("the login to %s was not to be had of docker-credential-%s (%s), and "+
				"the build goes on without it", credentials.ConvertToHostname(registry), helper,
				words.OneLine(err.Error())))
			continue
		}
		if login != (image.Login{}) {
			logins[hostOf(registry)] = login
		}
	}
	return logins, failed
}

// registries returns what the user has logins to, as the file names them.
func (c Config) registries() []string {
	// An empty file has those of the environment only. A mistake there is told by docker's package.
	env, _ := configfile.New("").GetCredentialsStore("").GetAll()
	all := slices.Concat(slices.Collect(maps.Keys(c.file.AuthConfigs)), slices.Collect(maps.Keys(env)),
		slices.Collect(maps.Keys(c.file.CredentialHelpers)))
	slices.Sort(all)
	return slices.Compact(all)
}

// login asks for one login. A helper that does not end is left behind, and ends with the command.
func (c Config) login(ctx context.Context, registry string) (image.Login, error) {
	ctx, cancel := context.WithTimeout(ctx, helperTime)
	defer cancel()
	type answer struct {
		types.AuthConfig
		err error
	}
	got := make(chan answer, 1)
	go func() {
		a, err := c.file.GetAuthConfig(registry)
		got <- answer{a, err}
	}()
	select {
	case a := <-got:
		return image.Login{
			Username:      a.Username,
			Password:      a.Password,
			IdentityToken: a.IdentityToken,
			RegistryToken: a.RegistryToken,
		}, a.err
	case <-ctx.Done():
		return image.Login{}, ctx.Err()
	}
}

// hostOf returns the registry as an image names it, but for Docker Hub.
func hostOf(registry string) string {
	if registry == image.DockerHub {
		return registry
	}
	return credentials.ConvertToHostname(registry)
}
