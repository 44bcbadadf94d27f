package install

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/crawlbox/crawlbox/appliance/base/durable"
	"github.com/crawlbox/crawlbox/systemd"
)

// Step is one change of a machine. A dry run prints its text.
type Step interface {
	fmt.Stringer
	do(ctx context.Context, m *Machine) error
}

// Write puts a file in its place as a whole.
type Write struct {
	Path, Text string
	Mode       fs.FileMode
}

func (s Write) String() string { return fmt.Sprintf("write %s, mode %04o", s.Path, s.Mode) }

func (s Write) do(_ context.Context, m *Machine) error {
	path := m.path(s.Path)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return durable.WriteFile(path, []byte(s.Text), s.Mode)
}

// Copy puts a program in its place as a whole, also while the old one runs.
type Copy struct{ From, To string }

func (s Copy) String() string { return fmt.Sprintf("copy %s to %s, mode 0755", s.From, s.To) }

func (s Copy) do(_ context.Context, m *Machine) error {
	to := m.path(s.To)
	program, err := os.ReadFile(s.From)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return readOnly(err, s.To)
	}
	return readOnly(durable.WriteFile(to, program, 0o755), s.To)
}

// readOnly says what to do about a file system that cannot be written.
func readOnly(err error, path string) error {
	if errors.Is(err, syscall.EROFS) {
		return fmt.Errorf("%s lies on a file system that is read-only; make it writable meanwhile (`mount -o "+
			"remount,rw /usr`), or let a unit of your own run `crawlbox manager` or `crawlbox worker` from elsewhere",
			path)
	}
	return err
}

// Directory makes a directory that only root can look into.
type Directory struct{ Path string }

func (s Directory) String() string { return fmt.Sprintf("make %s, mode 0700", s.Path) }

func (s Directory) do(_ context.Context, m *Machine) error { return os.MkdirAll(m.path(s.Path), 0o700) }

// Remove removes a file or, if it is a directory, all that is in it.
type Remove struct{ Path string }

func (s Remove) String() string { return "remove " + s.Path }

func (s Remove) do(_ context.Context, m *Machine) error { return os.RemoveAll(m.path(s.Path)) }

// Empty removes all that is in a directory except for what is mounted there: a mount stays, empty.
type Empty struct{ Path string }

func (s Empty) String() string { return "empty " + s.Path }

func (s Empty) do(_ context.Context, m *Machine) error {
	mounts, err := m.mounts(s.Path)
	if err != nil {
		return err
	}
	return m.empty(s.Path, mounts)
}

func (m *Machine) empty(directory string, mounts []string) error {
	list, err := os.ReadDir(m.path(directory))
	for _, entry := range list {
		path := filepath.Join(directory, entry.Name())
		within := func(mount string) bool { return mount == path || strings.HasPrefix(mount, path+"/") }
		if slices.ContainsFunc(mounts, within) {
			err = errors.Join(err, m.empty(path, mounts))
		} else {
			err = errors.Join(err, os.RemoveAll(m.path(path)))
		}
	}
	return err
}

// mounts returns the mount points at and below a directory.
func (m *Machine) mounts(directory string) (list []string, err error) {
	text, err := m.read("/proc/self/mountinfo")
	directory = filepath.Clean(directory)
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		if len(fields) < 5 { // see proc_pid_mountinfo(5)
			continue
		}
		path := strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace(fields[4])
		if path == directory || strings.HasPrefix(path, directory+"/") {
			list = append(list, path)
		}
	}
	return list, err
}

// RemoveEmpty removes a directory if nothing is in it.
type RemoveEmpty struct{ Path string }

func (s RemoveEmpty) String() string { return fmt.Sprintf("remove %s if it is empty", s.Path) }

func (s RemoveEmpty) do(_ context.Context, m *Machine) error {
	err := os.Remove(m.path(s.Path))
	if errors.Is(err, syscall.ENOTEMPTY) || errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// Run runs a command.
type Run []string

func (s Run) String() string { return strings.Join(s, " ") }

func (s Run) do(ctx context.Context, m *Machine) error {
	_, err := m.Command(ctx, s...)
	return err
}

// Try runs a command whose failure says only that there was nothing to do.
type Try []string

func (s Try) String() string { return strings.Join(s, " ") }

func (s Try) do(ctx context.Context, m *Machine) error {
	_, _ = m.Command(ctx, s...)
	return nil
}

// Plan holds what has to be done, and what a person should know of it.
type Plan struct {
	Steps []Step
	Notes []string
}

func (p *Plan) add(steps ...Step) { p.Steps = append(p.Steps, steps...) }

func (p *Plan) notef(format string, args ...any) {
	p.Notes = append(p.Notes, fmt.Sprintf(format, args...))
}

// Do carries the plan out up to the first error. It says each step before it is
// taken. When it returns, a power cut undoes nothing of it.
func (m *Machine) Do(ctx context.Context, p Plan, say func(Step)) error {
	defer m.syncDirs(p)
	for _, step := range p.Steps {
		if err := m.take(ctx, step, say); err != nil {
			return err
		}
	}
	return nil
}

// DoAll carries the plan out to its end, as Do does, and returns what failed of it.
func (m *Machine) DoAll(ctx context.Context, p Plan, say func(Step)) (failed []error) {
	defer m.syncDirs(p)
	for _, step := range p.Steps {
		if err := m.take(ctx, step, say); err != nil {
			failed = append(failed, err)
		}
	}
	return failed
}

func (m *Machine) take(ctx context.Context, step Step, say func(Step)) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	say(step)
	err := step.do(ctx, m)
	if _, command := step.(Run); err != nil && !command { // a command's error names it
		err = fmt.Errorf("%s: %w", step, err)
	}
	return err
}

// syncDirs makes durable which names the steps have removed, and which systemctl has
// linked.
func (m *Machine) syncDirs(p Plan) {
	directories := map[string]bool{}
	for _, step := range p.Steps {
		switch s := step.(type) {
		case Remove:
			directories[filepath.Dir(s.Path)] = true
		case Run:
			if s[0] == "systemctl" {
				directories[systemd.Dir] = true
				directories[filepath.Join(systemd.Dir, "multi-user.target.wants")] = true
				directories[unitPath(systemd.Target)+".wants"] = true
			}
		}
	}
	for directory := range directories {
		_ = durable.SyncDir(m.path(directory)) // it is on the disk a few seconds later anyway
	}
}
