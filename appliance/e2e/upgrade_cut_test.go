package e2e

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/crawlbox/crawlbox/appliance/failpoint"
	"github.com/crawlbox/crawlbox/appliance/fleet"
	"github.com/crawlbox/crawlbox/appliance/lab"
	"github.com/crawlbox/crawlbox/appliance/lab/artifact"
)

// workerCutOff cuts the power of the worker at each step of an upgrade to a program that
// does not come up. At each boot the keeper goes on, and is cut off at the same point
// again until the test lets it go further.
func (s *servers) workerCutOff() {
	h := s.worker
	s.stopKeeperAt(h, failpoint.Upgrade[0])
	upgrade := s.manager.Start("upgrade", "crawlbox", "upgrade", "--from", s.program(artifact.BrokenBinary(s)))
	s.awaitKeeperStopped(h)
	for i, point := range failpoint.Upgrade {
		if i > 0 {
			s.stopKeeperAt(h, point)
			h.MustExec("systemctl", "start", keeperUnit)
			s.awaitKeeperStopped(h)
		}
		last := i == len(failpoint.Upgrade)-1
		if last {
			h.MustExec("rm", "-r", keeperDropins)
		}
		h.PowerOff()
		h.PowerOn()
		contains(s.T, newer+" 0.0.0-broken", s.version(h, "/usr/local/bin/crawlbox"))
		if !last {
			s.awaitKeeperStopped(h)
		}
	}
	lab.WaitFor(s, patience, "the upgrade to end", func() error { return ended(upgrade) })
	contains(s.T, upgrade.Logs(), h.Name()+": it runs "+newer+" again", "left as they are")
	s.awaitReady(3)
	s.awaitVersions(newer, newer, newer)
	s.awaitTakenBack(h, "0.0.0-broken")
	s.awaitCrawl()
}

// managerCutOff goes back to the version that was installed, and cuts the power of the
// manager at each step of it: first while it brings that onto a worker, then of its own
// upgrade, which does not come up at first. Meanwhile nodes have different versions.
func (s *servers) managerCutOff() {
	h := s.manager
	released := h.MustExec("sh", "-c", "command -v crawlbox")
	version := s.version(h, released)
	s.offerCutOff(released, version)
	h.WriteFile(serviceDropins+"/test.conf",
		"[Service]\nExecStartPre=/bin/sh -c '! /usr/local/bin/crawlbox version | grep -qwF "+version+"'\n")
	h.MustExec("systemctl", "daemon-reload")
	s.stopKeeperAt(h, failpoint.UpgradeStaged)
	h.Start("upgrade", "crawlbox", "upgrade", "--from", released)
	s.awaitKeeperStopped(h)
	contains(s.T, s.fails(h, 1, "install", "manager"), "is being upgraded to "+version)
	contains(s.T, s.fails(h, 1, "uninstall"), "is being upgraded to "+version)
	s.Run("mixed versions", func(t *testing.T) { s.in(t).mixed(version) })
	s.cutKeeperOff(h, failpoint.UpgradeReplaced)
	s.cutKeeperOff(h, failpoint.UpgradeReturning)
	s.endKeeperCutOff(h)
	s.awaitManager()
	s.awaitVersions(newer, version, version)
	s.awaitTakenBack(h, version)

	h.MustExec("rm", "-r", serviceDropins)
	h.MustExec("systemctl", "daemon-reload")
	s.stopKeeperAt(h, failpoint.UpgradeSwapped)
	h.Start("upgrade", "crawlbox", "upgrade", "--from", released)
	s.awaitKeeperStopped(h)
	was := s.containersOn(s.worker, s.other)
	s.endKeeperCutOff(h)
	s.awaitManager()
	s.awaitVersions(version, version, version)
	s.run("upgrade", "--from", released) // goes on with what the power cut has broken off
	contains(s.T, s.run("upgrade", "--from", released), "nothing has to be changed")
	if status := s.run("status"); strings.Contains(status, "different versions") ||
		strings.Contains(status, "upgraded") {
		s.Errorf("an upgrade that is over is told as a problem: %s", status)
	}
	s.awaitCrawl()
	s.runOn(was)
}

