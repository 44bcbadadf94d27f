package deploy

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/docker/go-units"
	"github.com/spf13/cobra"

	"github.com/crawlbox/crawlbox/appliance/base/bound"
	"github.com/crawlbox/crawlbox/appliance/base/naming"
	"github.com/crawlbox/crawlbox/appliance/base/words"
	"github.com/crawlbox/crawlbox/appliance/cli/command"
	"github.com/crawlbox/crawlbox/appliance/deploy"
	"github.com/crawlbox/crawlbox/appliance/fleet"
	"github.com/crawlbox/crawlbox/configs/compose"
)

// request takes over what flags say, and refuses values that are sure to fail: a build and a
// push come before the cluster would.
func (f *deployFlags) request(cmd *cobra.Command) error {
	changed := cmd.Flags().Changed
	for _, number := range []struct {
		flag string
		good bool
		is   string
	}{
		{"replicas", f.replicas >= 0 && f.replicas <= bound.MaxReplicas, mostReplicas},
		{"limit-cpu", f.req.CPUs >= bound.LeastCPUs && f.req.CPUs <= mostCPUs, "a number of processors, such as 0.5"},
		{"max-per-node", f.req.MaxPerNode > 0, "a number, 1 or more"},
		{"failure-ratio", f.req.FailureRatio >= 0 && f.req.FailureRatio <= 1, "a number from 0 to 1"},
		{"delay", f.req.Delay >= 0, "a time, 0s or more"},
		{"monitor", f.req.Monitor > 0, "a time, more than 0s"},
		{"start-timeout", f.req.StartTimeout > 0, "a time, more than 0s"},
		{"stage-timeout", f.req.StageTimeout > 0, "a time, more than 0s"},
	} {
		if changed(number.flag) && !number.good {
			return command.Usagef(cmd, "--%s is %q; it is %s", number.flag,
				cmd.Flags().Lookup(number.flag).Value.String(),
				number.is)
		}
	}
	if changed("replicas") {
		f.req.Replicas = &f.replicas
	}
	for _, take := range []func() error{f.takeMemory, f.takeNames, f.takeShares, f.takeEnv, f.build.request} {
		if err := take(); err != nil {
			return command.Usagef(cmd, "%w", err)
		}
	}
	return nil
}

var mostReplicas = fmt.Sprintf("a number from 0 to %d", bound.MaxReplicas)

// mostCPUs keeps what is sent within the numbers that Swarm has.
const mostCPUs = 1e6

// mostMemory is the same of bytes: a pebibyte.
const mostMemory = 1 << 50

func (f *deployFlags) takeMemory() (err error) {
	if f.memory == "" {
		return nil
	}
	f.req.Memory, err = units.RAMInBytes(f.memory)
	if err != nil {
		return fmt.Errorf("--limit-memory %q is not a size such as 256MB", f.memory)
	}
	if f.req.Memory < 0 || f.req.Memory > mostMemory { // less than 0: it is too large to be counted
		return fmt.Errorf("--limit-memory is %q, which is more than any machine has", f.memory)
	}
	if f.req.Memory < bound.LeastMemory {
		return fmt.Errorf("--limit-memory is %q; Docker takes %s and more", f.memory,
			units.BytesSize(float64(bound.LeastMemory)))
	}
	return nil
}

func (f *deployFlags) takeNames() error {
	if f.name != "" {
		if err := naming.CheckService(f.name); err != nil {
			return fmt.Errorf("--name: %w", err)
		}
	}
	if f.tag != "" {
		if err := naming.CheckTag(f.tag); err != nil {
			return fmt.Errorf("--tag: %w", err)
		}
	}
	return nil
}

func (f *deployFlags) takeShares() error {
	for flag, share := range map[string]string{"parallelism": f.req.Parallelism, "stage-quorum": f.req.StageQuorum} {
		if share == "" {
			continue
		}
		if _, err := deploy.ParseShare(share); err != nil {
			return fmt.Errorf("--%s: %w", flag, err)
		}
	}
	for _, rule := range f.req.Constraints {
		if _, err := fleet.ParseConstraint(rule); err != nil {
			return fmt.Errorf("--%w", err)
		}
	}
	return nil
}

func (f *deployFlags) takeEnv() (err error) {
	f.req.Env, err = readEnv(f.envFiles, f.envs)
	return err
}

// readEnv reads files of variables and then those given, which win.
func readEnv(files, given []string) (map[string]string, error) {
	env := map[string]string{}
	for _, path := range files {
		text, err := os.ReadFile(path)
		if err != nil {
			return nil, fmt.Errorf("read --env-file: %w", err)
		}
		if err := compose.ReadEnv(text, env, os.LookupEnv); err != nil {
			return nil, fmt.Errorf("--env-file %s: %w", path, err)
		}
	}
	variables, err := command.Variables("env", given)
	if err != nil {
		return nil, err
	}
	maps.Copy(env, variables)
	for _, name := range slices.Sorted(maps.Keys(env)) {
		if strings.ContainsRune(env[name], 0) || !utf8.ValidString(env[name]) {
			return nil, fmt.Errorf("--env-file: the value of %s has a NUL character or is not UTF-8; encode it, such "+
				"as with base64", name)
		}
		if !compose.IsTemplate(env[name]) {
			return nil, fmt.Errorf("--env %s: a {{ begins one of Swarm's templates, and this is none: %s", name,
				words.BracesRemedy)
		}
	}
	return env, nil
}
