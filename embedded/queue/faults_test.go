package queue

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestServer_FullDisk(t *testing.T) {
	t.Parallel()
	ctx := within(t, 30*time.Second)
	disk := t.TempDir()
	if err := unix.Mount("tmpfs", disk, "tmpfs", 0, "size=512k"); err != nil {
		t.Fatalf("mount a small tmpfs: %v (run the tests as root)", err)
	}
	t.Cleanup(func() { unix.Unmount(disk, unix.MNT_DETACH) })
	dir := filepath.Join(disk, "queue")
	q := startQueue(t, testOptions(dir))
	c := q.client(t)
	ballast := filepath.Join(disk, "ballast")
	if err := os.WriteFile(ballast, make([]byte, 400<<10), 0o600); err != nil {
		t.Fatal(err)
	}
	sent := 0
	await(t, func() error {
		err := c.RPush(ctx, "jobs", strings.Repeat("x", 1000)).Err()
		if err == nil {
			sent++
			return errors.New("still takes writes")
		}
		if !strings.HasPrefix(err.Error(), "MISCONF") || !strings.Contains(err.Error(), "no space left") {
			t.Fatalf("got %v, want MISCONF and the reason", err)
		}
		return nil
	})
	if n := c.LLen(ctx, "jobs").Val(); n != int64(sent) {
		t.Errorf("reads: %d items, want %d", n, sent)
	}
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	await(t, func() error { return c.RPush(ctx, "jobs", "last").Err() })
	if err := q.stop(); err != nil {
		t.Fatal(err)
	}
	if n := startQueue(t, testOptions(dir)).client(t).LLen(ctx, "jobs").Val(); n != int64(sent)+1 {
		t.Errorf("after a restart: %d items, want %d", n, sent+1)
	}
}

// TestServer_RewriteUnderLoad rewrites again and again while clients write.
func TestServer_RewriteUnderLoad(t *testing.T) {
	t.Parallel()
	ctx := within(t, 60*time.Second)
	opts := testOptions(t.TempDir())
	opts.RewriteSize = 8 << 10
	q := startQueue(t, opts)
	const clients, each = 4, 2000
	var group sync.WaitGroup
	for n := range clients {
		c := q.client(t)
		group.Go(func() {
			for i := range each {
				if err := c.LPush(ctx, "jobs", fmt.Sprint(n, " ", i)).Err(); err != nil {
					t.Error(err)
					return
				}
				c.Incr(ctx, "count")
				if i%3 == 0 {
					c.LMove(ctx, "jobs", fmt.Sprint("done", n), "RIGHT", "LEFT")
				}
			}
		})
	}
	group.Wait()
	c := q.client(t)
	before := dumpAll(t, c, 1)
	if got := c.Get(ctx, "count").Val(); got != fmt.Sprint(clients*each) {
		t.Errorf("count is %s", got)
	}
	await(t, func() error {
		if snapshots, _ := filepath.Glob(filepath.Join(opts.Dir, "snapshot-*")); len(snapshots) == 0 {
			return errors.New("no rewrite happened")
		}
		return nil
	})
	if err := q.stop(); err != nil {
		t.Fatal(err)
	}
	mustEqualData(t, dumpAll(t, startQueue(t, opts).client(t), 1), before)
}
