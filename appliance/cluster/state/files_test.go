package state_test

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/crawlbox/crawlbox/appliance/cluster/state"
)

// before returns a data directory that the version before has made.
func before(t *testing.T) (dir string, store func() *state.Disk) {
	t.Helper()
	dir = t.TempDir()
	if err := os.CopyFS(dir, os.DirFS("testdata/before")); err != nil {
		t.Fatal(err)
	}
	return dir, func() *state.Disk {
		return open(t, filepath.Join(dir, "state"), state.Options{Files: state.Files(dir)})
	}
}

func TestFiles_TakenOverOnce(t *testing.T) {
	t.Parallel()
	dir, start := before(t)
	s := start()
	list, v, err := s.List("")
	if err != nil || len(list) != 5 {
		t.Fatalf("%v, %v", list, err)
	}
	for name, path := range state.Files(dir) {
		data, err := os.ReadFile(path)
		if err != nil && name != state.Accounts { // nobody had one
			t.Fatal(err)
		}
		want(t, s, name, string(data))
	}
	if _, again, _ := start().List(""); again != v {
		t.Error("the second start takes them over again")
	}
}

// TestFiles_ThereAndBack goes on with the version before, and comes back.
func TestFiles_ThereAndBack(t *testing.T) {
	t.Parallel()
	dir, start := before(t)
	tokens, gossip := state.Files(dir)[state.Tokens], state.Files(dir)[state.GossipKeys]
	write := func(path, content string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	has := func(when, path, content string) {
		t.Helper()
		if data, err := os.ReadFile(path); err != nil || string(data) != content {
			t.Errorf("%s, %s has %q, %v", when, path, data, err)
		}
	}
	s := start()
	old, v, err := s.Read("tokens")
	if err != nil {
		t.Fatal(err)
	}
	commit(t, s, v, map[string][]byte{"tokens": []byte("[1]"), state.GossipKeys: []byte(`{"a":1}`)})
	has("the version before", tokens, "[1]")
	has("the version before", gossip, `{"a":1}`)

	write(tokens, "[2]") // by the version before
	s = start()
	want(t, s, "tokens", "[2]")
	want(t, s, state.GossipKeys, `{"a":1}`)

	write(tokens, string(old)) // what a power cut after the head has left
	write(gossip, "\x00\x00")  // what a disk has damaged
	s = start()
	want(t, s, "tokens", "[2]")
	has("after a power cut", tokens, "[2]")
	has("after damage", gossip, `{"a":1}`)

	for _, path := range state.Files(dir) { // `crawlbox leave` of the version before
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Fatal(err)
		}
	}
	if list, _, err := start().List(""); err != nil || len(list) != 0 {
		t.Errorf("after it has left: %v, %v", list, err)
	}
}

// TestFiles_AfterDamage does what the error for a damaged store says.
func TestFiles_AfterDamage(t *testing.T) {
	t.Parallel()
	dir, start := before(t)
	s := start()
	_, v, _ := s.List("")
	commit(t, s, v, map[string][]byte{"tokens": []byte("[1]")})
	if err := os.Rename(filepath.Join(dir, "state"), filepath.Join(dir, "damaged")); err != nil {
		t.Fatal(err)
	}
	s = start()
	want(t, s, "tokens", "[1]")
	data, _, err := s.Read("ca")
	if err != nil || !bytes.Contains(data, []byte("PRIVATE KEY")) {
		t.Errorf("%q, %v", data, err)
	}
}
