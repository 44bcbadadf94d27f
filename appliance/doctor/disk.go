package doctor

import (
	"fmt"
	"slices"

	"github.com/docker/go-units"

	"github.com/crawlbox/crawlbox/appliance/base/disk"
)

const (
	// MinDisk is how many bytes must be free under the data directory before a machine
	// is made a node: keys and journals need little, and have to be written.
	MinDisk = 16 << 20
	// FullDisk is how many bytes are so few that nothing can be pulled or logged any longer.
	FullDisk = 200 * units.MB
	// LowDisk is the room that images of a few versions take.
	LowDisk = 5 * units.GB
	// lowInodes is the share of them that should be free.
	lowInodes = 0.02
)

// Disk checks that there is room under the data directory. Where the file system
// can't be asked, writing will tell.
func Disk(dir string) error {
	bytes, _, err := disk.Free(dir)
	if err != nil || bytes >= MinDisk {
		return nil
	}
	return full(dir, bytes)
}

func full(dir string, bytes int64) error {
	return fmt.Errorf("the disk is full: %s free under %s, crawlbox needs %s to start; free some, or choose another "+
		"directory with data_dir in the config",
		units.HumanSize(float64(bytes)), dir, units.HumanSize(MinDisk))
}

// Room looks at the disks below directories, the data directory first.
func (s System) Room(dirs ...string) (list []Finding) {
	var text string
	for i, dir := range slices.Compact(dirs) {
		bytes, inodes, err := s.Free(dir)
		switch {
		case err != nil:
			continue
		case i == 0 && bytes < MinDisk:
			list = append(list, Failed("disk", Bad, full(dir, bytes)))
		case bytes < LowDisk:
			list = append(list, wrong("disk", Warn,
				fmt.Sprintf("only %s are free under %s", units.HumanSize(float64(bytes)), dir),
				"free some; what Docker has and no container uses goes with", "docker system prune --all"))
		case inodes < lowInodes:
			list = append(list, wrong("disk", Warn,
				fmt.Sprintf("only %.1f %% of the inodes are free under %s: no new files before long", 100*inodes, dir),
				"remove many small files, or make the file system anew with more inodes"))
		}
		if text != "" {
			text += ", "
		}
		text += fmt.Sprintf("%s free under %s", units.HumanSize(float64(bytes)), dir)
	}
	return orGood(list, "disk", text)
}
