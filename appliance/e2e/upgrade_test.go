package e2e

import (
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/crawlbox/crawlbox/appliance/failpoint"
	"github.com/crawlbox/crawlbox/appliance/fleet"
	"github.com/crawlbox/crawlbox/appliance/lab"
	"github.com/crawlbox/crawlbox/appliance/lab/artifact"
)

// newer is the version that is upgraded to.
const newer = "9.9.9"

// upgraded brings another version onto all servers, and fails to bring a third.
func (s *servers) upgraded() {
	was, begun := s.containers(), time.Now()
	next, broken := s.program(artifact.BinaryOfVersion(s, newer)), s.program(artifact.BrokenBinary(s))

	contains(s.T, s.fails(s.manager, 1, "upgrade", "--from", "/etc/hostname"), "/etc/hostname is not a crawlbox",
		"nothing was changed")
	contains(s.T, s.fails(s.manager, 1, "upgrade", "--from", next, "--sha256", strings.Repeat("0", 64)),
		"nothing was changed")
	contains(s.T, s.fails(s.worker, 1, "upgrade", "--from", next), "run the command there")
	contains(s.T, s.run("upgrade", "--from", next, "--dry-run"), "to "+newer, "nothing was changed")
	if now := s.versions(); strings.Contains(now, newer) {
		s.Fatalf("a dry run has brought %s", now)
	}

	contains(s.T, s.run("upgrade", "--from", next), s.worker.Name()+": runs "+newer, s.other.Name()+": runs "+newer,
		s.manager.Name()+": runs "+newer)
	s.awaitVersions(newer, newer, newer)
	contains(s.T, s.run("upgrade", "--from", next), "nothing has to be changed")
	s.takenBack(broken)
	s.awaitReady(3)
	s.oncePerPage(begun)
	s.awaitVersions(newer, newer, newer)
	if now := s.containers(); now != was {
		s.Errorf("the containers were %s and are %s", was, now)
	}
}

// takenBack upgrades to a program that does not come up, and kills what swaps the
// programs when it is about to start the one, and the other.
func (s *servers) takenBack(broken string) {
	s.Helper()
	s.killKeeperAt(failpoint.UpgradeSwapped)
	upgrade := s.manager.Start("upgrade", "crawlbox", "upgrade", "--from", broken)
	s.awaitKills(1)
	s.killKeeperAt(failpoint.UpgradeReturning)
	s.awaitKills(2) // the first may be of the point before
	s.worker.MustExec("rm", "-r", keeperDropins)
	s.worker.MustExec("systemctl", "daemon-reload")
	lab.WaitFor(s, patience, "the upgrade to end", func() error { return ended(upgrade) })
	contains(s.T, upgrade.Logs(), s.worker.Name()+": it runs "+newer+" again", "0.0.0-broken did not become ready",
		"left as they are")
	contains(s.T, s.worker.MustExec("/usr/local/bin/crawlbox", "version"), newer)
}

const (
	keeperUnit    = "crawlbox-upgrade.service"
	keeperDropins = "/etc/systemd/system/" + keeperUnit + ".d"
)

// keeperWith has the keeper of a server kill itself at a point.
func (s *servers) keeperWith(h *lab.Host, point failpoint.Point, service string) {
	s.Helper()
	h.WriteFile(keeperDropins+"/test.conf",
		fmt.Sprintf("[Service]\nEnvironment=%s=%s\n%s\n", failpoint.Env, point, service))
	h.MustExec("systemctl", "daemon-reload")
}

// killKeeperAt has the keeper on the worker kill itself at a point, again and again.
func (s *servers) killKeeperAt(point failpoint.Point) {
	s.Helper()
	s.keeperWith(s.worker, point, "RestartSec=100ms")
}

// awaitKills waits until the keeper was killed and started so many times more.
func (s *servers) awaitKills(more int) {
	s.Helper()
	restarts := func() (n int) {
		_, _ = fmt.Sscan(s.worker.MustExec("systemctl", "show", "--property=NRestarts", "--value", keeperUnit), &n)
		return n
	}
	begun := restarts()
	lab.WaitFor(s, patience, "the keeper to be killed", func() error { return want(restarts() >= begun+more, true) })
}

// program puts a program onto the servers.
func (s *servers) program(path string) string {
	s.Helper()
	s.lab.Install(path)
	return s.manager.MustExec("sh", "-c", "command -v "+filepath.Base(path))
}

// versions are those that run on the servers, as the manager hears: its own first.
func (s *servers) versions() string {
	s.Helper()
	var list []string
	for _, n := range s.nodes() {
		if n.State == fleet.StateReady && n.Agent != nil {
			list = append(list, n.Agent.Version)
		}
	}
	return strings.Join(list, " ")
}

func (s *servers) awaitVersions(each ...string) {
	s.Helper()
	versions := strings.Join(each, " ")
	lab.WaitFor(s, patience, "the nodes to run "+versions, func() error { return want(s.versions(), versions) })
}
