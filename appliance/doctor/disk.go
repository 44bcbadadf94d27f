package doctor

import (
	"fmt"

	"github.com/docker/go-units"
	"golang.org/x/sys/unix"
)

// MinDisk is how many bytes must be free under the data folder before a machine
// is made a node: keys and journals need little, and have to be written.
const MinDisk = 16 << 20

// Disk checks that there is room under the data folder. Where the file system
// can't be asked, writing will tell.
func Disk(dir string) error {
	var fs unix.Statfs_t
	if err := unix.Statfs(dir, &fs); err != nil {
		return nil
	}
	free := int64(fs.Bavail) * fs.Bsize
	if free >= MinDisk {
		return nil
	}
	return fmt.Errorf("the disk is full: %s free under %s, crawlbox needs %s to start; free some, or choose another folder with data_dir in the config",
		units.HumanSize(float64(free)), dir, units.HumanSize(MinDisk))
}
