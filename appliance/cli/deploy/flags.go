package deploy

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"github.com/distribution/reference"
	"github.com/docker/go-units"
	"github.com/spf13/cobra"

	"github.com/crawlbox/crawlbox/appliance/api"
	"github.com/crawlbox/crawlbox/appliance/cli/command"
	"github.com/crawlbox/crawlbox/appliance/cli/tui"
	"github.com/crawlbox/crawlbox/appliance/image"
	"github.com/crawlbox/crawlbox/appliance/image/source"
)

// tagOfGit in place of a tag takes it from the directory's git repository.
const tagOfGit = "git"

// buildFlags say how a directory becomes an image.
type buildFlags struct {
	from            source.Options
	maxContext      string
	args            []string
	given           map[string]string // of args
	secretFlags     []string
	secrets         []buildSecret
	sent            api.Secrets // what secrets are
	target          string
	platform        string
	builder         string
	noCache, pull   bool
	printDockerfile bool
	eject           bool
}

func (f *buildFlags) add(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVarP(&f.from.Dockerfile, "dockerfile", "f", "", "`path` of the Dockerfile")
	flags.StringVar(&f.from.Spider, "spider", "", "`name` of the Scrapy spider to run")
	flags.StringVar(&f.from.Base, "base", "", "base `image` of a Dockerfile made by crawlbox")
	flags.StringVar(&f.maxContext, "max-context", "", "`size` that the files may have (default 512MiB)")
	flags.StringArrayVar(&f.args, "build-arg", nil, "`value` NAME=VALUE of an ARG; NAME: as it is here")
	flags.StringArrayVar(&f.secretFlags, "secret", nil, "`file` for RUN --mount: id=ID,src=PATH or env=NAME")
	flags.StringVar(&f.target, "target", "", "`stage` of the Dockerfile to stop at")
	flags.StringVar(&f.platform, "platform", "", "`platform` to build for, as linux/arm64")
	flags.StringVar(&f.builder, "builder", "", "`builder` of Docker: buildkit or classic")
	flags.BoolVar(&f.noCache, "no-cache", false, "run each step of the build again")
	flags.BoolVar(&f.pull, "pull", false, "ask for newer base images")
	flags.BoolVar(&f.printDockerfile, "print-dockerfile", false, "print the Dockerfile that is made, no more")
	flags.BoolVar(&f.eject, "eject", false, "write that Dockerfile to the directory, no more")
	_ = cmd.RegisterFlagCompletionFunc("builder",
		cobra.FixedCompletions([]string{image.BuildKit, image.Classic}, cobra.ShellCompDirectiveNoFileComp))
}

// request takes over what flags say that have to be understood first.
func (f *buildFlags) request() (err error) {
	if f.given, err = buildArgs(f.args); err != nil {
		return err
	}
	f.from.Args = slices.Sorted(maps.Keys(f.given))
	if f.secrets, err = parseSecrets(f.secretFlags); err != nil {
		return err
	}
	if f.maxContext != "" {
		f.from.MaxContext, err = units.RAMInBytes(f.maxContext)
		if err != nil || f.from.MaxContext <= 0 {
			return fmt.Errorf("--max-context %q is not a size such as 2GB", f.maxContext)
		}
	}
	if f.from.Dockerfile == "-" {
		return errors.New("--dockerfile is -; write it to a file, which is there when the service is built again")
	}
	if f.from.Base != "" {
		if _, err := reference.ParseNormalizedNamed(f.from.Base); err != nil {
			return fmt.Errorf("--base %q is not the name of an image", f.from.Base)
		}
	}
	from := "--platform"
	if usual := os.Getenv("DOCKER_DEFAULT_PLATFORM"); f.platform == "" && usual != "" {
		f.platform, from = usual, "the variable DOCKER_DEFAULT_PLATFORM"
	}
	if f.platform != "" && !onePlatform.MatchString(f.platform) {
		return fmt.Errorf("%s is %q; it is one platform, such as linux/amd64 or linux/arm64", from, f.platform)
	}
	f.builder, err = chosenBuilder(f.builder, os.Getenv("DOCKER_BUILDKIT"))
	return err
}

