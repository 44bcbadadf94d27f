// Package install puts crawlbox onto a machine with systemd, and takes it away.
//
// It looks at the machine, makes a [Plan] of what differs from what is wanted, and
// carries that out. A plan is a list of files and commands that prints itself, which
// is all that a dry run does. An install that was cut off is mended by another one:
// each step is whole or not there, and the plan is made anew.
//
// What a person has edited is kept: a unit that is not as crawlbox wrote it (see
// systemd.IsOurs), a config file that is there, a drop-in.
package install

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/crawlbox/crawlbox/appliance/base/durable"
)

// Machine is the machine that is acted on.
type Machine struct {
	// Root stands in front of all paths; empty but in tests.
	Root string
	// Command runs a program and returns what it printed. Its error says which
	// program failed, and why.
	Command func(ctx context.Context, argv ...string) (string, error)
	// Fetch gets a small file of the Internet; nil: there is none.
	Fetch func(ctx context.Context, url string) (string, error)
}

// LocalMachine returns the machine that the process runs on.
func LocalMachine() *Machine { return &Machine{Command: command, Fetch: fetch} }

// HasSystemd reports whether systemd manages the machine, see sd_booted(3).
func (m *Machine) HasSystemd() bool {
	info, err := os.Lstat(m.path("/run/systemd/system"))
	return err == nil && info.IsDir()
}

func (m *Machine) path(path string) string { return filepath.Join(m.Root, path) }

// read returns the text of a file, empty where there is none.
func (m *Machine) read(path string) (string, error) {
	text, err := os.ReadFile(m.path(path))
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	return string(text), err
}

func (m *Machine) exists(path string) bool {
	_, err := os.Lstat(m.path(path))
	return err == nil
}

// leftovers removes files that were to be at a path and were cut off while they were
// being written.
func (m *Machine) leftovers(path string) (steps []Step) {
	left, _ := durable.Leftovers(m.path(path))
	for _, l := range left {
		steps = append(steps, Remove{filepath.Join(filepath.Dir(path), filepath.Base(l))})
	}
	return steps
}

// systemctl runs it and returns what it printed, without the space around. Some of
// its questions are answered by an exit code too; for them the error is of no use. It is
// not go-systemd/dbus: what changes the machine is a command anyway, so that a plan prints
// itself, and three questions are not worth another way to systemd.
func (m *Machine) systemctl(ctx context.Context, args ...string) (string, error) {
	out, err := m.Command(ctx, append([]string{"systemctl"}, args...)...)
	return strings.TrimSpace(out), err
}

func command(ctx context.Context, argv ...string) (string, error) {
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	out, err := cmd.Output()
	if failed, ok := errors.AsType[*exec.ExitError](err); ok && len(failed.Stderr) > 0 {
		return string(out), fmt.Errorf("%s: %s", strings.Join(argv, " "), strings.TrimSpace(string(failed.Stderr)))
	}
	if err != nil {
		return string(out), fmt.Errorf("%s: %w", strings.Join(argv, " "), err)
	}
	return string(out), nil
}
