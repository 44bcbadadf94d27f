package state_test

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
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

// wantFile wants a file with a content, or none.
func wantFile(t *testing.T, path, content string) {
	t.Helper()
	data, err := os.ReadFile(path)
	if content == "" && errors.Is(err, fs.ErrNotExist) {
		return
	}
	if err != nil || string(data) != content {
		t.Errorf("%s has %q, %v; want %q", path, data, err, content)
	}
}

func TestFiles_TakenOverOnce(t *testing.T) {
	t.Parallel()
	dir, start := before(t)
	between := filepath.Join(dir, "state", "objects", strings.Repeat("0", 64))
	if err := os.MkdirAll(between, 0o700); err != nil {
		t.Fatal(err)
	}
	s := start()
	wantFile(t, filepath.Dir(between), "")
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
	s := start()
	old, v, err := s.Read("tokens")
	if err != nil {
		t.Fatal(err)
	}
	v = commit(t, s, v, map[string][]byte{"tokens": []byte("[0]")})
	commit(t, s, v, map[string][]byte{"tokens": []byte("[1]"), state.GossipKeys: []byte(`{"a":1}`)})
	wantFile(t, tokens, "[1]")
	wantFile(t, gossip, `{"a":1}`)

	write(tokens, "[0]") // what a power cut after the head has left
	write(gossip, "")
	s = start()
	want(t, s, "tokens", "[1]")
	wantFile(t, tokens, "[1]")
	wantFile(t, gossip, `{"a":1}`)

	write(tokens, string(old)) // by the version before, from a backup
	s = start()
	want(t, s, "tokens", string(old))
	_, v, _ = s.Read("tokens")
	commit(t, s, v, map[string][]byte{"tokens": []byte("[2]")})
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	write(tokens, string(old)) // after a stop nothing else can have left it
	s = start()
	want(t, s, "tokens", string(old))
	want(t, s, state.GossipKeys, `{"a":1}`)

	for _, path := range state.Files(dir) { // `crawlbox leave` of the version before
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Fatal(err)
		}
	}
	if list, _, err := start().List(""); err != nil || len(list) != 0 {
		t.Errorf("after it has left: %v, %v", list, err)
	}
}

// TestFiles_NoDocument has files be JSON, but not what their documents are.
func TestFiles_NoDocument(t *testing.T) {
	t.Parallel()
	dir, _ := before(t)
	tokens, other := state.Files(dir)[state.Tokens], filepath.Join(dir, "deploys", "other.json")
	var log bytes.Buffer
	start := func() (*state.Disk, error) {
		return state.Open(filepath.Join(dir, "state"), state.Options{
			Files: state.Files(dir),
			Dirs:  state.Dirs(dir),
			Check: func(name string, data []byte) error {
				if string(data) == "{}" {
					return errors.New("no list")
				}
				return nil
			},
			Log: slog.New(slog.NewTextHandler(&log, nil)),
		})
	}
	write := func(path string) []byte {
		t.Helper()
		was, err := os.ReadFile(path)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Fatal(err)
		}
		_ = os.Mkdir(filepath.Dir(path), 0o700)
		if err := os.WriteFile(path, []byte("{}"), 0o600); err != nil {
			t.Fatal(err)
		}
		return was
	}
	was := write(tokens)
	if _, err := start(); err == nil || !strings.Contains(err.Error(), tokens+" is damaged (no list): restore it") {
		t.Errorf("nothing to go on with: %v", err)
	}
	wantFile(t, tokens, "{}")
	if err := os.WriteFile(tokens, was, 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := start()
	if err != nil {
		t.Fatal(err)
	}
	s.Close()

	write(tokens)
	write(other)
	if s, err = start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	want(t, s, "tokens", string(was))
	want(t, s, state.History+"other", "")
	wantFile(t, tokens, string(was))
	wantFile(t, other, "")
	wantFile(t, tokens+".damaged", "{}")
	wantFile(t, other+".damaged", "{}")
	if n := strings.Count(log.String(), "\n"); n != 2 || strings.Count(log.String(), "put aside") != 2 {
		t.Errorf("%d lines of log: %s", n, log.String())
	}
}

// TestFiles_CannotBeWritten has a directory be in the place of a file.
func TestFiles_CannotBeWritten(t *testing.T) {
	t.Parallel()
	dir, _ := before(t)
	tokens := state.Files(dir)[state.Tokens]
	var log bytes.Buffer
	s := open(t, filepath.Join(dir, "state"), state.Options{
		Files: state.Files(dir),
		Log:   slog.New(slog.NewTextHandler(&log, nil)),
	})
	if err := errors.Join(os.Remove(tokens), os.MkdirAll(filepath.Join(tokens, "in the way"), 0o700)); err != nil {
		t.Fatal(err)
	}
	_, v, _ := s.List("")
	for i := range 100 {
		v = commit(t, s, v, map[string][]byte{"tokens": fmt.Append(nil, i)})
		v = commit(t, s, v, map[string][]byte{"accounts": fmt.Append(nil, i)})
	}
	want(t, s, "tokens", "99")
	wantFile(t, state.Files(dir)[state.Accounts], "99")
	if n := strings.Count(log.String(), "\n"); n != 1 || !strings.Contains(log.String(), tokens) {
		t.Errorf("%d lines of log: %s", n, log.String())
	}
	if err := os.RemoveAll(tokens); err != nil {
		t.Fatal(err)
	}
	commit(t, s, v, map[string][]byte{"accounts": []byte("100")})
	wantFile(t, tokens, "99")
	if !strings.HasSuffix(log.String(), "\n") || strings.Count(log.String(), "written again") != 1 {
		t.Errorf("it is not said that it goes on: %s", log.String())
	}
}

