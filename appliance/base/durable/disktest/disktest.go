// Package disktest has disks for tests that forget, at a power cut, whatever was not
// synced: file systems in files, whose journals commit nothing by themselves.
// A process that is killed leaves its writes to the kernel, which keeps them: only such
// a disk shows what a missing sync costs.
package disktest

import (
	"fmt"

	"github.com/crawlbox/crawlbox/appliance/base/testenv"

	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// Disk is an ext4 file system.
type Disk struct {
	Dir   string // where it is mounted
	t     *testing.T
	image string
}

// New makes an empty disk of so many MiB, which goes with the test. It needs root.
func New(t *testing.T, mib int64) *Disk {
	t.Helper()
	testenv.Root(t)
	if _, err := os.Stat("/dev/loop-control"); err != nil {
		testenv.SkipOrFail(t, fmt.Errorf("this machine has no loop devices, which the tests make disks of: %w", err))
	}
	d := &Disk{t: t, image: filepath.Join(t.TempDir(), "disk")}
	f, err := os.Create(d.image)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Truncate(mib << 20); err != nil {
		t.Fatal(err)
	}
	d.run("mkfs.ext4", "-q", "-F", d.image)
	d.mount()
	return d
}

// Cut returns another disk with what this one would have after a power cut now.
func (d *Disk) Cut() *Disk {
	d.t.Helper()
	after := &Disk{t: d.t, image: filepath.Join(d.t.TempDir(), "disk")}
	if err := copyFile(after.image, d.image); err != nil {
		d.t.Fatal(err)
	}
	after.mount()
	return after
}

// Sync writes down all that is on the disk, as the kernel does at any time it likes.
func (d *Disk) Sync() {
	d.t.Helper()
	f, err := os.Open(d.Dir)
	if err != nil {
		d.t.Fatal(err)
	}
	defer f.Close()
	if err := unix.Syncfs(int(f.Fd())); err != nil {
		d.t.Fatal(err)
	}
}

func (d *Disk) mount() {
	d.t.Helper()
	d.Dir = d.t.TempDir()
	d.run("mount", "-t", "ext4", "-o", "loop,commit=3600", d.image, d.Dir)
	d.t.Cleanup(func() { d.run("umount", "--lazy", d.Dir) })
}

func (d *Disk) run(argv ...string) {
	d.t.Helper()
	if out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput(); err != nil {
		d.t.Fatalf("%q: %v\n%s", argv, err, out)
	}
}

// copyFile copies what the disk itself has, not what waits to be written to it.
func copyFile(to, from string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.Create(to)
	if err != nil {
		return err
	}
	defer out.Close()
	_, err = io.Copy(out, in)
	return err
}
