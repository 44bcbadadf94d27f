package doctor

import (
	"errors"
	"fmt"
	"strconv"
	"syscall"
)

const (
	// minFiles is the number that a node with hundreds of containers and connections needs.
	minFiles = 4096
	// minWatchers and minWatches are for a machine whose containers watch files too.
	minWatchers = 128
	minWatches  = 8192
)

// Limits looks at how many files may be open and watched.
func (s System) Limits() (list []Finding) {
	list = s.watchers()
	files, err := s.MaxFiles()
	if err == nil && files < minFiles {
		list = append(list, wrong("limits", Warn, fmt.Sprintf("at most %d files may be open here", files),
			"run crawlbox by its service, which has a limit of its own, or raise this shell's", "ulimit -n 65536"))
	}
	return orGood(list, "limits", fmt.Sprintf("%d open files, %s file watchers with %s watches", files,
		s.readTrimmed("proc/sys/fs/inotify/max_user_instances"), s.readTrimmed("proc/sys/fs/inotify/max_user_watches")))
}

func (s System) watchers() (list []Finding) {
	for _, limit := range []struct {
		name string
		min  int
		want int
		used bool // up
	}{
		{"max_user_instances", minWatchers, 1024, errors.Is(s.Watch(), syscall.EMFILE)},
		{"max_user_watches", minWatches, 524288, false},
	} {
		is, err := strconv.Atoi(s.readTrimmed("proc/sys/fs/inotify/" + limit.name))
		if err != nil || is >= limit.min && !limit.used {
			continue
		}
		text := fmt.Sprintf("fs.inotify.%s is only %d", limit.name, is)
		if limit.used {
			text = fmt.Sprintf("all %d file watchers of fs.inotify.%s are in use: changes of the config file are "+
				"not seen", is, limit.name)
		}
		list = append(list, wrong("limits", Warn, text, "raise it, now and for later boots",
			fmt.Sprintf("sysctl -w fs.inotify.%s=%d", limit.name, limit.want),
			fmt.Sprintf("echo fs.inotify.%s=%d >>/etc/sysctl.d/60-crawlbox.conf", limit.name, limit.want)))
	}
	return list
}
