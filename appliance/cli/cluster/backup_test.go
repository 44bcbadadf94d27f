package cluster

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/crawlbox/crawlbox/appliance/cli/command"
)

// TestMayWrite wants a backup to take no place that it should not, and to say which name is wrong.
func TestMayWrite(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file, link := filepath.Join(dir, "file"), filepath.Join(dir, "link")
	if err := errors.Join(os.WriteFile(file, nil, 0o600), os.Symlink(file, link)); err != nil {
		t.Fatal(err)
	}
	a := command.New(command.Env{Stdout: io.Discard}, "")
	for _, tc := range []struct {
		path  string
		force bool
		says  string // empty: it may
	}{
		{"-", false, ""},
		{filepath.Join(dir, "new"), false, ""},
		{file, true, ""},
		{file, false, "is there already; choose another name, or replace it with --force"},
		{dir, true, "no regular file"},
		{link, true, "no regular file"},
		{os.DevNull, true, "no regular file"},
		{"", false, "the name of FILE is empty"},
		{file + "/below", false, "write " + file + "/below: not a directory"},
	} {
		err := mayWrite(a, tc.path, tc.force)
		if (err == nil) != (tc.says == "") || err != nil && !strings.Contains(err.Error(), tc.says) {
			t.Errorf("%q: got %v, want %q", tc.path, err, tc.says)
		}
	}
}

// TestIntoFile wants nothing to stay of a file that could not be written.
func TestIntoFile(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	full := func(io.Writer) error { return syscall.ENOSPC }
	if err := intoFile(filepath.Join(dir, "f"), full); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("got %v", err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("left are %v, %v", left, err)
	}
	err := intoFile(filepath.Join(dir, "nodir", "f"), full)
	if got := withoutPath(err); got.Error() != "no such file or directory" {
		t.Errorf("got %v", got)
	}
}
