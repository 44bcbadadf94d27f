// Package frame makes the frame of a host of the lab: a process in namespaces of its own,
// which ends with the test, what of it the machine remembers, and the sweep that
// removes what killed tests have left.
//
// It knows nothing of Docker and of networks, so that what must never outlive a test
// stands in one small place. See package lab for how a host is made.
package frame

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// Frame is a bash process in namespaces of its own that ends with this process. All that a
// host or the bridge consists of hangs on one.
type Frame struct {
	cmd   *exec.Cmd
	stdin io.Closer
}

// hold is the end of every frame's script: it says that the frame is ready and
// stays until the owner is gone. bash reaps the orphans meanwhile, as process 1
// must.
const hold = "\necho ready\nwhile read -r; do :; done\n"

// Start runs script with $1… = args in new namespaces and returns when it
// has come to its end. Files about the frame go to dir.
func Start(dir string, flags uintptr, script string, args ...string) (*Frame, error) {
	log, err := os.Create(filepath.Join(dir, "boot.log"))
	if err != nil {
		return nil, err
	}
	defer log.Close()

	cmd := exec.Command("bash", append([]string{"-ec", script + hold, "lab"}, args...)...)
	cmd.Stderr = log
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: flags, Setsid: true}
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("make namespaces: %w", err)
	}
	f := &Frame{cmd: cmd, stdin: stdin}
	if err := recordPID(dir, cmd.Process.Pid); err != nil {
		_ = f.Stop()
		return nil, err
	}
	if line, err := bufio.NewReader(stdout).ReadString('\n'); err != nil || line != "ready\n" {
		_ = f.Stop()
		return nil, fmt.Errorf("%s", LastLine(log.Name(), "the script ended early"))
	}
	return f, nil
}

// PID returns that of the process in the machine's namespace.
func (f *Frame) PID() int { return f.cmd.Process.Pid }

// Stop kills all processes of the frame and returns when they are gone. A frame
// that was never started needs no stop.
func (f *Frame) Stop() error {
	if f == nil {
		return nil
	}
	f.stdin.Close()
	if err := f.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	gone := make(chan struct{})
	go func() { _ = f.cmd.Wait(); close(gone) }()
	select {
	case <-gone:
		return nil
	case <-time.After(30 * time.Second):
		return fmt.Errorf("process %d and what runs below it did not end within 30 s of SIGKILL", f.PID())
	}
}

// LastLine returns the last line of a file, or otherwise where it has none.
func LastLine(path, otherwise string) string {
	text, _ := os.ReadFile(path)
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	if last := lines[len(lines)-1]; last != "" {
		return last
	}
	return otherwise
}
