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
		u := Unwanted{
			Config:     w.Config,
			ConfigPath: w.ConfigPath,
			JoinPath:   w.JoinPath,
			State:      []string{"/var/lib/crawlbox"},
			Purge:      purge,
		}
		if !purge {
			b.put(w.ConfigPath, "queue:\n", 0o640)
			before = append(before, w.ConfigPath, "/var/lib/crawlbox/registry/blob")
			slices.Sort(before)
		}
		p, err := b.Uninstall(b.Context(), u)
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
		if again, err := b.Uninstall(b.Context(), u); err != nil || purge && len(again.Steps) > 0 {
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

func TestUninstall_LeavesTheDirectoriesOfTheSystem(t *testing.T) {
	t.Parallel()
	b := newBox(t)
	u := Unwanted{ConfigPath: "/etc/crawlbox/crawlbox.yaml", Purge: true}
	for _, directory := range []string{"/", "/srv", "/var/lib/", "/var/lib/crawlbox", "/srv/images"} {
		b.put(filepath.Join(directory, "file"), "", 0o600)
		u.State = append(u.State, directory)
	}
	p, err := b.Uninstall(t.Context(), u)
	if err != nil {
		t.Fatal(err)
	}
	if want := []Step{Remove{"/var/lib/crawlbox"}, Remove{"/srv/images"}}; !slices.Equal(p.Steps, want) ||
		len(p.Notes) != 3 {
		t.Errorf("it removes %v and says %q", p.Steps, p.Notes)
	}
}

// What is mounted at the data directory, or in it, can be emptied and not removed.
func TestUninstall_EmptiesMounts(t *testing.T) {
	t.Parallel()
	for name, mount := range map[string]string{
		"the directory": "/var/lib/crawlbox",
		"in it":         "/var/lib/crawlbox/big disk",
		"further in":    "/var/lib/crawlbox/a/b",
	} {
		b := newBox(t)
		escaped := strings.ReplaceAll(mount, " ", `\040`)
		b.put("/proc/self/mountinfo", "29 1 8:1 / / rw - ext4 /dev/sda1 rw\n"+
			"36 29 8:2 / "+escaped+" rw,noatime shared:9 - ext4 /dev/sdb1 rw\n"+
			"37 29 8:2 / /var/lib/crawlbox-other rw - ext4 /dev/sdb1 rw\n", 0o444)
		b.put("/var/lib/crawlbox/ca/ca.pem", "x", 0o600)
		b.put("/var/lib/crawlbox/a/other", "x", 0o600)
		b.put(filepath.Join(mount, "blobs/x"), "x", 0o600)
		p, err := b.Uninstall(t.Context(), Unwanted{
			ConfigPath: "/etc/crawlbox/crawlbox.yaml",
			State:      []string{"/var/lib/crawlbox"},
			Purge:      true,
		})
		if err != nil {
			t.Fatal(err)
		}
		if err := b.Do(t.Context(), p, func(Step) {}); err != nil {
			t.Fatal(err)
		}
		left, err := os.ReadDir(filepath.Join(b.Root, mount))
		if err != nil || len(left) > 0 {
			t.Errorf("%s: it has %v, %v", name, left, err)
		}
		if files := b.files(); strings.Contains(strings.Join(files, "\n"), "/var/lib/crawlbox/") {
			t.Errorf("%s: %q are left", name, files)
		}
		if said := strings.Join(p.Notes, "\n"); !strings.HasPrefix(said, mount+" stays, empty: it is mounted") {
			t.Errorf("%s: it says %q", name, said)
		}
	}
}

// TestUninstall_DockerFolder wants the directory that a package has to stay, and one that
// the unit has made to go.
func TestUninstall_DockerDirectory(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct{ packaged, used, stays bool }{
		"made by the unit":  {},
		"a package's":       {packaged: true, stays: true},
		"with Docker's key": {used: true, stays: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBox(t)
			b.packaged = tt.packaged
			if err := os.MkdirAll(b.path(dockerConfig), 0o755); err != nil {
				t.Fatal(err)
			}
			if tt.used {
				b.put(dockerConfig+"/key.json", "{}", 0o600)
			}
			p, err := b.Uninstall(t.Context(),
				Unwanted{ConfigPath: "/etc/crawlbox/crawlbox.yaml", JoinPath: "/var/lib/crawlbox/join"})
			if err != nil {
				t.Fatal(err)
			}
			if err := b.Do(t.Context(), p, func(Step) {}); err != nil {
				t.Fatal(err)
			}
			if stays := b.exists(dockerConfig); stays != tt.stays {
				t.Errorf("it stays: %v, want %v", stays, tt.stays)
			}
		})
	}
}
