package install

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/crawlbox/crawlbox/appliance/api"
	"github.com/crawlbox/crawlbox/appliance/cli/command"
	"github.com/crawlbox/crawlbox/appliance/cli/run"
	"github.com/crawlbox/crawlbox/appliance/cluster/enroll"
	"github.com/crawlbox/crawlbox/appliance/cluster/pki"
	"github.com/crawlbox/crawlbox/appliance/cluster/token"
	"github.com/crawlbox/crawlbox/appliance/doctor"
	"github.com/crawlbox/crawlbox/appliance/fleet"
	"github.com/crawlbox/crawlbox/appliance/queueproc"
	"github.com/crawlbox/crawlbox/configs"
	"github.com/crawlbox/crawlbox/configs/compose"
	"github.com/crawlbox/crawlbox/systemd"
	"github.com/crawlbox/crawlbox/systemd/install"
)

// wanted turns the command line into what should be on the machine. The config is
// read as the service will read it, so that what is wrong shows now.
func wanted(a *command.App, cmd *cobra.Command, unit string) (w install.Wanted, cfg configs.Config, err error) {
	if err := keepFlags(a, cmd, unit); err != nil {
		return w, cfg, err
	}
	opts, err := run.NodeOptions(a, cmd)
	if err != nil {
		return w, cfg, err
	}
	cfg = opts.Config
	if err := doctor.Directory(cfg.DataDir); err != nil {
		return w, cfg, err
	}
	if err := checkJoin(opts.Join, cmd.Name(), cfg.DataDir); err != nil {
		return w, cfg, err
	}
	self, err := os.Executable()
	if err != nil {
		return w, cfg, fmt.Errorf("find this program: %w", err)
	}
	w = install.Wanted{
		Unit: systemd.Unit{
			Role:        cmd.Name(),
			Program:     install.Program,
			Args:        unitArgs(cmd.Flags()),
			Directories: directoriesOf(cfg),
			Keeper:      run.KeeperOf(cfg),
		},
		Self:       self,
		Config:     configs.Annotated,
		ConfigPath: cfg.File,
		Join:       opts.Join,
		JoinPath:   run.JoinTokenPath(cfg.DataDir),
	}
	if cmd.Name() == fleet.RoleManager {
		w.User = queueproc.User
	}
	if w.Join != "" && inCluster(cmd.Context(), cfg) {
		w.Join = ""
	}
	return w, cfg, nil
}

// keepFlags gives a command that installs anew the flags that the unit has and the command line
// does not say: who gives one more does not want to lose the others.
func keepFlags(a *command.App, cmd *cobra.Command, unit string) error {
	if systemd.Role(unit) != cmd.Name() {
		return nil
	}
	was, err := unitFlags(a, unit)
	if err != nil {
		return err
	}
	var kept []string
	was.Visit(func(f *pflag.Flag) {
		if now := cmd.Flags().Lookup(f.Name); err == nil && now != nil && !now.Changed {
			err = cmd.Flags().Set(f.Name, f.Value.String())
			kept = append(kept, "--"+f.Name+"="+f.Value.String())
		}
	})
	if err == nil && len(kept) > 0 {
		err = a.Printf("as before: %s\n", strings.Join(kept, " "))
	}
	return err
}

// unitFlags returns the flags of the command that a unit runs.
func unitFlags(a *command.App, unit string) (*pflag.FlagSet, error) {
	fresh := command.New(a.Env, a.Version)
	cmd := run.RoleCmd(fresh, systemd.Role(unit))
	fresh.AddFlags(cmd.Flags())
	if err := cmd.ParseFlags(systemd.Command(unit)[2:]); err != nil {
		return nil, fmt.Errorf("read the unit %s: %w", systemd.Service, err)
	}
	return cmd.Flags(), nil
}

// checkJoin refuses what cannot work before anything is changed.
func checkJoin(text, role, dataDir string) error {
	if text == "" {
		return nil
	}
	s, err := token.Parse(text)
	if err != nil {
		return err
	}
	if s.Role != role {
		return fmt.Errorf("this join token is for a %s; run `crawlbox install %s --join TOKEN`, or get the other one "+
			"with `crawlbox token %s`", s.Role, s.Role, role)
	}
	id, err := pki.LoadIdentity(filepath.Join(dataDir, "node"))
	if err == nil && id.CA() != s.CA {
		return pki.ErrOtherCluster
	}
	return nil // what is wrong with an identity, the node says
}

// inCluster reports whether a node serves here that needs no join token, because it has
// joined and was not removed since.
func inCluster(ctx context.Context, cfg configs.Config) bool {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	status, err := api.NewClient(cfg.Socket).Status(ctx)
	removed := func(p api.Problem) bool { return strings.HasPrefix(p.Text, enroll.Removed) }
	return err == nil && !slices.ContainsFunc(status.Problems, removed)
}

// installOnly lists flags that are no part of what the service runs.
var installOnly = []string{"join", "join-file", "dry-run", "install-docker", "no-color", "restore",
	"recovery-key-file"}

// unitArgs returns the flags as they go into the unit. Paths count from where the user
// is, which is not where the service runs.
func unitArgs(flags *pflag.FlagSet) (args []string) {
	flags.Visit(func(f *pflag.Flag) {
		if slices.Contains(installOnly, f.Name) {
			return
		}
		value := f.Value.String()
		if f.Name == "config" || f.Name == "data-dir" || f.Name == "socket" {
			if abs, err := filepath.Abs(value); err == nil {
				value = abs
			}
		}
		switch {
		case f.Value.Type() != "bool":
			args = append(args, "--"+f.Name, value)
		case value == "true":
			args = append(args, "--"+f.Name)
		default:
			args = append(args, "--"+f.Name+"="+value)
		}
	})
	return args
}

// ignoredEnv says which settings of the user's environment the service will not have.
func ignoredEnv(environ []string) (notes []string) {
	for _, variable := range environ {
		name, _, _ := strings.Cut(variable, "=")
		switch {
		case name == "DOCKER_HOST" || name == "DOCKER_CONTEXT" || name == "DOCKER_CONFIG":
			notes = append(notes, name+" is set here and not for the service; name the engine with --docker-host")
		case name == run.JoinEnv, name == run.RecoveryEnv, name == compose.QueueVariable: // the last is a program's
		case strings.HasPrefix(name, "CRAWLBOX_"):
			notes = append(notes, name+" is set here and not for the service; write it into the config, or give "+
				"the flag")
		}
	}
	return notes
}

// directoriesOf returns the directories that a node writes to.
func directoriesOf(cfg configs.Config) []string {
	list := []string{cfg.DataDir, cfg.RegistryDir(), filepath.Dir(cfg.Socket)}
	for _, dir := range []string{cfg.QueueDir(), cfg.Backup.Dir} {
		if dir != "" {
			list = append(list, dir)
		}
	}
	return list
}

// shadowing returns the other program that a shell runs by the name of the one that is installed;
// empty: none.
func shadowing(path, program string) string {
	for _, dir := range filepath.SplitList(path) {
		other := filepath.Join(dir, filepath.Base(program))
		info, err := os.Stat(other)
		switch {
		case filepath.Clean(dir) == filepath.Dir(program):
			return ""
		case err != nil || !info.Mode().IsRegular() || info.Mode()&0o111 == 0:
			continue
		}
		if is, err := os.Stat(program); err != nil || !os.SameFile(info, is) {
			return other
		}
	}
	return ""
}
