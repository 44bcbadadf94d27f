package state_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/crawlbox/crawlbox/appliance/cluster/state"
)

func open(t testing.TB, dir string, o state.Options) *state.Disk {
	t.Helper()
	d, err := state.Open(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d
}

func commit(t testing.TB, s state.Store, base state.Version, changes map[string][]byte) state.Version {
	t.Helper()
	v, err := s.Commit(t.Context(), base, changes, "test")
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func want(t testing.TB, s state.Store, name, content string) {
	t.Helper()
	data, _, err := s.Read(name)
	if content == "" {
		if !errors.Is(err, state.ErrNotFound) {
			t.Errorf("%s: %q, %v; want none", name, data, err)
		}
		return
	}
	if err != nil || string(data) != content {
		t.Errorf("%s: %q, %v; want %q", name, data, err, content)
	}
}

// TestConformance holds what every store promises.
func TestConformance(t *testing.T) {
	t.Parallel()
	for name, store := range map[string]func(testing.TB) state.Store{
		"disk": func(t testing.TB) state.Store { return open(t, filepath.Join(t.TempDir(), "state"), state.Options{}) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			conformance(t, store(t))
		})
	}
}

func conformance(t *testing.T, s state.Store) {
	want(t, s, "a", "")
	changed := s.Changed()
	first := commit(t, s, "", map[string][]byte{"a": []byte("1"), "b": []byte("1"), "dir/c": []byte("1")})
	select {
	case <-changed:
	default:
		t.Error("a commit was not told")
	}
	second := commit(t, s, first, map[string][]byte{"a": []byte("2"), "b": nil})
	want(t, s, "a", "2")
	want(t, s, "b", "")

	// On an older base, only what is as it was can be changed.
	for _, changes := range []map[string][]byte{
		{"a": []byte("3")},
		{"b": []byte("3")},
		{"a": nil},
		{"dir/c": []byte("3"), "a": []byte("3")},
	} {
		if _, err := s.Commit(t.Context(), first, changes, "test"); !errors.Is(err, state.ErrConflict) {
			t.Errorf("%v on an older base: %v", changes, err)
		}
	}
	if _, err := s.Commit(t.Context(), "", map[string][]byte{"a": []byte("3")},
		"test"); !errors.Is(err, state.ErrConflict) {
		t.Errorf("created what exists: %v", err)
	}
	if _, err := s.Commit(t.Context(), "made-up", map[string][]byte{"dir/c": []byte("3")},
		"test"); !errors.Is(err, state.ErrConflict) {
		t.Errorf("on a base that nobody knows: %v", err)
	}
	want(t, s, "dir/c", "1")
	commit(t, s, first, map[string][]byte{"dir/c": []byte("2")})
	commit(t, s, second, map[string][]byte{"dir/d": []byte("1")})

	list, v, err := s.List("dir/")
	if err != nil || len(list) != 2 || list[0].Name != "dir/c" || list[1].Name != "dir/d" || list[0].Size != 1 {
		t.Errorf("list: %v, %v", list, err)
	}
	if same := commit(t, s, v, map[string][]byte{"dir/d": []byte("1")}); same != v {
		t.Error("a commit of nothing is one")
	}

	// Bounds.
	for _, name := range []string{"", "/a", "../a", "a/../b", "a b", "a/", strings.Repeat("a", 129)} {
		if _, err := s.Commit(t.Context(), v, map[string][]byte{name: []byte("1")}, "test"); err == nil {
			t.Errorf("took the name %q", name)
		}
	}
	if _, err := s.Commit(t.Context(), v, map[string][]byte{"a": make([]byte, state.MaxDocument+1)},
		"test"); err == nil {
		t.Error("took a document that is too long")
	}
	many := map[string][]byte{}
	for i := range state.MaxDocuments {
		many[fmt.Sprintf("many/%d", i)] = []byte("1")
	}
	if _, err := s.Commit(t.Context(), v, many, "test"); err == nil {
		t.Error("took too many documents")
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Commit(ended, v, map[string][]byte{"a": []byte("4")}, "test"); !errors.Is(err, context.Canceled) {
		t.Errorf("with a context that has ended: %v", err)
	}
	want(t, s, "a", "2")

	t.Run("concurrent", func(t *testing.T) { concurrent(t, s) })
	t.Run("values", func(t *testing.T) { values(t, s) })
}

// concurrent has many count in one document, each on what it has read.
func concurrent(t *testing.T, s state.Store) {
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for done := 0; done < 5; {
				data, v, err := s.Read("count")
				if err != nil && !errors.Is(err, state.ErrNotFound) {
					t.Error(err)
					return
				}
				_, err = s.Commit(t.Context(), v, map[string][]byte{"count": append(slices.Clone(data), 'x')}, "count")
				if err == nil {
					done++
				} else if !errors.Is(err, state.ErrConflict) {
					t.Error(err)
					return
				}
			}
		})
	}
	all.Wait()
	want(t, s, "count", strings.Repeat("x", 40))
}