// onePlatform matches a platform that Docker runs on.
var onePlatform = regexp.MustCompile(
	`^(linux/)?(386|amd64|arm|arm64|loong64|mips64|mips64le|ppc64le|riscv64|s390x|x86_64|aarch64)(/v[0-9]+)?$`)

// check refuses what is sure to fail, and reads the secrets.
func (f *buildFlags) check(a *command.App, src *source.Source) (err error) {
	if err := src.Check(); err != nil {
		return err
	}
	if f.target != "" && !src.HasStage(f.target) {
		return fmt.Errorf("--target is %q, and the Dockerfile has no stage of that name", f.target)
	}
	warnOfAgent(a, src.Dockerfile)
	f.sent, err = f.readSecrets()
	return err
}

// chosenBuilder returns the builder that the flag or else Docker's variable names.
func chosenBuilder(flag, dockers string) (string, error) {
	switch flag {
	case image.BuildKit, image.Classic:
		return flag, nil
	case "":
	default:
		return "", fmt.Errorf("--builder is %q; it is %s or %s", flag, image.BuildKit, image.Classic)
	}
	if dockers == "" {
		return image.Auto, nil
	}
	kit, err := strconv.ParseBool(dockers)
	switch {
	case err != nil:
		return "", fmt.Errorf("the variable DOCKER_BUILDKIT is %q; it is 0 or 1", dockers)
	case kit:
		return image.BuildKit, nil
	}
	return image.Classic, nil
}

var argName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// buildArgs reads variables that are names in Dockerfiles too.
func buildArgs(list []string) (map[string]string, error) {
	args, err := command.Variables("build-arg", list)
	for name := range args {
		if !argName.MatchString(name) {
			return nil, fmt.Errorf("--build-arg %s: the name of an ARG has letters, digits and _ only", name)
		}
	}
	return args, err
}

// buildSecret says where a secret of a build is. It is read when it is sent.
type buildSecret struct{ id, path, env string }

// parseSecrets reads id=ID[,src=PATH][,env=NAME], as docker build does. Without a
// source it is the variable or else the file of the name ID.
func parseSecrets(list []string) (secrets []buildSecret, err error) {
	for _, text := range list {
		if strings.ContainsFunc(text, unicode.IsControl) {
			return nil, fmt.Errorf("--secret %q has a control character; want id=ID,src=PATH or id=ID,env=NAME", text)
		}
		var s buildSecret
		for part := range strings.SplitSeq(text, ",") {
			key, value, _ := strings.Cut(part, "=")
			switch key {
			case "id":
				s.id = value
			case "src", "source":
				s.path = value
			case "env":
				s.env = value
			case "type":
				if value != "file" && value != "env" {
					return nil, fmt.Errorf("--secret has the type %q; it is file or env", value)
				}
			default:
				return nil, fmt.Errorf("--secret has no %q; want id=ID,src=PATH or id=ID,env=NAME", key)
			}
		}
		switch {
		case s.id == "":
			return nil, fmt.Errorf("--secret has no id; want id=ID,src=PATH or id=ID,env=NAME")
		case s.path != "" && s.env != "":
			return nil, fmt.Errorf("--secret %s has a file and a variable; give src or env", s.id)
		}
		secrets = append(secrets, s)
	}
	return secrets, nil
}

// maxSecret is the size of a secret, in bytes, that BuildKit takes.
const maxSecret = 500 << 10

func (f *buildFlags) readSecrets() (map[string][]byte, error) {
	all := map[string][]byte{}
	for _, s := range f.secrets {
		value, err := s.read()
		if err != nil {
			return nil, err
		}
		if len(value) > maxSecret {
			return nil, fmt.Errorf("the secret %s has %s, and a build takes 500KB at most", s.id,
				tui.Size(int64(len(value))))
		}
		all[s.id] = value
	}
	return all, nil
}

func (s buildSecret) read() ([]byte, error) {
	name := cmp.Or(s.env, s.id)
	if value, ok := os.LookupEnv(name); s.path == "" && ok {
		return []byte(value), nil
	}
	if s.env != "" {
		return nil, fmt.Errorf("the secret %s: there is no variable %s here", s.id, s.env)
	}
	value, err := os.ReadFile(cmp.Or(s.path, s.id))
	if err != nil {
		return nil, fmt.Errorf("the secret %s: %w", s.id, err)
	}
	return value, nil
}