// TestFiles_Leftovers wants what a power cut has left of files to go.
func TestFiles_Leftovers(t *testing.T) {
	t.Parallel()
	dir, start := before(t)
	left := filepath.Join(dir, "ca", ".tokens.json123456")
	if err := os.WriteFile(left, []byte("?"), 0o600); err != nil {
		t.Fatal(err)
	}
	start()
	wantFile(t, left, "")
}

func TestRemove(t *testing.T) {
	t.Parallel()
	dir, start := before(t)
	s := start()
	_, v, _ := s.List("")
	v = commit(t, s, v, map[string][]byte{"tokens": []byte("[1]")})
	cutOff := filepath.Join(dir, "state.removed") // of a removal before
	if err := os.MkdirAll(filepath.Join(cutOff, "objects"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := state.Remove(dir); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Commit(t.Context(), v, map[string][]byte{"tokens": []byte("[2]")}, "late"); err == nil ||
		!strings.Contains(err.Error(), "has left") {
		t.Errorf("a commit after it: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
		t.Errorf("left are %v, %v", left, err)
	}
	if err := state.Remove(dir); err != nil {
		t.Errorf("again: %v", err)
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

// TestFiles_Mended damages a commit that has documents of today, in all ways that disks know.
func TestFiles_Mended(t *testing.T) {
	t.Parallel()
	for name, harm := range map[string]func(path string) error{
		"is cut short": func(path string) error { return os.Truncate(path, 10) },
		"is missing":   os.Remove,
		"does not hold what it should": func(path string) error {
			data, err := os.ReadFile(path)
			return errors.Join(err, os.WriteFile(path, bytes.ToUpper(data), 0o600))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir, start := before(t)
			s := start()
			_, v, _ := s.List("")
			commit(t, s, v, map[string][]byte{"tokens": []byte("[1]")})
			members, _, err := s.Read(state.Members)
			if err := errors.Join(err, s.Close(), harm(filepath.Join(dir, "state", string(v)))); err != nil {
				t.Fatal(err)
			}
			for i := range 2 {
				var log bytes.Buffer
				s = open(t, filepath.Join(dir, "state"), state.Options{
					Files: state.Files(dir),
					Log:   slog.New(slog.NewTextHandler(&log, nil)),
				})
				want(t, s, state.Members, string(members))
				want(t, s, state.Tokens, "[1]")
				said := strings.Contains(log.String(), name) && strings.Contains(log.String(), "document=members")
				if said != (i == 0) {
					t.Errorf("start %d says %s", i, log.String())
				}
				if err := s.Close(); err != nil {
					t.Fatal(err)
				}
			}

			// Where no file has it a person has to help.
			dir, start = before(t)
			s = start()
			_, v, _ = s.List("")
			commit(t, s, v, map[string][]byte{"tokens": []byte("[1]")})
			err = errors.Join(s.Close(), harm(filepath.Join(dir, "state", string(v))),
				os.Remove(state.Files(dir)[state.Members]))
			if err != nil {
				t.Fatal(err)
			}
			_, err = state.Open(filepath.Join(dir, "state"), state.Options{Files: state.Files(dir)})
			want := string(v) + " " + name + ": the document members): restore it from"
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("got %v", err)
			}
		})
	}
}

// TestFiles_StateRestoredAlone wants a word on what is taken over of the files beside it.
func TestFiles_StateRestoredAlone(t *testing.T) {
	t.Parallel()
	dir, start := before(t)
	s := start()
	_, v, _ := s.List("")
	backup := t.TempDir()
	if err := os.CopyFS(backup, os.DirFS(filepath.Join(dir, "state"))); err != nil {
		t.Fatal(err)
	}
	commit(t, s, v, map[string][]byte{"tokens": []byte("[1]")})
	path := filepath.Join(dir, "state")
	if err := errors.Join(s.Close(), os.RemoveAll(path), os.CopyFS(path, os.DirFS(backup))); err != nil {
		t.Fatal(err)
	}
	for i := range 2 {
		var log bytes.Buffer
		s := open(t, path, state.Options{Files: state.Files(dir), Log: slog.New(slog.NewTextHandler(&log, nil))})
		want(t, s, "tokens", "[1]")
		if said := strings.Contains(log.String(), "restored alone"); said != (i == 0) {
			t.Errorf("start %d says %s", i, log.String())
		}
	}
}

// A damaged commit of which nothing is needed any longer keeps no start.
func TestFiles_OldCommitDamaged(t *testing.T) {
	t.Parallel()
	dir, start := before(t)
	s := start()
	_, v, _ := s.List("")
	old := commit(t, s, v, map[string][]byte{"tokens": []byte("[1]")})
	v = commit(t, s, old, map[string][]byte{"tokens": []byte("[2]")})
	commit(t, s, v, map[string][]byte{"tokens": []byte("[3]")})
	if err := errors.Join(s.Close(), os.Truncate(filepath.Join(dir, "state", string(old)), 10)); err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	s = open(t, filepath.Join(dir, "state"), state.Options{
		Files: state.Files(dir),
		Log:   slog.New(slog.NewTextHandler(&log, nil)),
	})
	want(t, s, "tokens", "[3]")
	if log.Len() > 0 {
		t.Errorf("it says %s", log.String())
	}
}
