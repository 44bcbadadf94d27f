package journal

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/crawlbox/crawlbox/appliance/base/testenv"
)

func TestJournal_FullDisk(t *testing.T) {
	t.Parallel()
	disk := testenv.SmallDisk(t, "size=256k")
	dir := filepath.Join(disk, "queue")
	want := write(t, dir, 0, 10)
	j, _, err := open(t, dir, Options{SyncInterval: time.Millisecond, RewriteSize: 1 << 30})
	if err != nil {
		t.Fatal(err)
	}
	stop := running(t, j)
	if err := os.WriteFile(filepath.Join(disk, "ballast"), make([]byte, 200<<10), 0o600); err != nil {
		t.Fatal(err)
	}
	big := []Command{{Args: []string{"SET", "big", string(make([]byte, 100<<10))}}}
	want = append(want, big)
	if err := j.Append(big); err != nil {
		t.Fatal(err)
	}
	awaitAdmit(t, j, func(err error) bool { return errors.Is(err, unix.ENOSPC) })

	crashed := t.TempDir()
	if err := os.CopyFS(crashed, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	mustEqual(t, contents(t, crashed), want[:10])

	if err := os.Remove(filepath.Join(disk, "ballast")); err != nil {
		t.Fatal(err)
	}
	awaitAdmit(t, j, func(err error) bool { return err == nil })
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	mustEqual(t, contents(t, dir), want)
}

// TestJournal_StopsOnAFullDisk: what was accepted is there after a stop, and after a crash,
// although the disk has been full since.
func TestJournal_StopsOnAFullDisk(t *testing.T) {
	t.Parallel()
	disk := testenv.SmallDisk(t, "size=2m")
	dir := filepath.Join(disk, "queue")
	j, _, err := open(t, dir, Options{SyncInterval: 50 * time.Millisecond, RewriteSize: 1 << 30})
	if err != nil {
		t.Fatal(err)
	}
	stop := running(t, j)
	awaitAdmit(t, j, func(err error) bool { return err == nil })
	ballast := make([]byte, 64<<10)
	for i := 0; err == nil; i++ {
		err = os.WriteFile(filepath.Join(disk, fmt.Sprint("ballast", i)), ballast, 0o600)
	}
	var want [][]Command
	for err = j.Admit(t.Context()); err == nil; err = j.Admit(t.Context()) {
		batch := []Command{{Args: []string{"RPUSH", "jobs", fmt.Sprint(len(want), string(make([]byte, 1000)))}}}
		if err := j.Append(batch); err != nil {
			t.Fatal(err)
		}
		want = append(want, batch)
	}
	if !errors.Is(err, unix.ENOSPC) || len(want) == 0 {
		t.Fatalf("%d are accepted, then %v", len(want), err)
	}
	crashed := t.TempDir()
	if err := os.CopyFS(crashed, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	if n := len(contents(t, crashed)); n == 0 {
		t.Errorf("of %d that were accepted none is on the disk", len(want))
	}
	if err := stop(); err != nil {
		t.Errorf("stop: %v", err)
	}
	mustEqual(t, contents(t, dir), want)
}

func awaitAdmit(t *testing.T, j *recorder, ok func(error) bool) {
	t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for {
		err := j.Admit(context.Background())
		if ok(err) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("still %v after 10 s", err)
		}
		time.Sleep(time.Millisecond)
	}
}

// TestJournal_NoRoomToRewrite keeps the old files when the new one does not fit.
func TestJournal_NoRoomToRewrite(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(testenv.SmallDisk(t, "size=256k"), "queue")
	write(t, dir, 0, 3)
	j, _, err := open(t, dir, fast)
	if err != nil {
		t.Fatal(err)
	}
	if err := j.Append([]Command{{Args: []string{"SET", "big", string(make([]byte, 150<<10))}}}); err != nil {
		t.Fatal(err)
	}
	if err := running(t, j)(); err != nil {
		t.Fatal(err)
	}
	want := contents(t, dir)
	_, err = writeSnapshot(t.Context(), dir, 1, &recorder{begun: want})
	if !errors.Is(err, unix.ENOSPC) {
		t.Fatalf("got %v, want that there is no space", err)
	}
	mustEqual(t, contents(t, dir), want)
	if files, _ := filepath.Glob(filepath.Join(dir, "*snapshot*")); len(files) > 0 {
		t.Errorf("%v is left over", files)
	}
}
