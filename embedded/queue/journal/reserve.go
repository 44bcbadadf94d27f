package journal

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/crawlbox/crawlbox/appliance/base/disk"
)

const (
	maxReserve = 64 << 20
	minReserve = 4 << 10
	// reserveShare is the part of the free disk that is reserved at most.
	reserveShare = 8
)

// reserve is room on the disk for what was accepted before the disk turned out to be full: a
// file that is given up for it. Without one nothing is accepted.
type reserve struct {
	path string
	size int64 // 0: there is none
}

func newReserve(dir string) *reserve { return &reserve{path: filepath.Join(dir, "reserve")} }

// keep makes the reserve, if there is none. The error is ENOSPC where there is no room for it.
func (r *reserve) keep() error {
	if r.size > 0 {
		return nil
	}
	free, _, err := disk.Free(filepath.Dir(r.path))
	if err != nil {
		return fmt.Errorf("look at the disk: %w", err)
	}
	size := min(maxReserve, free/reserveShare)
	if size < minReserve {
		return &os.PathError{Op: "reserve room", Path: r.path, Err: unix.ENOSPC}
	}
	file, err := os.OpenFile(r.path, os.O_CREATE|os.O_RDWR|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	err = unix.Fallocate(int(file.Fd()), 0, 0, size)
	if errors.Is(err, unix.EOPNOTSUPP) { // such as zfs, where nothing can be reserved
		err = nil
	}
	if err = errors.Join(err, file.Close()); err != nil {
		return errors.Join(&os.PathError{Op: "reserve room", Path: r.path, Err: err}, os.Remove(r.path))
	}
	r.size = size
	return nil
}

// release gives the room back, and reports whether there was any.
func (r *reserve) release() bool {
	had := r.size > 0
	r.size = 0
	return had && os.Remove(r.path) == nil
}
