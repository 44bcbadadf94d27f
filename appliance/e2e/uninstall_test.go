package e2e

import (
	"fmt"
	"strings"

	"github.com/crawlbox/crawlbox/appliance/lab"
)

// uninstalled ends all servers while containers run on them.
func (s *servers) uninstalled(before map[*lab.Host][]string) {
	contains(s.T, s.fails(s.manager, 1, "uninstall", "--yes"), "--force")
	if now := s.show(s.manager, "ActiveState"); now != "active" {
		s.Errorf("an uninstall that was refused has left the service %s", now)
	}
	// One that has left by hand is not started again.
	s.worker.MustExec("crawlbox", "leave")
	lab.WaitFor(s, patience, "the service to end",
		func() error { return want(s.show(s.worker, "ActiveState"), "inactive") })
	s.gone(s.worker, before[s.worker], "crawlbox is uninstalled")
	s.gone(s.other, before[s.other], "this node has left the cluster")
	lab.WaitFor(s, patience, "the nodes to be off the list", func() error { return want(len(s.nodes()), 1) })

	contains(s.T, s.manager.MustExec("crawlbox", "uninstall", "--yes"), "this node has left the cluster",
		"/var/lib/crawlbox stays")
	s.manager.MustExec("test", "-d", "/var/lib/crawlbox/registry")
	s.gone(s.manager, before[s.manager], "remove /var/lib/crawlbox")
}

// gone uninstalls with all state and wants the server to be as it was.
func (s *servers) gone(h *lab.Host, before []string, says string) {
	s.Helper()
	h.Exec(s.Context(), "rm", "-rf", "/run/systemd/system/crawlbox.service.d")
	contains(s.T, h.MustExec("crawlbox", "uninstall", "--purge", "--yes"), says)
	if after := s.files(h); fmt.Sprint(after) != fmt.Sprint(before) {
		s.Errorf("%s differs from what it was by %q", h.Name(), difference(after, before))
	}
	if units := h.MustExec("systemctl", "list-units", "--all", "--plain", "--no-legend", "crawlbox*"); units != "" {
		s.Errorf("systemd on %s still has %s", h.Name(), units)
	}
	if left := h.Docker("ps", "-aq") + h.Docker("image", "ls", "-q") + h.Docker("network", "ls", "-q", "--filter",
		"name=docker_gwbridge"); left != "" {
		s.Errorf("Docker on %s still has %s", h.Name(), left)
	}
	h.MustExec("systemctl", "is-active", "docker")
}

// files are those of the server's own disk, without what Docker and systemd write
// while they run.
func (s *servers) files(h *lab.Host) []string {
	s.Helper()
	const script = `find / -xdev \( -path /tmp -o -path /var/tmp -o -path /var/log -o -path /var/lib/systemd -o -path /var/lib/docker -o -path /var/lib/containerd \) -prune -o -printf '%p %y %m %l\n' | sort`
	return strings.Split(h.MustExec("sh", "-c", script), "\n")
}

// difference are the lines that only one of the lists has.
func difference(a, b []string) (lines []string) {
	count := map[string]int{}
	for _, line := range a {
		count["+ "+line]++
	}
	for _, line := range b {
		if count["+ "+line] > 0 {
			count["+ "+line]--
			continue
		}
		lines = append(lines, "- "+line)
	}
	for line, n := range count {
		if n > 0 {
			lines = append(lines, line)
		}
	}
	return lines
}
