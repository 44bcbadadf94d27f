package state_test

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/crawlbox/crawlbox/appliance/cluster/state"
)

// TestDirs takes over a directory of files of the version before, goes back to it, and returns.
func TestDirs(t *testing.T) {
	t.Parallel()
	dir, _ := before(t)
	deploys := filepath.Join(dir, "deploys")
	options := state.Options{
		Files: state.Files(dir),
		Dirs:  state.Dirs(dir),
		Check: func(name string, data []byte) error {
			if strings.HasPrefix(name, state.History) && !json.Valid(data) {
				return errors.New("no JSON")
			}
			return nil
		},
	}
	start := func() *state.Disk {
		t.Helper()
		return open(t, filepath.Join(dir, "state"), options)
	}
	write := func(name, content string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(deploys, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	has := func(name, content string) {
		t.Helper()
		data, err := os.ReadFile(filepath.Join(deploys, name))
		if err != nil && content != "" || string(data) != content {
			t.Errorf("%s has %q, %v; want %q", name, data, err, content)
		}
	}
	if err := os.Mkdir(deploys, 0o700); err != nil {
		t.Fatal(err)
	}
	write("spider.json", "[1]")
	write("a-c_D.json", "[2]")
	if err := errors.Join(unix.Mkfifo(filepath.Join(deploys, "fifo.json"), 0o600),
		os.Mkdir(filepath.Join(deploys, "dir.json"), 0o700)); err != nil {
		t.Fatal(err)
	}
	write("note.txt", "?")
	write("spider.json.bad", "?")
	write(".spider.json123", "?") // what a power cut has left
	write("bad.json", "[")
	if _, err := state.Open(filepath.Join(dir, "state"), options); err == nil ||
		!strings.Contains(err.Error(), "bad.json") || !strings.Contains(err.Error(), "move it away") {
		t.Errorf("a damaged file: %v", err)
	}
	if err := os.Remove(filepath.Join(deploys, "bad.json")); err != nil {
		t.Fatal(err)
	}
	s := start()
	hashes, err := state.NewGroup(s, state.History).Hashes()
	if err != nil || len(hashes) != 2 || hashes["spider"] == "" || hashes["a-c_D"] == "" {
		t.Errorf("taken over: %v, %v", hashes, err)
	}
	want(t, s, state.History+"spider", "[1]")
	want(t, s, state.History+"a-c_D", "[2]")
	has("note.txt", "?")
	has("spider.json.bad", "?")
	has(".spider.json123", "")

	replace := func(name, content string) {
		t.Helper()
		err := state.NewGroup(s, state.History).Update(name, "test", func([]byte) ([]byte, error) {
			return []byte(content), nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	replace("spider", "[3]")
	replace("new", "[4]")
	has("spider.json", "[3]")
	has("new.json", "[4]")

	write("spider.json", "[5]") // by the version before
	write("other.json", "[6]")
	s = start()
	want(t, s, state.History+"spider", "[5]")
	want(t, s, state.History+"other", "[6]")

	replace("spider", "[7]")
	write("spider.json", "[5]") // what a power cut has left, and damage
	write("other.json", "[")
	write("new.json", "[8]") // by the version before, nevertheless
	s = start()
	want(t, s, state.History+"spider", "[7]")
	want(t, s, state.History+"new", "[8]")
	has("spider.json", "[7]")
	has("other.json", "[6]")
	has("other.json.damaged", "[")

	for _, path := range state.Files(dir) { // `crawlbox leave` of the version before
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Fatal(err)
		}
	}
	for range 2 {
		s = start()
		want(t, s, state.CA, "")
		want(t, s, state.History+"spider", "[7]")
		has("spider.json", "[7]")
	}
}
