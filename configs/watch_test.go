package configs

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func link(t *testing.T, target, path string) {
	t.Helper()
	if err := os.Symlink(target, path+".new"); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}

// TestWatch_Sees makes one change after another and wants each to be told.
func TestWatch_Sees(t *testing.T) {
	t.Parallel()
	type step = func(t *testing.T, dir string)
	change := func(name, text string) step {
		return func(t *testing.T, dir string) { write(t, filepath.Join(dir, name), text) }
	}
	for name, test := range map[string]struct {
		path  string
		setup step
		steps []step
	}{
		"a write": {"c.yaml", change("c.yaml",
			"prune: true"), []step{change("c.yaml", "prune: false"), change("c.yaml", "")}},
		"a rename, as editors save": {"c.yaml", change("c.yaml", "prune: true"), []step{func(t *testing.T, dir string) {
			write(t, filepath.Join(dir, "c.tmp"), "prune: false")
			if err := os.Rename(filepath.Join(dir, "c.tmp"), filepath.Join(dir, "c.yaml")); err != nil {
				t.Fatal(err)
			}
		}, change("c.yaml", "prune: true")}},
		"removal and return": {"c.yaml", change("c.yaml", "prune: true"), []step{func(t *testing.T, dir string) {
			if err := os.Remove(filepath.Join(dir, "c.yaml")); err != nil {
				t.Fatal(err)
			}
		}, change("c.yaml", "prune: true")}},
		"a directory that comes later": {"a/b/c.yaml", func(*testing.T, string) {}, []step{
			change("a/b/c.yaml", "prune: true"), change("a/b/c.yaml", "prune: false"),
		}},
		"links, as Kubernetes makes them": {"conf/c.yaml", func(t *testing.T, dir string) {
			write(t, filepath.Join(dir, "conf/..1/c.yaml"), "prune: true")
			link(t, "..1", filepath.Join(dir, "conf/..data"))
			link(t, "..data/c.yaml", filepath.Join(dir, "conf/c.yaml"))
		}, []step{func(t *testing.T, dir string) {
			write(t, filepath.Join(dir, "conf/..2/c.yaml"), "prune: false")
			link(t, "..2", filepath.Join(dir, "conf/..data"))
		}, change("conf/..2/c.yaml", "prune: true")}},
		"a directory that is a link": {"conf/c.yaml", func(t *testing.T, dir string) {
			write(t, filepath.Join(dir, "1/c.yaml"), "prune: true")
			write(t, filepath.Join(dir, "2/c.yaml"), "prune: false")
			link(t, "1", filepath.Join(dir, "conf"))
		}, []step{func(t *testing.T, dir string) { link(t, "2", filepath.Join(dir, "conf")) }}},
		"an env_file, also one that is missing at first": {"c.yaml", func(t *testing.T, dir string) {
			write(t, filepath.Join(dir, "c.yaml"), service("image: i\nenv_file: env/a.env"))
		}, []step{change("env/a.env", "A=1"), change("env/a.env", "A=2")}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			test.setup(t, dir)
			changes, stop := watch(t, filepath.Join(dir, test.path))
			for i, step := range test.steps {
				step(t, dir)
				await(t, changes, i)
			}
			stop()
		})
	}
}

func TestWatch_IgnoresOthersAndTouch(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "c.yaml")
	write(t, path, "prune: true")
	changes, stop := watch(t, path)
	defer stop()
	write(t, filepath.Join(dir, "other"), "x")
	write(t, path, "prune: true")
	select {
	case <-changes:
		t.Error("told a change of nothing")
	case <-time.After(3 * quiet):
	}
}

func TestWatch_BusyDirectory(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "c.yaml")
	write(t, path, "prune: true")
	changes, stop := watch(t, path)
	defer stop()
	write(t, path, "prune: false")
	tick := time.NewTicker(quiet / 4)
	defer tick.Stop()
	deadline := time.After(5 * patience)
	for {
		select {
		case <-changes:
			return
		case <-tick.C:
			write(t, filepath.Join(dir, "log"), "x")
		case <-deadline:
			t.Fatal("a directory that never rests hides the change")
		}
	}
}

func watch(t *testing.T, path string) (<-chan struct{}, func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	changes, err := Watch(ctx, path, slog.New(slog.NewTextHandler(t.Output(), nil)))
	if err != nil {
		t.Fatal(err)
	}
	return changes, func() {
		cancel()
		for range changes { // Until it is closed.
		}
	}
}

func await(t *testing.T, changes <-chan struct{}, step int) {
	t.Helper()
	select {
	case <-changes:
	case <-time.After(10 * time.Second):
		t.Fatalf("step %d is not told", step)
	}
}
