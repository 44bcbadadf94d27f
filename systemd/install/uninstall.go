package install

import (
	"context"
	"path/filepath"
	"slices"
	"strings"

	"github.com/crawlbox/crawlbox/systemd"
)

// dockerConfig is where Docker looks for the CAs of registries. Some of its packages
// bring the directory, and some of its versions make it; where neither does, the unit has.
const dockerConfig = "/etc/docker"

// Unwanted describes what should be taken from a machine.
type Unwanted struct {
	// Config is the text of a config file that nobody has edited: it goes, another one
	// at ConfigPath stays unless Purge is set.
	Config, ConfigPath string
	// JoinPath may have a join token that was not used.
	JoinPath string
	// State lists the directories that Purge removes.
	State []string
	// User is the system user that Purge removes.
	User  string
	Purge bool
}

// Installed returns the unit file of the service; empty if there is none.
func (m *Machine) Installed() (unit string, err error) { return m.read(unitPath(systemd.Service)) }

// Stop stops the service, if this machine has it, and returns when it has ended. What
// upgrades it would start it again, and is stopped first.
func (m *Machine) Stop(ctx context.Context) error {
	if !m.HasSystemd() {
		return nil
	}
	for _, unit := range []string{systemd.Upgrade, systemd.Service} {
		if !m.exists(unitPath(unit)) {
			continue
		}
		if _, err := m.systemctl(ctx, "stop", unit); err != nil {
			return err
		}
	}
	return nil
}

// Uninstall plans what takes crawlbox from a machine whose node has left its cluster,
// and which may be installed in part.
func (m *Machine) Uninstall(ctx context.Context, u Unwanted) (p Plan, err error) {
	m.unitsAway(&p, u.Purge)
	if m.exists(dockerConfig) && !m.packaged(ctx, dockerConfig) {
		p.add(RemoveEmpty{dockerConfig})
	}
	config, err := m.read(u.ConfigPath)
	switch {
	case err != nil:
		return p, err
	case config == "":
	case config == u.Config || u.Purge:
		p.add(Remove{u.ConfigPath})
	default:
		p.notef("%s stays, it was edited; --purge removes it too", u.ConfigPath)
	}
	if dir := filepath.Dir(u.ConfigPath); m.exists(dir) {
		p.add(RemoveEmpty{dir})
	}
	if u.JoinPath != "" && m.exists(u.JoinPath) {
		p.add(Remove{u.JoinPath})
	}
	for _, directory := range u.State {
		mounts, err := m.mounts(directory)
		if err != nil {
			return p, err
		}
		switch {
		case !m.exists(directory):
		case u.Purge && shared(directory):
			p.notef("%s stays: others may have files there; remove those of crawlbox by hand", directory)
		case u.Purge && len(mounts) > 0:
			p.add(Empty{directory})
			p.notef("%s stays, empty: it is mounted; take it out of /etc/fstab, umount and rmdir it if it is of no "+
				"use any longer", strings.Join(slices.Compact(mounts), ", "))
		case u.Purge:
			p.add(Remove{directory})
		default:
			p.notef("%s stays; --purge removes it too", directory)
		}
	}
	if has, err := m.hasUser(u.User); err != nil {
		return p, err
	} else if has && u.Purge {
		p.add(Run{"userdel", u.User})
	}
	for _, program := range []string{OldProgram, Program} {
		p.add(m.leftovers(program)...)
		if m.exists(program) {
			p.add(Remove{program})
		}
	}
	return p, nil
}

// shared reports whether a directory is one of the system's own, such as /srv: whatever the
// config says, it is not removed.
func shared(directory string) bool {
	directory = filepath.Clean(directory)
	return strings.Count(directory, "/") < 2 ||
		slices.Contains([]string{"/var/lib", "/var/local", "/var/tmp", "/usr/local"}, directory)
}

// unitsAway plans the units' end. Drop-ins are a person's.
func (m *Machine) unitsAway(p *Plan, purge bool) {
	var files []Step
	for _, name := range []string{systemd.Service, systemd.Upgrade, systemd.Target, systemd.Slice} {
		path := unitPath(name)
		files = append(files, m.leftovers(path)...)
		if m.exists(path) {
			files = append(files, Remove{path})
		}
		switch dropins := path + ".d"; {
		case !m.exists(dropins):
		case purge:
			files = append(files, Remove{dropins})
		default:
			p.notef("%s stays; --purge removes it too", dropins)
		}
	}
	if !m.exists(unitPath(systemd.Service)) {
		p.add(files...)
		return
	}
	if m.HasSystemd() {
		p.add(Run{"systemctl", "disable", "--now", systemd.Upgrade, systemd.Service, systemd.Target})
	}
	p.add(files...)
	if m.HasSystemd() {
		// A slice runs on without its services, and a service that failed stays on the
		// list without its unit.
		p.add(Run{"systemctl", "daemon-reload"}, Try{"systemctl", "stop", systemd.Slice},
			Try{"systemctl", "reset-failed", systemd.Service, systemd.Upgrade})
	}
}

// packaged reports whether a file is a package's.
func (m *Machine) packaged(ctx context.Context, path string) bool {
	_, err := m.Command(ctx, "dpkg-query", "--search", path)
	return err == nil
}
