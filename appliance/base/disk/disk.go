// Package disk tells how much room there is. A caller that is to write much asks here first: a disk that
// is full harms more than what was to be written.
package disk

import (
	"errors"

	"golang.org/x/sys/unix"
)

// Free returns the bytes that a process without privileges may still write below dir, and
// the share of the file system's inodes that is free: 1 where it makes them as they are
// needed.
func Free(dir string) (bytes int64, inodes float64, err error) {
	var s unix.Statfs_t
	if err := unix.Statfs(dir, &s); err != nil {
		return 0, 0, err
	}
	inodes = 1
	if s.Files > 0 {
		inodes = float64(s.Ffree) / float64(s.Files)
	}
	return int64(s.Bavail) * s.Bsize, inodes, nil
}

// Size returns the bytes of the file system below dir, 0 where that can't be told.
func Size(dir string) int64 {
	var s unix.Statfs_t
	if err := unix.Statfs(dir, &s); err != nil {
		return 0
	}
	return int64(s.Blocks) * s.Bsize
}

// FreeBytes returns the bytes that a process without privileges may still write below
// dir, 0 where that can't be told.
func FreeBytes(dir string) int64 {
	free, _, _ := Free(dir)
	return free
}

// IsFull reports whether err comes from a full disk or a used-up quota.
func IsFull(err error) bool { return errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) }