func TestDisk_TwoProcesses(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "state")
	a, b := open(t, dir, state.Options{}), open(t, dir, state.Options{})
	v := commit(t, a, "", map[string][]byte{"a": []byte("1")})
	want(t, b, "a", "1")
	commit(t, b, v, map[string][]byte{"a": []byte("2")})
	if _, err := a.Commit(t.Context(), v, map[string][]byte{"a": []byte("3")},
		"test"); !errors.Is(err, state.ErrConflict) {
		t.Errorf("on what the other has changed: %v", err)
	}
}

// TestDisk_IsBounded wants old commits to go, with what only they name.
func TestDisk_IsBounded(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "state")
	d := open(t, dir, state.Options{})
	var v state.Version
	for i := range 200 {
		v = commit(t, d, v, map[string][]byte{"a": fmt.Append(nil, i)})
	}
	count := func() int {
		list, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		return len(list)
	}
	if n := count(); n > 64+3 {
		t.Errorf("%d files after 200 commits", n)
	}
	again := open(t, dir, state.Options{})
	want(t, again, "a", "199")
	if n := count(); n > 32+3 {
		t.Errorf("%d files after a start", n)
	}
	_ = filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		info, _ := e.Info()
		if mode := info.Mode().Perm(); mode&0o077 != 0 {
			t.Errorf("%s has mode %v", path, mode)
		}
		return err
	})
}

func TestDisk_Damaged(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "state")
	d := open(t, dir, state.Options{})
	first := commit(t, d, "", map[string][]byte{"a": []byte("one")})
	v := commit(t, d, first, map[string][]byte{"b": []byte("1")})
	for _, path := range []string{filepath.Join(dir, "newest"), filepath.Join(dir, string(first))} {
		good, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, bad := range [][]byte{nil, good[:len(good)/2], bytes.ToUpper(append([]byte("x"), good[1:]...))} {
			if err := os.WriteFile(path, bad, 0o600); err != nil {
				t.Fatal(err)
			}
			if d, err := state.Open(dir, state.Options{}); err == nil ||
				!strings.Contains(err.Error(), dir+" is damaged") || !strings.Contains(err.Error(), "backup") {
				if err == nil {
					d.Close()
				}
				t.Errorf("%s with %q: %v", filepath.Base(path), bad, err)
			}
		}
		if err := os.WriteFile(path, good, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if view, err := state.Look(dir); err != nil || view.Head != v || view.Commit.Message != "test" {
		t.Errorf("%v, %v", view, err)
	}
	// Where the head is lost, nothing is begun anew over the commits.
	head := filepath.Join(dir, "newest")
	if err := os.Rename(head, dir+".head"); err != nil {
		t.Fatal(err)
	}
	_, err := state.Open(dir, state.Options{})
	_, looked := state.Look(dir)
	for _, err := range []error{err, looked} {
		if err == nil || !strings.Contains(err.Error(), dir+" is damaged (newest is missing") {
			t.Errorf("without its head: %v", err)
		}
	}
	if err := errors.Join(os.Rename(dir+".head", head), os.Chmod(dir, 0o755)); err != nil {
		t.Fatal(err)
	}
	want(t, open(t, dir, state.Options{}), "a", "one")
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("others see it after it was restored by hand: %v, %v", info.Mode(), err)
	}
}

func TestDocument(t *testing.T) {
	t.Parallel()
	d := open(t, filepath.Join(t.TempDir(), "state"), state.Options{})
	doc, other := state.NewDocument(d, "a"), state.NewDocument(d, "b")
	made, err := doc.LoadOrCreate(func() ([]byte, error) { return []byte("1"), nil })
	if err != nil || string(made) != "1" {
		t.Fatalf("%q, %v", made, err)
	}
	add := func(doc *state.Document) error {
		return doc.Update("add", func(data []byte) ([]byte, error) { return append(data, '+'), nil })
	}
	if err := errors.Join(add(other), add(doc), add(state.NewDocument(d, "a")), add(doc)); err != nil {
		t.Error(err)
	}
	want(t, d, "b", "+")
	refused := errors.New("refused")
	if err := doc.Update("refused", func([]byte) ([]byte, error) { return nil, refused }); !errors.Is(err, refused) {
		t.Errorf("refused: %v", err)
	}
	if again, err := state.NewDocument(d, "a").LoadOrCreate(nil); err != nil || string(again) != "1+++" {
		t.Errorf("%q, %v", again, err)
	}
}
