// Package sandbox takes from a process everything that it does not need to serve
// connections on a socket that it was given, out of one directory.
//
// Its parent starts it by [Isolation.Apply] in namespaces of its own, and it calls
// [Confine] before it reads the first byte of anybody:
//
//	parent   network and IPC namespaces that have nothing in them
//	limits   open files, writable memory, no core files, first choice of the kernel
//	         when the machine has no memory left
//	root     chroot into the directory: no other file has a name
//	user     a user without rights; with root's ID all capabilities go
//	seccomp  an allow-list of system calls: none that executes, opens a socket,
//	         traces, mounts, or makes a process or a namespace
//
// A kernel or a container may not allow a step, and the rights of the process may not
// be enough for it. The others are then taken all the same, and the missing one is
// returned, for people.
//
// A socket belongs to the network namespace that it was made in, for good: a listener
// that the process inherits goes on accepting connections of the machine's network,
// while the process itself has not even a loopback interface to dial from.
package sandbox

import (
	"errors"
	"fmt"
	"math"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// Names of the steps that can be missing.
const (
	StepNamespaces = "no namespaces of its own"
	StepLimits     = "no limits on memory, files and cores"
	StepRoot       = "sees the machine's files"
	StepUser       = "no user of its own"
	StepSeccomp    = "no filter of system calls"
)

// Missing is a step that was not possible.
type Missing struct {
	Step   string `json:"step"`
	Reason string `json:"reason"`
}

func (m Missing) String() string { return m.Step + " (" + m.Reason + ")" }

// Essential reports whether the process has more than its directory without the step.
func (m Missing) Essential() bool { return m.Step == StepRoot || m.Step == StepUser }

// Options say what is left to the process.
type Options struct {
	Dir      *os.File // the directory that becomes its root; it belongs to UID
	UID, GID int      // the user that it becomes; without effect where it is not root
	Files    uint64   // open files at a time
	Memory   uint64   // bytes of writable memory; 0: no limit
}

// oomScore makes the kernel choose this process before all others: what it has is on
// the disk, and it is started again.
const oomScore = "900"

// Confine takes the steps, of all threads of the process, and returns those that were
// not possible.
func Confine(o Options) (missing []Missing) {
	for _, s := range []struct {
		name string
		take func(Options) error
	}{{StepLimits, limit}, {StepRoot, enter}, {StepUser, become}, {StepSeccomp, filter}} {
		if err := s.take(o); err != nil {
			missing = append(missing, Missing{s.name, err.Error()})
		}
	}
	return missing
}

func limit(o Options) error {
	limits := map[int]uint64{unix.RLIMIT_CORE: 0, unix.RLIMIT_NOFILE: o.Files}
	if o.Memory > 0 {
		limits[unix.RLIMIT_DATA] = o.Memory
	}
	for resource, most := range limits {
		var is unix.Rlimit
		if err := unix.Getrlimit(resource, &is); err != nil {
			return fmt.Errorf("getrlimit: %w", err)
		}
		most = min(most, is.Max, math.MaxInt64)
		if err := unix.Setrlimit(resource, &unix.Rlimit{Cur: most, Max: most}); err != nil {
			return fmt.Errorf("setrlimit: %w", err)
		}
	}
	if err := os.WriteFile("/proc/self/oom_score_adj", []byte(oomScore), 0); err != nil {
		return fmt.Errorf("be the kernel's first choice: %w", err)
	}
	return nil
}

// enter makes the directory the process's root. All threads of a Go process share it.
func enter(o Options) error {
	if err := o.Dir.Chdir(); err != nil {
		return err
	}
	if err := unix.Chroot("."); err != nil {
		return fmt.Errorf("chroot: %w", err)
	}
	return os.Chdir("/")
}

// become changes the user of all threads. A process that gives up root's ID gives up
// all capabilities with it, see capabilities(7).
func become(o Options) error {
	if os.Geteuid() != 0 {
		return errors.New("crawlbox was not started by root")
	}
	if err := syscall.Setgroups(nil); err != nil {
		return fmt.Errorf("setgroups: %w", err)
	}
	if err := syscall.Setresgid(o.GID, o.GID, o.GID); err != nil {
		return fmt.Errorf("setresgid: %w", err)
	}
	if err := syscall.Setresuid(o.UID, o.UID, o.UID); err != nil {
		return fmt.Errorf("setresuid: %w", err)
	}
	return nil
}
