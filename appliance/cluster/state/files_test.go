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

// TestFiles_Lost has all files go without that the cluster was left.
func TestFiles_Lost(t *testing.T) {
	t.Parallel()
	dir, start := before(t)
	ca, _, err := start().Read(state.CA)
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range state.Files(dir) {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Fatal(err)
		}
	}
	s := open(t, filepath.Join(dir, "state"), state.Options{
		Files: state.Files(dir),
		Left:  func() bool { return false },
	})
	want(t, s, state.CA, string(ca))
	if data, err := os.ReadFile(state.Files(dir)[state.CA]); err != nil || !bytes.Equal(data, ca) {
		t.Errorf("the file of the CA is not written again: %q, %v", data, err)
	}
}

// TestFiles_OtherCluster has a version before leave the cluster and make another one: nothing
// of the first is good in the second.
func TestFiles_OtherCluster(t *testing.T) {
	t.Parallel()
	dir, start := before(t)
	s := start()
	list, v, err := s.List("")
	if err != nil {
		t.Fatal(err)
	}
	v = commit(t, s, v, map[string][]byte{state.Accounts: []byte(`{"bob":1}`), state.Members: []byte("[]\n")})
	commit(t, s, v, map[string][]byte{state.Removals: []byte("[1]")})
	if err := errors.Join(os.RemoveAll(filepath.Join(dir, "ca")),
		os.Mkdir(filepath.Join(dir, "ca"), 0o700)); err != nil {
		t.Fatal(err)
	}
	const other = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
	for name, content := range map[string]string{state.CA: other, state.Members: "[]\n"} {
		if err := os.WriteFile(state.Files(dir)[name], []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s = start()
	want(t, s, state.CA, other)
	want(t, s, state.Members, "[]\n")
	for _, name := range []string{state.Accounts, state.Tokens, state.Removals} {
		if data, _, _ := s.Read(name); data != nil {
			t.Errorf("of the cluster before there is %s, %q (of %d documents)", name, data, len(list))
		}
	}
}
