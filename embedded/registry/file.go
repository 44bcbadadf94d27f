package registry

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// ErrInUse is returned by Open when another process has the directory open.
var ErrInUse = errors.New("registry directory is in use by another crawlbox")

// lockDir takes the directory for this process. The kernel drops the lock when the
// process ends, however it ends.
func lockDir(dir string) (unlock func() error, err error) {
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock registry directory: %w", err)
	}
	err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		f.Close()
		return nil, fmt.Errorf("%w: %s; stop that one or set another directory", ErrInUse, dir)
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("lock registry directory: %w", err)
	}
	return f.Close, nil
}
