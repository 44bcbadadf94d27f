package setup

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/crawlbox/crawlbox/appliance/base/testenv"
	"github.com/crawlbox/crawlbox/appliance/cluster/pki"
	"github.com/crawlbox/crawlbox/appliance/cluster/state"
	"github.com/crawlbox/crawlbox/configs"
)

// TestEnd_Unclean has something be in the way of the clean-up after Docker has left its swarm.
func TestEnd_Unclean(t *testing.T) {
	t.Parallel()
	testenv.Root(t)
	dir := t.TempDir()
	m := &Machine{Config: configs.Config{DataDir: dir}, Log: slog.New(slog.DiscardHandler)}
	r := &Record{Cluster: "c1", Addr: ownIP, path: m.path(RecordFile)}
	store, err := state.Open(state.Dir(dir), state.Options{Files: state.Files(dir)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	if _, err := store.Commit(t.Context(), "", state.Contents{state.CA: []byte("1")}, "test"); err != nil {
		t.Fatal(err)
	}
	busy := filepath.Join(dir, "ca", "busy")
	err = errors.Join(r.save(), os.Mkdir(busy, 0o700), unix.Mount("tmpfs", busy, "tmpfs", 0, "size=64k"))
	if err != nil {
		t.Fatal(err)
	}
	unmount := func() error { return unix.Unmount(busy, unix.MNT_DETACH) }
	t.Cleanup(func() { _ = unmount() })
	err = unclean(m.clean(r))
	if !errors.Is(err, ErrUnclean) || !strings.Contains(err.Error(), busy) || strings.Contains(err.Error(), "\n") {
		t.Errorf("got %v", err)
	}
	if StateOf(m.Config) != Created {
		t.Error("it cannot be run again")
	}
	if err := errors.Join(unmount(), m.clean(r)); err != nil {
		t.Error(err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 1 || left[0].Name() != leftFile {
		t.Errorf("left are %v, %v", left, err)
	}
}

// TestJoinedAs_Damaged names the way out, which needs no backup.
func TestJoinedAs_Damaged(t *testing.T) {
	t.Parallel()
	cfg := configs.Config{DataDir: t.TempDir()}
	if _, err := JoinedAs(cfg); !errors.Is(err, pki.ErrNotJoined) {
		t.Errorf("of no node: %v", err)
	}
	path := filepath.Join(NodeDir(cfg), pki.IdentityFile)
	err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, []byte("{bad"), 0o600))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := JoinedAs(cfg); err == nil || !strings.Contains(err.Error(), "crawlbox leave --force") {
		t.Errorf("a damaged identity: %v", err)
	}
}
