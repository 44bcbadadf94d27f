package install

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

const (
	dockerKey     = "/etc/apt/keyrings/docker.asc"
	dockerSources = "/etc/apt/sources.list.d/docker.list"
)

// lockWait is how many seconds apt waits for another apt, such as the one that brings
// a new server up to date at its first boot.
const lockWait = "300"

// DockerTarget describes a machine on which Docker may be installed.
type DockerTarget struct {
	ID       string // of the system, from os-release(5): debian, ubuntu
	Version  string // VERSION_ID: 12, 24.04
	Codename string // VERSION_CODENAME
	Name     string // PRETTY_NAME
	Arch     string // as dpkg has it
	// Docker is the trace of a Docker, such as /usr/bin/dockerd; empty: nothing.
	Docker string
	// Rivals are installed packages that Docker's own ones would push out.
	Rivals []string
	// Key is the key of Docker's own repository, empty where that can't be reached or
	// has nothing for this system.
	Key string
	// Listed says that apt knows Docker's own repository already.
	Listed bool
}

// releases lists the systems that Docker is installed on, the oldest and the newest.
var releases = map[string][2]float64{"debian": {11, 13}, "ubuntu": {20.04, 26.04}}

// PlanDocker plans the installation of Docker: from its own repository where that can
// be reached, else as the distribution has it. What there is of a Docker is never
// touched, and no daemon.json is written.
func PlanDocker(b DockerTarget) (p Plan, err error) {
	switch {
	case b.Docker != "":
		return p, fmt.Errorf("there is a Docker on this machine (%s), which does not answer; start it (systemctl "+
			"start docker), or see why not with `journalctl -u docker`", b.Docker)
	case slices.Contains(b.Rivals, "podman-docker"):
		return p, errors.New("podman-docker stands in for Docker on this machine; remove it with `apt-get remove " +
			"podman-docker`, or name an engine with --docker-host")
	case !b.known():
		return p, fmt.Errorf("--install-docker knows Debian 11 to 13 and Ubuntu 20.04 to 26.04, and this is %s; "+
			"install Docker 20.10 or newer by its own instructions, and run this again", b.name())
	}
	if why := b.distribution(); why != "" {
		p.notef("Docker comes from %s: %s", b.name(), why)
		p.add(apt("update"), apt("install", b.packages()...))
		return p, nil
	}
	p.notef("Docker comes from its own repository")
	if !b.Listed {
		p.add(Write{dockerKey, b.Key, 0o644}, Write{dockerSources, b.source(), 0o644})
	}
	p.add(apt("update"), apt("install", "docker-ce", "docker-ce-cli", "containerd.io", "docker-buildx-plugin"))
	return p, nil
}

// distribution says why Docker is to come from the distribution; empty: it is not.
func (b DockerTarget) distribution() string {
	switch {
	case len(b.Rivals) > 0:
		return fmt.Sprintf("the packages of Docker's own repository would push out %s, which is installed",
			strings.Join(b.Rivals, " and "))
	case b.Key == "" && !b.Listed:
		return "Docker's own repository can't be reached, or has nothing for this system"
	}
	return ""
}

func (b DockerTarget) known() bool {
	version, err := strconv.ParseFloat(b.Version, 64)
	between, ok := releases[b.ID]
	return ok && err == nil && version >= between[0] && version < between[1]+0.005
}

func (b DockerTarget) name() string {
	if b.Name == "" {
		return "a system without /etc/os-release"
	}
	return b.Name
}

// source returns the line of sources.list(5).
func (b DockerTarget) source() string {
	return fmt.Sprintf("deb [arch=%s signed-by=%s] %s %s stable\n", b.Arch, dockerKey, repository(b.ID), b.Codename)
}

// packages returns those of the distribution. Where the docker command is a package of its
// own, docker.io only recommends it, and servers may be set to do without such.
func (b DockerTarget) packages() []string {
	list := []string{"docker.io", "ca-certificates"}
	if version, _ := strconv.ParseFloat(b.Version, 64); b.ID == "debian" && version >= 13 {
		list = append(list, "docker-cli")
	}
	return list
}

// apt returns a command of apt-get that asks nothing, waits for others, and keeps what the
// operator has written into config files.
func apt(verb string, packages ...string) Run {
	words := Run{"env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-q", "-y", "-o",
		"DPkg::Lock::Timeout=" + lockWait,
		"-o", "DPkg::Options::=--force-confold", verb}
	return append(words, packages...)
}
