package install

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/crawlbox/crawlbox/appliance/cli/command"
	"github.com/crawlbox/crawlbox/appliance/cli/run"
	"github.com/crawlbox/crawlbox/appliance/node"
	"github.com/crawlbox/crawlbox/configs"
	"github.com/crawlbox/crawlbox/systemd"
	"github.com/crawlbox/crawlbox/systemd/install"
)

// argsOf returns what `crawlbox install` with these arguments puts into the unit.
func argsOf(t *testing.T, args ...string) []string {
	t.Helper()
	a := command.New(command.Env{}, "")
	root := Cmd(a)
	a.AddFlags(root.PersistentFlags())
	cmd, rest, err := root.Find(args)
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.ParseFlags(rest); err != nil {
		t.Fatal(err)
	}
	return unitArgs(cmd.Flags())
}

func TestUnitArgs(t *testing.T) {
	t.Parallel()
	here, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ args, want []string }{
		{[]string{"manager"}, nil},
		{
			[]string{"manager", "--queue", "--queue-port=7000", "--dry-run", "--install-docker", "--no-color"},
			[]string{"--queue", "--queue-port", "7000"},
		},
		{[]string{"manager", "--queue=false", "--adopt-swarm"}, []string{"--adopt-swarm", "--queue=false"}},
		{
			[]string{"worker", "--join", "CBX1-SECRET", "--data-dir", "data=true", "--config", "/c"},
			[]string{"--config", "/c", "--data-dir", filepath.Join(here, "data=true")},
		},
		{[]string{"worker", "--join-file", "-", "--log-level", "debug"}, []string{"--log-level", "debug"}},
	} {
		if got := argsOf(t, c.args...); !slices.Equal(got, c.want) {
			t.Errorf("%q gives %q, want %q", c.args, got, c.want)
		}
	}
}

// TestKeepFlags wants flags of the unit that are not given again to stay, and those that are
// given to win.
func TestKeepFlags(t *testing.T) {
	t.Parallel()
	installed := systemd.Unit{
		Role:    "manager",
		Program: install.Program,
		Args:    []string{"--queue", "--queue-port", "7000", "--advertise-addr", "10.0.0.1"},
		Keeper:  []string{"/k", "keep"},
	}.Files()[0].Text
	for _, c := range []struct {
		unit       string
		args, want []string
		says       string
	}{
		{
			installed,
			[]string{"manager"},
			[]string{"--advertise-addr", "10.0.0.1", "--queue", "--queue-port", "7000"},
			"as before: --advertise-addr=10.0.0.1 --queue=true --queue-port=7000\n",
		},
		{
			installed,
			[]string{"manager", "--queue=false", "--advertise-addr", "10.0.0.2", "--log-level", "debug"},
			[]string{"--advertise-addr", "10.0.0.2", "--log-level", "debug", "--queue=false", "--queue-port", "7000"},
			"as before: --queue-port=7000\n",
		},
		{"", []string{"manager", "--queue"}, []string{"--queue"}, ""},
		{installed, []string{"worker"}, nil, ""}, // which is refused
	} {
		var out strings.Builder
		a := command.New(command.Env{Stdout: &out}, "")
		root := Cmd(a)
		a.AddFlags(root.PersistentFlags())
		cmd, rest, err := root.Find(c.args)
		if err == nil {
			err = cmd.ParseFlags(rest)
		}
		if err == nil {
			err = keepFlags(a, cmd, c.unit)
		}
		if err != nil {
			t.Fatal(err)
		}
		if got := unitArgs(cmd.Flags()); !slices.Equal(got, c.want) || out.String() != c.says {
			t.Errorf("%q: got %q and %q, want %q", c.args, got, out.String(), c.want)
		}
	}
}

