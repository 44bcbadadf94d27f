package state

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"

	"github.com/crawlbox/crawlbox/appliance/base/testenv"
)

// TestRead_DuringACommit has commits hang in the middle, and readers go on.
func TestRead_DuringACommit(t *testing.T) {
	t.Parallel()
	d, err := Open(filepath.Join(t.TempDir(), "state"), Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	v, err := NewValue(d, Format[string]{
		Names: []string{"a"},
		Decode: func(docs Contents) (*string, error) {
			text := string(docs["a"])
			return &text, nil
		},
		Encode: func(text *string) (Contents, error) { return Contents{"a": []byte(*text)}, nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	set := func(text string) error { return v.Update("set", func(*string) (*string, error) { return &text, nil }) }
	if err := set("old"); err != nil {
		t.Fatal(err)
	}
	for _, at := range []string{"commit", "head"} {
		hangs, goOn, done := make(chan struct{}), make(chan struct{}), make(chan error)
		d.step = func(step string) {
			if step == at {
				close(hangs)
				<-goOn
			}
		}
		go func() { done <- set("after " + at) }()
		<-hangs
		read := make(chan struct{})
		go func() {
			defer close(read)
			was := *v.Get()
			data, _, err := d.Read("a")
			list, _, listed := d.List("")
			if err := errors.Join(err, listed); err != nil || string(data) != was || list[0].Size != len(was) {
				t.Errorf("while a commit hangs at %s: %q, %v, %v; want %q", at, data, list, err, was)
			}
			select {
			case <-d.Changed():
				t.Errorf("a commit is told that hangs at %s", at)
			default:
			}
		}()
		select {
		case <-read:
		case <-time.After(10 * time.Second):
			t.Fatalf("who reads waits for a commit that hangs at %s", at)
		}
		close(goOn)
		if err := <-done; err != nil || *v.Get() != "after "+at {
			t.Errorf("then there is %q, %v", *v.Get(), err)
		}
	}
}

// TestRemove_DuringACommit wants the state to stay until a commit under way has ended.
func TestRemove_DuringACommit(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	d, err := Open(Dir(dir), Options{Files: Files(dir)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	committed, removed := make(chan error, 1), make(chan error, 1)
	d.step = func(step string) {
		if step == "commit" {
			go func() { removed <- Remove(dir) }()
			select {
			case err := <-removed:
				t.Error("removed in the middle of a commit")
				removed <- err
			case <-time.After(50 * time.Millisecond): // it has to wait, however long
			}
		}
	}
	go func() {
		_, err := d.Commit(context.Background(), "", Contents{CA: []byte("1")}, "test")
		committed <- err
	}()
	if err := <-committed; err != nil {
		t.Error(err)
	}
	if err := <-removed; err != nil {
		t.Error(err)
	}
	if left, err := filepath.Glob(filepath.Join(dir, "*")); err != nil || len(left) != 0 {
		t.Errorf("left are %v, %v", left, err)
	}
}

// TestCommit_Locked: while another process has the lock, a commit ends with who waits for it, and
// by itself after a while.
func TestCommit_Locked(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "state")
	d, err := Open(dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	other, err := os.Open(filepath.Join(dir, lockFile))
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	if err := unix.Flock(int(other.Fd()), unix.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := d.Commit(ctx, "", Contents{"a": []byte("1")}, "test"); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("after a second: %v", err)
		}
		_, err := d.Commit(t.Context(), "", Contents{"a": []byte("1")}, "test")
		if err == nil || !strings.Contains(err.Error(), "another process has "+dir+"/lock locked for 1m0s already") {
			t.Errorf("after a while: %v", err)
		}
	})
	if err := unix.Flock(int(other.Fd()), unix.LOCK_UN); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Commit(t.Context(), "", Contents{"a": []byte("1")}, "test"); err != nil {
		t.Errorf("then: %v", err)
	}
}

// TestCommit_DiskTakesNothing wants one line that says what to do.
func TestCommit_DiskTakesNothing(t *testing.T) {
	t.Parallel()
	for want, take := range map[string]func(dir string) error{
		"is full, make room on it": func(string) error { return nil },
		"is read-only": func(dir string) error {
			return unix.Mount("", dir, "", unix.MS_REMOUNT|unix.MS_RDONLY, "")
		},
	} {
		dir := filepath.Join(testenv.SmallDisk(t, "size=64k"), "data")
		d, err := Open(Dir(dir), Options{Files: Files(dir)})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { d.Close() })
		v, err := d.Commit(t.Context(), "", Contents{CA: []byte("1")}, "first")
		if err != nil {
			t.Fatal(err)
		}
		if err := take(filepath.Dir(dir)); err != nil {
			t.Fatal(err)
		}
		_, err = d.Commit(t.Context(), v, Contents{CA: make([]byte, 100<<10)}, "second")
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), Dir(dir)) ||
			strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v", want, err)
		}
		if data, at, err := d.Read(CA); err != nil || string(data) != "1" || at != v {
			t.Errorf("%s: then there is %q, %v", want, data, err)
		}
	}
}
