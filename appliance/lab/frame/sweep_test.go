package frame

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"golang.org/x/sys/unix"
)

// TestSweep_LeavesWhatIsNotItsOwn wants a directory whose name begins as a lab's does to stay,
// unless a lab of this user made it and its owner is gone.
func TestSweep_LeavesWhatIsNotItsOwn(t *testing.T) {
	temp := t.TempDir()
	t.Setenv("TMPDIR", temp)
	lab := func(name, owner string, mode os.FileMode) string {
		dir := filepath.Join(temp, prefix+name)
		if err := os.Mkdir(dir, mode); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(dir, mode); err != nil { // whatever the umask
			t.Fatal(err)
		}
		if owner != "" {
			if err := os.WriteFile(filepath.Join(dir, "owner"), []byte(owner), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		return dir
	}
	stay := []string{
		lab("notes", "", 0o700),
		lab("of-others", "somebody\n", 0o700),
		lab("empty-mark", "\n", 0o700),
		lab("writable", mark+"1\n", 0o777),
	}
	if os.Geteuid() == 0 {
		forged := lab("forged", mark+"1\n", 0o700)
		if err := os.Chown(forged, 65534, 65534); err != nil {
			t.Fatal(err)
		}
		stay = append(stay, forged)
	}
	link := filepath.Join(temp, prefix+"link")
	if err := os.Symlink(lab("target", mark+"1\n", 0o700), link); err != nil {
		t.Fatal(err)
	}
	used := lab("used", mark+"1\n", 0o700)
	owner, err := claim(used, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer owner.Close()
	stay = append(stay, used)

	dead, own, err := NewDirectory(t) // sweeps, too
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(temp, prefix+"target")); err == nil {
		t.Error("the leftover of an owner that is gone stays")
	}
	if removed, err := Sweep(); err != nil || len(removed) > 0 {
		t.Errorf("removed %q, %v", removed, err)
	}
	own.Close()
	if removed, err := Sweep(); err != nil || !slices.Equal(removed, []string{dead}) {
		t.Errorf("removed %q, %v; want %s", removed, err, dead)
	}
	for _, dir := range stay {
		if _, err := os.Lstat(dir); err != nil {
			t.Errorf("%s is gone", dir)
		}
	}
	var is unix.Stat_t
	if err := unix.Lstat(link, &is); err != nil {
		t.Errorf("the link is gone: %v", err)
	}
}
