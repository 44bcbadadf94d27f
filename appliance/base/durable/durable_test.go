package durable_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/crawlbox/crawlbox/appliance/base/durable"
	"github.com/crawlbox/crawlbox/appliance/base/durable/disktest"
)

func content(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	return string(data)
}

func TestDisk_Forgets(t *testing.T) {
	t.Parallel()
	d := disktest.New(t, 8)
	if err := os.WriteFile(filepath.Join(d.Dir, "file"), []byte("text"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := content(t, filepath.Join(d.Cut().Dir, "file")); got != "" {
		t.Errorf("the disk remembers %q", got)
	}
	d.Sync()
	if got := content(t, filepath.Join(d.Cut().Dir, "file")); got != "text" {
		t.Errorf("the disk has %q", got)
	}
}

// TestCreate_NoDirectory: the error has the name that was asked for.
func TestCreate_NoDirectory(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "gone", "file")
	_, err := durable.Create(path, 0o600)
	if !errors.Is(err, fs.ErrNotExist) || err.Error() != "open "+path+": no such file or directory" {
		t.Errorf("got %v", err)
	}
}

// TestPowerCut wants all to be there that was said to be.
func TestPowerCut(t *testing.T) {
	t.Parallel()
	d := disktest.New(t, 8)
	dir := filepath.Join(d.Dir, "dir")
	path := filepath.Join(dir, "file")
	if err := durable.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{"first", "second"} {
		if err := durable.WriteFile(path, []byte(text), 0o640); err != nil {
			t.Fatal(err)
		}
		after := filepath.Join(d.Cut().Dir, "dir", "file")
		if got := content(t, after); got != text {
			t.Errorf("after a power cut there is %q, want %q", got, text)
		}
		if info, err := os.Stat(after); err != nil || info.Mode() != 0o640 {
			t.Errorf("its mode is %v, %v", info, err)
		}
	}
	other := filepath.Join(dir, "other")
	if err := errors.Join(durable.WriteFile(other, []byte("third"), 0o600), durable.Link(path, other)); err != nil {
		t.Fatal(err)
	}
	if got := content(t, filepath.Join(d.Cut().Dir, "dir", "file")); got != "third" {
		t.Errorf("after a power cut the link is to %q", got)
	}
	if err := durable.Remove(path, filepath.Join(dir, "none")); err != nil {
		t.Fatal(err)
	}
	if got := content(t, filepath.Join(d.Cut().Dir, "dir", "file")); got != "" {
		t.Errorf("what was removed is back: %q", got)
	}
}

func TestSweep(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	f, err := durable.Create(filepath.Join(dir, "file"), 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	others := []string{"file", ".file", ".filer1", ".file.old1", "file1"}
	for _, name := range others {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := durable.Sweep(filepath.Join(dir, "file")); err != nil {
		t.Fatal(err)
	}
	left, err := os.ReadDir(dir)
	if err != nil || len(left) != len(others) {
		t.Errorf("left is %v, %v; want %q", left, err, others)
	}
}

// TestJSON reads what it has written, and tells a file that is not there from one that can't be read.
func TestJSON(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "file")
	var got []string
	if found, err := durable.ReadJSON(path, &got); found || err != nil {
		t.Errorf("no file: %v, %v", found, err)
	}
	if err := durable.WriteJSON(path, []string{"a"}); err != nil {
		t.Fatal(err)
	}
	if found, err := durable.ReadJSON(path, &got); !found || err != nil || len(got) != 1 || got[0] != "a" {
		t.Errorf("%v, %v, %v", got, found, err)
	}
	if err := durable.WriteFile(path, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if found, err := durable.ReadJSON(path, &got); found || err == nil {
		t.Errorf("a damaged file: %v, %v", found, err)
	}
	if err := durable.WriteJSON(path, func() {}); err == nil {
		t.Error("what is no JSON is written")
	}
}