// offerCutOff cuts the power of the manager when a worker has taken what it offers. The
// worker comes to its end without it, and the same command goes on with the others.
func (s *servers) offerCutOff(released, version string) {
	s.Helper()
	s.stopKeeperAt(s.worker, failpoint.UpgradeStaged)
	s.manager.Start("upgrade", "crawlbox", "upgrade", "--from", released)
	s.awaitKeeperStopped(s.worker)
	s.manager.PowerOff()
	s.worker.MustExec("rm", "-r", keeperDropins)
	s.worker.MustExec("systemctl", "daemon-reload")
	s.worker.MustExec("systemctl", "start", keeperUnit)
	s.awaitKeeperEnded(s.worker)
	s.manager.PowerOn()
	s.awaitManager()
	s.awaitVersions(newer, version, newer)
}

// serviceDropins change the service of a server for good.
const serviceDropins = "/etc/systemd/system/crawlbox.service.d"

// cutKeeperOff cuts the power where the keeper was stopped. At boot it goes on by itself,
// to the next point.
func (s *servers) cutKeeperOff(h *lab.Host, next failpoint.Point) {
	s.Helper()
	s.stopKeeperAt(h, next)
	h.PowerOff()
	h.PowerOn()
	s.awaitKeeperStopped(h)
}

// endKeeperCutOff does so for the last time.
func (s *servers) endKeeperCutOff(h *lab.Host) {
	s.Helper()
	h.MustExec("rm", "-r", keeperDropins)
	h.PowerOff()
	h.PowerOn()
}

// mixed wants a worker of another version to be one like any other.
func (s *servers) mixed(version string) {
	s.awaitVersions(newer, version, version)
	contains(s.T, strings.Join(strings.Fields(s.run("status")), " "), "different versions of crawlbox: ",
		newer+" on "+s.manager.Name(), version+" on "+s.worker.Name()+", "+s.other.Name(),
		"is being upgraded to "+version)
	s.push("localhost:8003/mixed:0.01")
	s.run("deploy", "localhost:8003/mixed:0.01", "--name", "mixed", "--replicas", "2", "--monitor", "1s")
	s.awaitRunning("mixed", 2)
	s.run("scale", "mixed=4")
	s.awaitRunning("mixed", 4)

	s.worker.MustExec("crawlbox", "leave")
	lab.WaitFor(s, patience, "the service to end",
		func() error { return want(s.show(s.worker, "ActiveState"), "inactive") })
	contains(s.T, s.worker.MustExec("crawlbox", "install", "worker", "--join", s.token(fleet.RoleWorker)),
		"worker is ready")
	s.awaitReady(3)
	s.awaitVersions(newer, version, version)
	s.awaitRunning("spider", spiders)
	s.crawlsFrom(s.manager, s.other)
	s.run("rm", "mixed")
}

// stopKeeperAt has the keeper of a server end at a point, for good, also after a boot.
func (s *servers) stopKeeperAt(h *lab.Host, point failpoint.Point) {
	s.Helper()
	s.keeperWith(h, point, "Restart=no")
}

func (s *servers) awaitKeeperStopped(h *lab.Host) {
	s.Helper()
	lab.WaitFor(s, patience, "the keeper to be cut off", func() error {
		return want(h.MustExec("systemctl", "show", "--property=Result", "--value", keeperUnit), "signal")
	})
}

func (s *servers) awaitKeeperEnded(h *lab.Host) {
	s.Helper()
	lab.WaitFor(s, patience, "the keeper to end", func() error {
		return want(h.MustExec("systemctl", "show", "--property=ActiveState", "--value", keeperUnit), "inactive")
	})
}

// awaitTakenBack waits until the status of a server says that an upgrade was taken back:
// the program of before runs again a moment before its keeper has written that down.
func (s *servers) awaitTakenBack(h *lab.Host, version string) {
	s.Helper()
	lab.WaitFor(s, patience, "the upgrade to be taken back", func() error {
		if status := h.MustExec("crawlbox",
			"status"); !strings.Contains(strings.Join(strings.Fields(status), " "), "to "+version+" was taken back") {
			return fmt.Errorf("the status is %s", status)
		}
		return nil
	})
}

func ended(p *lab.Proc) error {
	select {
	case <-p.Done():
		return nil
	default:
		return fmt.Errorf("it goes on")
	}
}

// version is what a program on a server says of itself.
func (s *servers) version(h *lab.Host, program string) string {
	s.Helper()
	var said struct{ Version string }
	if err := json.Unmarshal([]byte(h.MustExec(program, "version", "--json")), &said); err != nil {
		s.Fatal(err)
	}
	return said.Version
}
