package queueproc

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// leastMemory is the queue's memory on the smallest machine.
const leastMemory = 64 << 20

// DefaultMemory returns a quarter of the machine's memory, or of what this process's
// control group may use.
func DefaultMemory() int64 {
	var info unix.Sysinfo_t
	if err := unix.Sysinfo(&info); err != nil {
		return leastMemory
	}
	total := int64(info.Totalram) * int64(info.Unit)
	text, _ := os.ReadFile("/proc/self/cgroup")
	return max(leastMemory, min(total, groupMemory("/sys/fs/cgroup", string(text), total))/4)
}

// groupMemory returns the smallest limit of the control groups in a list of /proc, and of
// those above them; at most total.
func groupMemory(root, list string, total int64) int64 {
	least := total
	for line := range strings.Lines(list) {
		_, rest, _ := strings.Cut(strings.TrimSpace(line), ":")
		controllers, path, _ := strings.Cut(rest, ":")
		dir, file := root, "memory.max"
		if controllers != "" {
			if controllers != "memory" {
				continue
			}
			dir, file = filepath.Join(root, "memory"), "memory.limit_in_bytes"
		}
		for path = filepath.Join("/", path); ; path = filepath.Dir(path) {
			if text, err := os.ReadFile(filepath.Join(dir, path, file)); err == nil {
				if n, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64); err == nil && n > 0 {
					least = min(least, n)
				}
			}
			if path == "/" {
				break
			}
		}
	}
	return least
}
