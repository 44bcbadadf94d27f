package frame

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// prefix starts the name of every lab's directory and cgroups. It is a name that others may
// give as well: what a lab made bears a mark.
const prefix = "crawlbox-lab-"

// mark begins the owner file of a lab, before the PID of its owner, which is for people.
const mark = "made by crawlbox's lab, process "

func sweepLock() string { return filepath.Join(os.TempDir(), "crawlbox-lab.lock") }

// NewDirectory makes and claims a directory, after a sweep. Until its owner file is
// closed, no other sweep touches it.
func NewDirectory(t TB) (dir string, owner *os.File, err error) {
	unlock, err := LockFile(sweepLock())
	if err != nil {
		return "", nil, err
	}
	defer unlock()
	if _, err := sweep(); err != nil {
		t.Logf("lab: sweep: %v", err) // another's leftovers do not stop this test
	}
	if dir, err = os.MkdirTemp(os.TempDir(), prefix+"*"); err != nil {
		return "", nil, fmt.Errorf("make lab directory: %w", err)
	}
	if owner, err = claim(dir, os.O_CREATE|os.O_EXCL); err == nil {
		_, err = fmt.Fprintf(owner, "%s%d\n", mark, os.Getpid())
	}
	return dir, owner, err
}

// Scratch returns a directory of the test's own that a sweep removes if the test is
// killed.
func Scratch(t TB) (string, error) {
	dir, owner, err := NewDirectory(t)
	if err != nil {
		return "", err
	}
	t.Cleanup(func() {
		os.RemoveAll(dir)
		owner.Close()
	})
	return dir, nil
}

// Sweep removes what labs have left whose owner is gone, and returns their
// directories. Labs that are in use are left alone, and what no lab of this user made.
func Sweep() ([]string, error) {
	unlock, err := LockFile(sweepLock())
	if err != nil {
		return nil, err
	}
	defer unlock()
	return sweep()
}

func sweep() (removed []string, err error) {
	dirs, err := filepath.Glob(filepath.Join(os.TempDir(), prefix+"*"))
	if err != nil {
		return nil, err
	}
	var failed error
	for _, dir := range dirs {
		if !isOurs(dir) {
			continue
		}
		owner, err := claim(dir, 0)
		if errors.Is(err, errInUse) || errors.Is(err, fs.ErrNotExist) {
			continue // the second: its owner has removed it just now
		}
		if err == nil {
			err = RemoveLab(dir)
			owner.Close()
		}
		if err != nil {
			failed = errors.Join(failed, fmt.Errorf("remove %s: %w", dir, err))
			continue
		}
		removed = append(removed, dir)
	}
	return removed, failed
}

var errInUse = errors.New("lab is in use")

// isOurs reports whether a lab of this user made a directory: it bears the mark, and nobody
// else can have put that there. What it records are processes to kill.
func isOurs(dir string) bool {
	for _, path := range []string{dir, ownerFile(dir)} {
		var is unix.Stat_t
		if unix.Lstat(path, &is) != nil || int(is.Uid) != os.Geteuid() || is.Mode&0o022 != 0 {
			return false
		}
	}
	text, err := os.ReadFile(ownerFile(dir))
	return err == nil && strings.HasPrefix(string(text), mark)
}

func ownerFile(dir string) string { return filepath.Join(dir, "owner") }

// claim makes this process the owner of a lab, until it closes the file or ends. A lock
// can't outlive its process as a noted PID can.
func claim(dir string, flags int) (*os.File, error) {
	file, err := os.OpenFile(ownerFile(dir), os.O_RDWR|flags, 0o644)
	if err != nil {
		return nil, fmt.Errorf("claim lab: %w", err)
	}
	if err := unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		file.Close()
		return nil, errInUse
	}
	return file, nil
}

// RemoveLab ends the frames that still run, then removes the cgroups and the
// directory. There is nothing to unmount: all mounts went with the frames.
func RemoveLab(dir string) error {
	records, err := filepath.Glob(filepath.Join(dir, "*", "pid"))
	if err != nil {
		return err
	}
	for _, record := range records {
		if err := killRecorded(record); err != nil {
			return err
		}
	}
	if err := removeCgroups(filepath.Base(dir)); err != nil {
		return err
	}
	return os.RemoveAll(dir)
}

// LockFile takes an exclusive lock and waits for it as long as another holds it.
func LockFile(path string) (unlock func(), err error) {
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, fmt.Errorf("open lock: %w", err)
	}
	for {
		err = unix.Flock(int(file.Fd()), unix.LOCK_EX)
		if !errors.Is(err, unix.EINTR) { // Go's own signals interrupt it
			break
		}
	}
	if err != nil {
		file.Close()
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	return func() { file.Close() }, nil
}
