package storage

import (
	"errors"
	"fmt"

	storagedriver "github.com/distribution/distribution/v3/registry/storage/driver"
	"github.com/docker/go-units"

	"github.com/crawlbox/crawlbox/appliance/base/disk"
)

// Disk watches the free space of the disk beneath the registry.
type Disk struct {
	Dir     string
	MinFree int64
}

// Check returns a *fullError unless size more bytes leave minFree bytes free.
// Where the free space cannot be looked up, the write itself has to tell.
func (d Disk) Check(size int64) error {
	free, _, err := disk.Free(d.Dir)
	if err != nil || free-max(size, 0) >= d.MinFree {
		return nil
	}
	return &fullError{disk: d, free: free, size: max(size, 0)}
}

// Full describes the disk after a write failed for want of space.
func (d Disk) Full() error {
	return &fullError{disk: d, free: disk.FreeBytes(d.Dir)}
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
	if wrapped, ok := errors.AsType[storagedriver.Error](err); ok { // has no Unwrap
		err = wrapped.Detail
	}
	return errors.As(err, new(*fullError)) || disk.IsFull(err)
}
