package sockowner

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// maxEntries bounds a directory in /proc whose process makes files as fast as they
// are listed: the kernel's default for fs.nr_open, the most that a process can
// have open.
const maxEntries = 1 << 20

var errGone = errors.New("the process does not exist")

func hasOpen(pid int, s socket) (bool, error) {
	open, err := opened(pid, []socket{s})
	return open[0], err
}

// opened says which of some sockets a process has open, by one look through its files.
func opened(pid int, wanted []socket) ([]bool, error) {
	open := make([]bool, len(wanted))
	dir, err := os.Open("/proc/" + strconv.Itoa(pid) + "/fd")
	if err != nil {
		return open, gone(err)
	}
	defer dir.Close()
	byTarget, longest, left := map[string][]int{}, 0, len(wanted)
	for i, s := range wanted {
		target := "socket:[" + strconv.FormatUint(uint64(s.inode), 10) + "]"
		byTarget[target] = append(byTarget[target], i)
		longest = max(longest, len(target))
	}
	target := make([]byte, longest+1) // one more, to tell a longer one
	err = eachName(dir, func(name string) bool {
		// A file that was closed meanwhile is not the one of a connection
		// that is open.
		n, err := unix.Readlinkat(int(dir.Fd()), name, target)
		if err != nil {
			return true
		}
		for _, i := range byTarget[string(target[:n])] {
			if !open[i] && confirmed(pid, name, wanted[i]) {
				open[i] = true
				left--
			}
		}
		return left > 0
	})
	if left == 0 {
		return open, nil
	}
	return open, gone(err)
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

// eachName calls fn for the entries of a directory until it returns false.
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

// begun says when a process began, which tells it from another that is given its
// number later; empty where there is none. It is field 22 of proc_pid_stat(5), of which
// the second, in parentheses, may have anything in it.
func begun(pid int) string {
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return ""
	}
	end := bytes.LastIndexByte(text, ')')
	if v := bytes.Fields(text[end+1:]); end >= 0 && len(v) > 19 {
		return string(v[19])
	}
	return ""
}