func TestNotTaken(t *testing.T) {
	t.Parallel()
	notes := ignoredEnv([]string{
		"HOME=/root", "CRAWLBOX_JOIN=CBX1-SECRET", "CRAWLBOX_QUEUE_URL=redis://h", "CRAWLBOX_REGISTRY_PORT=8004",
		"DOCKER_HOST=unix:///x",
	})
	if len(notes) != 2 || !strings.HasPrefix(notes[0], "CRAWLBOX_REGISTRY_PORT is set here") ||
		!strings.HasPrefix(notes[1], "DOCKER_HOST is set here") {
		t.Errorf("got %q", notes)
	}
}

// TestCheckJoin wants what cannot work to be refused before anything is changed.
func TestCheckJoin(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := checkJoin("", "worker", dir); err != nil {
		t.Errorf("no join token gives %v", err)
	}
	if err := checkJoin("CBX1-NOT", "worker", dir); err == nil || strings.Contains(err.Error(), "NOT") {
		t.Errorf("a broken join token gives %v", err)
	}
}

func TestLaidJoin_IsUsedOnce(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	a := command.New(command.Env{}, "")
	cmd := run.WorkerCmd(a)
	opts := node.Options{Config: configs.Config{DataDir: dir}, Log: slog.New(slog.DiscardHandler)}
	if err := run.SetJoin(a, cmd, &opts); err != nil || opts.Join != "" {
		t.Errorf("nothing was laid, and it is %q, %v", opts.Join, err)
	}
	if err := os.WriteFile(run.JoinTokenPath(dir), []byte("CBX1-LAID\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := run.SetJoin(a, cmd, &opts); err != nil || opts.Join != "CBX1-LAID" {
		t.Errorf("got %q, %v", opts.Join, err)
	}
	run.DeleteJoinToken(dir, opts.Log)
	run.DeleteJoinToken(dir, opts.Log)
	if _, err := os.Stat(run.JoinTokenPath(dir)); !os.IsNotExist(err) {
		t.Errorf("what is used up is still there: %v", err)
	}
}

// TestInstalledConfig wants the config of a node that is uninstalled to be that
// of its service.
func TestInstalledConfig(t *testing.T) {
	t.Parallel()
	m := &install.Machine{Root: t.TempDir()}
	unit := systemd.Unit{
		Role:    "manager",
		Program: install.Program,
		Args:    argsOf(t, "manager", "--data-dir", "/srv/my crawl", "--queue"),
		Keeper:  []string{"/k", "keep"},
	}
	path := filepath.Join(m.Root, systemd.Dir, systemd.Service)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(unit.Files()[0].Text), 0o644); err != nil {
		t.Fatal(err)
	}
	cfg, err := installedConfig(&command.App{}, m)
	if err != nil || cfg.DataDir != "/srv/my crawl" || cfg.Queue == nil {
		t.Errorf("got %q, queue %v, %v", cfg.DataDir, cfg.Queue, err)
	}
	if dirs := stateOf(cfg); !slices.Equal(dirs, []string{"/srv/my crawl"}) {
		t.Errorf("its state is in %q", dirs)
	}
	cfg.Registry.DataDir = "/mnt/images"
	if dirs := stateOf(cfg); !slices.Equal(dirs, []string{"/srv/my crawl", "/mnt/images"}) {
		t.Errorf("its state is in %q", dirs)
	}
}

// TestShadowing wants another crawlbox that a shell finds first to be told.
func TestShadowing(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	first, own, link := filepath.Join(dir, "first"), filepath.Join(dir, "own"), filepath.Join(dir, "link")
	for _, d := range []string{first, own, link} {
		if err := os.Mkdir(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	program := filepath.Join(own, "crawlbox")
	err := errors.Join(os.WriteFile(filepath.Join(first, "crawlbox"), nil, 0o755), os.WriteFile(program, nil, 0o755),
		os.Symlink(program, filepath.Join(link, "crawlbox")))
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		first + ":" + own:                filepath.Join(first, "crawlbox"),
		own + ":" + first:                "",
		link + ":" + own:                 "",
		"/nothing:" + own + "/:" + first: "",
		"":                               "",
	} {
		if got := shadowing(path, program); got != want {
			t.Errorf("%s: got %q, want %q", path, got, want)
		}
	}
}
