package frame

import (
	"fmt"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// The namespaces of a process that matter here, as named in /proc/PID/ns.
var (
	Network    = []string{"net"}
	Files      = []string{"mnt"}
	Everything = []string{"net", "uts", "ipc", "pid", "mnt"}
)

// Inside runs f on a thread that has entered the given namespaces of process
// pid, and waits for it. f must not leave goroutines behind that count on them.
//
// The thread is thrown away afterwards instead of being brought back, so no
// mistake here can leave one of the test's threads on a host.
func Inside(pid int, spaces []string, f func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
		if unix.Gettid() == unix.Getpid() {
			// The main thread can't end, and /proc/self shows its namespaces.
			// It is kept busy here, so the other goroutine gets another.
			done <- Inside(pid, spaces, f)
			runtime.UnlockOSThread()
			return
		}
		if err := enter(pid, spaces); err != nil {
			done <- err
			return
		}
		done <- f()
	}()
	return <-done
}

func enter(pid int, spaces []string) error {
	// A thread that shares its root and directory with others can't change its
	// mount namespace.
	if err := unix.Unshare(unix.CLONE_FS); err != nil {
		return fmt.Errorf("unshare thread's file system state: %w", err)
	}
	handles := make([]*os.File, len(spaces))
	for i, space := range spaces { // all before the first change: /proc changes too
		handle, err := os.Open(fmt.Sprintf("/proc/%d/ns/%s", pid, space))
		if err != nil {
			return fmt.Errorf("host is down: %w", err)
		}
		defer handle.Close()
		handles[i] = handle
	}
	for i, handle := range handles {
		if err := unix.Setns(int(handle.Fd()), 0); err != nil {
			return fmt.Errorf("enter %s namespace of process %d: %w", spaces[i], pid, err)
		}
	}
	return nil
}
