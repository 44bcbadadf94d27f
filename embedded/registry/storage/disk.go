package storage

import (
	"errors"
	"fmt"

	storagedriver "github.com/distribution/distribution/v3/registry/storage/driver"
	"github.com/docker/go-units"
	"golang.org/x/sys/unix"

	"github.com/crawlbox/crawlbox/appliance/base/disk"
)

// Disk watches the free space of the disk beneath the registry.
type Disk struct {
	Dir     string
	MinFree int64
}

// Free returns the bytes that this process may still write.
func (d Disk) Free() (int64, error) {
	free, _, err := disk.Free(d.Dir)
	if err != nil {
		return 0, fmt.Errorf("look up free space under %s: %w", d.Dir, err)
	}
	return free, nil
}

// Check returns a *fullError unless size more bytes leave minFree bytes free.
// Where the free space cannot be looked up, the write itself has to tell.
func (d Disk) Check(size int64) error {
	free, err := d.Free()
	if err != nil || free-max(size, 0) >= d.MinFree {
		return nil
	}
	return &fullError{disk: d, free: free, size: max(size, 0)}
}

// Full describes the disk after a write failed for want of space.
func (d Disk) Full() error {
	free, _ := d.Free()
	return &fullError{disk: d, free: free}
}

// fullError says that an upload does not fit.
type fullError struct {
	disk Disk
	free int64
	size int64
}

func (e *fullError) Error() string {
	msg := fmt.Sprintf("registry disk is full: %s free under %s", units.HumanSize(float64(e.free)), e.disk.Dir)
	if e.size > 0 {
		msg += fmt.Sprintf(", the upload has %s", units.HumanSize(float64(e.size)))
	}
	if e.disk.MinFree > 0 {
		msg += fmt.Sprintf(", %s must stay free", units.HumanSize(float64(e.disk.MinFree)))
	}
	return msg + "; free space or run `crawlbox images gc`"
}

// isFull reports whether err comes from a full disk or a used-up quota.
func isFull(err error) bool {
	var wrapped storagedriver.Error // has no Unwrap
	if errors.As(err, &wrapped) {
		err = wrapped.Detail
	}
	var full *fullError
	return errors.As(err, &full) || errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT)
}
