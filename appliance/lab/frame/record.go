package frame

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// recordPID notes the process that a frame hangs on, for sweep. The start time
// tells it from a later process with the same number.
func recordPID(dir string, pid int) error {
	start, err := startTime(pid)
	if err != nil {
		return fmt.Errorf("record process: %w", err)
	}
	return os.WriteFile(filepath.Join(dir, "pid"), fmt.Appendf(nil, "%d %s\n", pid, start), 0o644)
}

func killRecorded(path string) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	var pid int
	var start string
	if _, err := fmt.Sscan(string(text), &pid, &start); err != nil {
		return nil // the owner died while it wrote this; its frame has ended by itself
	}
	return Poll(30*time.Second, func() error {
		if now, err := startTime(pid); err != nil || now != start {
			return nil
		}
		_ = unix.Kill(pid, unix.SIGKILL)
		return fmt.Errorf("process %d does not end", pid)
	})
}

// startTime returns when process pid started, in the kernel's ticks. A process
// that is only waiting to be reaped counts as gone.
func startTime(pid int) (string, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return "", err
	}
	// The name, in brackets, may hold anything; state is field 3, the start 22.
	fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
	if len(fields) < 20 || fields[0] == "Z" {
		return "", fmt.Errorf("process %d has ended", pid)
	}
	return fields[19], nil
}
