package sockowner

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// maxEntries bounds a folder in /proc whose process makes files as fast as they
// are listed: the kernel's default for fs.nr_open, the most that a process can
// have open.
const maxEntries = 1 << 20

// errGone is returned where a process does not exist.
var errGone = errors.New("the process does not exist")

// hasOpen says whether a process has a socket open.
func hasOpen(pid int, s socket) (bool, error) {
	dir, err := os.Open("/proc/" + strconv.Itoa(pid) + "/fd")
	if err != nil {
		return false, gone(err)
	}
	defer dir.Close()
	want := "socket:[" + strconv.FormatUint(uint64(s.inode), 10) + "]"
	target := make([]byte, len(want)+1) // one more, to tell a longer one
	found := false
	err = eachName(dir, func(name string) bool {
		// A file that was closed meanwhile is not the one of a connection
		// that is open.
		n, err := unix.Readlinkat(int(dir.Fd()), name, target)
		found = err == nil && string(target[:n]) == want && confirmed(pid, name, s)
		return !found
	})
	if found {
		return true, nil
	}
	return false, gone(err)
}

// processes returns the processes of this PID namespace.
func processes() ([]int, error) {
	dir, err := os.Open("/proc")
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	var pids []int
	err = eachName(dir, func(name string) bool {
		if pid, err := strconv.Atoi(name); err == nil {
			pids = append(pids, pid)
		}
		return true
	})
	return pids, err
}

// eachName calls fn for the entries of a folder until it returns false.
func eachName(dir *os.File, fn func(name string) bool) error {
	for range maxEntries / 128 {
		names, err := dir.Readdirnames(128)
		for _, name := range names {
			if !fn(name) {
				return nil
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// gone gives the errors of a process that does not exist, or ends while it is
// looked at, one name.
func gone(err error) error {
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ESRCH) {
		return errGone
	}
	return err
}
