package doctor

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/crawlbox/crawlbox/appliance/base/disk"
)

// System holds what the checks see of a machine.
type System struct {
	Files fs.FS // from its root: proc/version
	// Run runs a program and returns what it printed. Its error wraps exec.ErrNotFound
	// where there is no such program.
	Run    func(ctx context.Context, argv ...string) (string, error)
	Lookup func(ctx context.Context, host string) ([]string, error) // addresses of a name
	// Watch makes a file watcher and takes it away.
	Watch func() error
	// MaxFiles is how many files this process may have open at most.
	MaxFiles func() (uint64, error)
	// Synchronized reports whether the kernel's clock is kept by another.
	Synchronized func() (bool, error)
	// Free is how many bytes, and which share of the inodes, are free below a directory.
	Free func(dir string) (bytes int64, inodes float64, err error)
}

// LocalSystem returns the machine that the process runs on.
func LocalSystem() System {
	return System{
		Files:        os.DirFS("/"),
		Run:          run,
		Lookup:       net.DefaultResolver.LookupHost,
		Watch:        watch,
		MaxFiles:     maxFiles,
		Synchronized: synchronized,
		Free:         disk.Free,
	}
}

func run(ctx context.Context, argv ...string) (string, error) {
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Env = append(os.Environ(), "LC_ALL=C", "PATH=/usr/local/sbin:/usr/sbin:/sbin:"+os.Getenv("PATH"))
	if _, err := exec.LookPath(argv[0]); err != nil {
		path, err := lookSbin(argv[0])
		if err != nil {
			return "", fmt.Errorf("%s: %w", argv[0], exec.ErrNotFound)
		}
		cmd.Path, cmd.Err = path, nil
	}
	out, err := cmd.Output()
	if failed, ok := errors.AsType[*exec.ExitError](err); ok {
		return string(out), fmt.Errorf("%s: %s", strings.Join(argv, " "), strings.TrimSpace(string(failed.Stderr)))
	}
	return string(out), err
}

// lookSbin finds what lies where the PATH of a user may not lead.
func lookSbin(program string) (string, error) {
	for _, dir := range []string{"/usr/local/sbin", "/usr/sbin", "/sbin"} {
		if path, err := exec.LookPath(dir + "/" + program); err == nil {
			return path, nil
		}
	}
	return "", exec.ErrNotFound
}

func watch() error {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC)
	if err != nil {
		return err
	}
	return unix.Close(fd)
}

func maxFiles() (uint64, error) {
	var limit unix.Rlimit
	err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit)
	return limit.Max, err
}

func synchronized() (bool, error) {
	state, err := unix.Adjtimex(&unix.Timex{})
	return state != unix.TIME_ERROR, err
}

// readTrimmed returns the text of a small file without the space around it, empty where it
// cannot be read.
func (s System) readTrimmed(path string) string {
	text, err := fs.ReadFile(s.Files, path)
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(text))
}
