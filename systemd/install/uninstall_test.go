package install

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestUninstall(t *testing.T) {
	t.Parallel()
	for _, purge := range []bool{false, true} {
		b := newBox(t)
		before := b.files()
		w := b.wanted()
		w.Join = "CBX1-SECRET"
		b.install(w)
		b.put("/var/lib/crawlbox/registry/blob", "x", 0o644)
		u := Unwanted{Config: w.Config, ConfigPath: w.ConfigPath, JoinPath: w.JoinPath, State: []string{"/var/lib/crawlbox"}, Purge: purge}
		if !purge {
			b.put(w.ConfigPath, "queue:\n", 0o640)
			before = append(before, w.ConfigPath, "/var/lib/crawlbox/registry/blob")
			slices.Sort(before)
		}
		p, err := b.Uninstall(u)
		if err != nil {
			t.Fatal(err)
		}
		if err := b.Do(t.Context(), p, func(Step) {}); err != nil {
			t.Fatal(err)
		}
		if after := b.files(); !slices.Equal(after, before) {
			t.Errorf("purge %v: there is\n%q, want\n%q", purge, after, before)
		}
		if stay := strings.Join(p.Notes, "\n"); strings.Contains(stay, "stays") == purge {
			t.Errorf("purge %v: it says %q", purge, stay)
		}
		if again, err := b.Uninstall(u); err != nil || purge && len(again.Steps) > 0 {
			t.Errorf("purge %v: again gives %q, %v", purge, again.Steps, err)
		}
	}
}

func (b *box) files() (list []string) {
	b.Helper()
	err := filepath.WalkDir(b.Root, func(path string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			list = append(list, strings.TrimPrefix(path, b.Root))
		}
		return err
	})
	if err != nil {
		b.Fatal(err)
	}
	return list
}

func TestUninstall_LeavesTheFoldersOfTheSystem(t *testing.T) {
	t.Parallel()
	b := newBox(t)
	u := Unwanted{ConfigPath: "/etc/crawlbox/crawlbox.yaml", Purge: true}
	for _, folder := range []string{"/", "/srv", "/var/lib/", "/var/lib/crawlbox", "/srv/images"} {
		b.put(filepath.Join(folder, "file"), "", 0o600)
		u.State = append(u.State, folder)
	}
	p, err := b.Uninstall(u)
	if err != nil {
		t.Fatal(err)
	}
	if want := []Step{Remove{"/var/lib/crawlbox"}, Remove{"/srv/images"}}; !slices.Equal(p.Steps, want) || len(p.Notes) != 3 {
		t.Errorf("it removes %v and says %q", p.Steps, p.Notes)
	}
}
