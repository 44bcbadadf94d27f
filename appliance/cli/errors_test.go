package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/crawlbox/crawlbox/appliance/api"
	"github.com/crawlbox/crawlbox/configs"
	"github.com/crawlbox/crawlbox/systemd"
	"github.com/crawlbox/crawlbox/systemd/install"
)

// TestHowToStart wants the command that fits to what is on the machine.
func TestHowToStart(t *testing.T) {
	t.Parallel()
	unit := systemd.Unit{Role: "worker", Program: install.Program, Keeper: []string{"/k", "keep"}}.Files()[0].Text
	for name, tc := range map[string]struct {
		files map[string]string
		want  string
	}{
		"nothing": {nil, "make this machine a node with `crawlbox manager`"},
		"systemd": {map[string]string{"/run/systemd/system/x": ""}, "`crawlbox install manager`"},
		"installed": {
			map[string]string{"/etc/systemd/system/crawlbox.service": unit}, "`systemctl start crawlbox`",
		},
		"the foreground": {map[string]string{"/data/cluster.json": "{}"}, "start it with `crawlbox manager`"},
	} {
		m := &install.Machine{Root: t.TempDir()}
		for path, text := range tc.files {
			path = filepath.Join(m.Root, path)
			err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o644))
			if err != nil {
				t.Fatal(err)
			}
		}
		got := howToStart(m, configs.Config{DataDir: filepath.Join(m.Root, "data")})
		if !strings.Contains(got, tc.want) {
			t.Errorf("%s: got %q, want %q", name, got, tc.want)
		}
	}
}

func TestRemedy(t *testing.T) {
	t.Parallel()
	denied := &fs.PathError{Op: "open", Path: "/etc/crawlbox/crawlbox.yaml", Err: fs.ErrPermission}
	asRoot := os.Geteuid() == 0
	for _, tc := range []struct {
		err  error
		want bool
	}{
		{fmt.Errorf("a: %w", api.NotRunning("/run/crawlbox.sock")), true},
		{fmt.Errorf("%w, and it has its own advice", api.ErrNotRunning), false},
		{fmt.Errorf("read config file: %w", denied), !asRoot},
		{fmt.Errorf("run as root: %w", denied), false},
		{errors.New("another"), false},
	} {
		if got := remedy(tc.err); (got != "") != tc.want {
			t.Errorf("%v: got %q", tc.err, got)
		}
	}
}
