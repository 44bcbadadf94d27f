package disk_test

import (
	"errors"
	"io/fs"
	"testing"

	"github.com/crawlbox/crawlbox/appliance/base/disk"
)

func TestFree(t *testing.T) {
	t.Parallel()
	if bytes, inodes, err := disk.Free(t.TempDir()); err != nil || bytes <= 0 || inodes <= 0 || inodes > 1 {
		t.Errorf("free are %d bytes, %v of the inodes: %v", bytes, inodes, err)
	}
	if bytes, _, err := disk.Free("/no/such/directory"); !errors.Is(err, fs.ErrNotExist) || bytes != 0 {
		t.Errorf("where nothing is: %d, %v", bytes, err)
	}
}
