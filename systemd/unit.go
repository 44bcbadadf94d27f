package systemd

import (
	"embed"
	"fmt"
	"path/filepath"
	"strings"
	"text/template"
)

// Names of the units, and the directory of those that an administrator installs.
const (
	Service = "crawlbox.service"
	Slice   = "crawlbox.slice"
	Target  = "crawlbox.target"
	Upgrade = "crawlbox-upgrade.service"
	Dir     = "/etc/systemd/system"
)

// Exit codes of a node that must not be started again.
const (
	ExitLeft  = 3 // it has left its cluster
	ExitFinal = 4 // it fails again until a person does something
)

//go:embed crawlbox.service crawlbox.slice crawlbox.target crawlbox-upgrade.service hardening
var templates embed.FS

// Unit holds what the units of a node depend on.
type Unit struct {
	Role    string   // manager or worker, as the command is called
	Program string   // absolute path of crawlbox
	Args    []string // after the role
	// Directories are where the node writes, absolute. Those in places that are else
	// closed to it are opened.
	Directories []string
	// Keeper is the command that upgrades the node; its program, an absolute path, is
	// there only while it has to.
	Keeper []string
}

// File is a unit file as it should be.
type File struct{ Name, Text string }

// Files renders the units, the service first.
func (u Unit) Files() []File {
	data := struct {
		Seal, Role, ExecStart string
		Keeper, KeeperPath    string
		ProgramDir            string
		Left, Final           int
		PrivateTmp            bool
		Writable              []string
	}{
		Seal:       sealPlace,
		Role:       u.Role,
		Left:       ExitLeft,
		Final:      ExitFinal,
		ExecStart:  Quote(append([]string{u.Program, u.Role}, u.Args...)...),
		PrivateTmp: !anyBelow(u.Directories, temporary),
		Keeper:     Quote(u.Keeper...),
		KeeperPath: strings.ReplaceAll(u.Keeper[0], "%", "%%"),
		ProgramDir: Quote(filepath.Dir(u.Program)),
	}
	for _, directory := range u.Directories {
		if anyBelow([]string{directory}, closed) {
			data.Writable = append(data.Writable, Quote(directory))
		}
	}
	files := make([]File, 0, 4)
	for _, name := range []string{Service, Slice, Target, Upgrade} {
		var text strings.Builder
		t := template.Must(template.ParseFS(templates, name, "hardening"))
		if err := t.Execute(&text, data); err != nil {
			panic(fmt.Sprintf("render %s: %v", name, err)) // of what is embedded: no input can do that
		}
		files = append(files, File{name, seal(text.String())})
	}
	return files
}

// NeedsDirectory reports whether a directory must be there before the service starts: it is
// opened in a place that is else closed.
func NeedsDirectory(directory string) bool { return anyBelow([]string{directory}, closed) }

var (
	// closed are read-only by ProtectSystem=full and ProtectHome=read-only.
	closed = []string{"/usr", "/boot", "/efi", "/etc", "/home", "/root", "/run/user"}
	// temporary are others for a service with PrivateTmp.
	temporary = []string{"/tmp", "/var/tmp"}
)

func anyBelow(paths, parents []string) bool {
	for _, path := range paths {
		for _, parent := range parents {
			if rel, err := filepath.Rel(parent, path); err == nil && rel != ".." && !strings.HasPrefix(rel, "../") {
				return true
			}
		}
	}
	return false
}
