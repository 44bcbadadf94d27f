package e2e

import (
	"strings"
	"testing"

	"github.com/crawlbox/crawlbox/appliance/lab"
	"github.com/crawlbox/crawlbox/appliance/lab/artifact"
)

// TestInstallDocker makes a node of a server that has no Docker, by the distribution's
// packages.
func TestInstallDocker(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.Install(artifact.Binary(t))
	h := l.AddHost(lab.Release("trixie"), lab.WithoutDocker())
	c := &cluster{T: t, lab: l, hosts: []*lab.Host{h}, manager: h, agents: map[*lab.Host]*lab.Proc{}}
	s := &servers{cluster: c}
	bare, options := s.files(h), h.ReadFile("/etc/default/docker")

	contains(t, c.fails(h, 1, "install", "manager"), "there is no Docker on this machine", "nothing was changed",
		"--install-docker")
	contains(t, h.MustExec("crawlbox", "install", "manager", "--install-docker", "--dry-run"),
		"Docker comes from Debian GNU/Linux 13 (trixie)", "install docker.io", "nothing was changed")
	if after := difference(s.files(h), bare); len(after) > 0 {
		t.Errorf("what changes nothing has left %q", after)
	}

	contains(t, h.MustExec("crawlbox", "install", "manager", "--install-docker"), "Docker is installed and answers",
		"manager is ready")
	if now := h.ReadFile("/etc/default/docker"); now != options {
		t.Errorf("Docker's options were %q and are %q", options, now)
	}
	t.Logf("Docker %s", h.Docker("version", "--format", "{{.Server.Version}}"))
	c.push("localhost:8003/spider:0.01")
	h.Docker("service", "create", "--detach", "--name", "spider", "--network", "host", "localhost:8003/spider:0.01")
	c.awaitRunning("spider", 1)

	again := h.MustExec("crawlbox", "install", "manager", "--install-docker")
	if contains(t, again, "nothing has to be changed"); strings.Contains(again, "apt-get") {
		t.Errorf("a Docker that works was installed again: %s", again)
	}
	contains(t, h.MustExec("crawlbox", "uninstall", "--purge", "--yes"), "Docker stays")
	h.MustExec("systemctl", "is-active", "docker")
}
