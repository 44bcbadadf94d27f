package install

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/crawlbox/crawlbox/systemd"
)

// Program is where crawlbox is installed, and OldProgram where an upgrade keeps the
// version before.
const (
	Program    = "/usr/local/bin/crawlbox"
	OldProgram = Program + ".old"
)

// Wanted describes what should be on a machine.
type Wanted struct {
	Unit systemd.Unit
	// Self is the program that is copied to Unit.Program.
	Self string
	// Config is written to ConfigPath where there is no file.
	Config, ConfigPath string
	// User is a system user without rights that is made where there is none; empty: the
	// node needs none.
	User string
	// Join is a secret, written to JoinPath for the service, which deletes it. Empty:
	// the node needs none.
	Join, JoinPath string
}

// Install plans what brings the machine to what is wanted. Nothing that is right
// already is in the plan, and the service is restarted only for what it would not
// take up otherwise.
func (m *Machine) Install(ctx context.Context, w Wanted) (p Plan, err error) {
	unit, err := m.read(unitPath(systemd.Service))
	if err != nil {
		return p, err
	}
	if role := systemd.Role(unit); systemd.IsOurs(unit) && role != w.Unit.Role {
		return p, fmt.Errorf("this machine is installed as a %s; take that away first with `crawlbox uninstall`", role)
	}
	restart := w.Join != ""
	p.add(m.leftovers(w.Unit.Program)...)
	if !sameFile(w.Self, m.path(w.Unit.Program)) {
		p.add(Copy{w.Self, w.Unit.Program})
		restart = true
	}
	if !m.exists(w.ConfigPath) {
		p.add(Write{w.ConfigPath, w.Config, 0o640})
	}
	if err := m.makeUser(&p, w.User); err != nil {
		return p, err
	}
	for _, directory := range w.Unit.Directories {
		if systemd.NeedsDirectory(directory) && !m.exists(directory) {
			p.add(Directory{directory})
		}
	}
	if w.Join != "" {
		p.add(Directory{filepath.Dir(w.JoinPath)}, Write{w.JoinPath, w.Join + "\n", 0o600})
	}
	changed, err := m.units(&p, w.Unit)
	if err != nil {
		return p, err
	}
	m.start(ctx, &p, restart || changed || m.stale(ctx))
	return p, nil
}

// units plans the unit files, and reports whether that of the service changes.
func (m *Machine) units(p *Plan, u systemd.Unit) (changed bool, err error) {
	reload := false
	for _, f := range u.Files() {
		path := unitPath(f.Name)
		is, err := m.read(path)
		switch {
		case err != nil:
			return false, err
		case is == f.Text:
			continue
		case is != "" && !systemd.IsOurs(is):
			p.notef("%s was edited by hand and stays as it is; move it away and install again to have it written "+
				"anew, and put what is yours into a drop-in with `systemctl edit %s`", path, f.Name)
			for _, line := range systemd.Differences(is, f.Text) {
				p.notef("  it would have been: %s", line)
			}
			continue
		case is != "":
			p.notef("%s changes:", path)
			for _, line := range systemd.Differences(is, f.Text) {
				p.notef("  %s", line)
			}
		}
		p.add(Write{path, f.Text, 0o644})
		reload = true
		changed = changed || f.Name == systemd.Service
	}
	if reload {
		p.add(Run{"systemctl", "daemon-reload"})
	}
	return changed, nil
}

// start plans that the service runs, as it is now if it has to be restarted, and at
// each boot. systemctl does not wait: how the start goes is looked at by Await.
func (m *Machine) start(ctx context.Context, p *Plan, restart bool) {
	for _, unit := range []string{systemd.Service, systemd.Target, systemd.Upgrade} {
		if is, _ := m.systemctl(ctx, "is-enabled", unit); is != "enabled" {
			p.add(Run{"systemctl", "enable", systemd.Service})
			break
		}
	}
	is, _ := m.systemctl(ctx, "is-active", systemd.Service)
	switch {
	case is != "active" && is != "activating":
		p.add(Run{"systemctl", "start", "--no-block", systemd.Service})
	case restart:
		p.add(Run{"systemctl", "restart", "--no-block", systemd.Service})
	}
}

// stale reports whether the service runs a program that was replaced since.
func (m *Machine) stale(ctx context.Context) bool {
	running, err := m.Running(ctx)
	if err != nil {
		return false
	}
	program, err := os.Readlink(running)
	return err == nil && strings.HasSuffix(program, " (deleted)")
}

func unitPath(name string) string { return filepath.Join(systemd.Dir, name) }

// sameFile reports whether both are there with the same content.
func sameFile(a, b string) bool {
	infoA, errA := os.Stat(a)
	infoB, errB := os.Stat(b)
	if errA != nil || errB != nil || infoB.Mode().Perm()&0o111 == 0 {
		return false
	}
	if os.SameFile(infoA, infoB) {
		return true
	}
	textA, errA := os.ReadFile(a)
	textB, errB := os.ReadFile(b)
	return errA == nil && errB == nil && bytes.Equal(textA, textB)
}
