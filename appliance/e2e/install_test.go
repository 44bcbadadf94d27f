package e2e

import (
	"fmt"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/crawlbox/crawlbox/appliance/api"
	"github.com/crawlbox/crawlbox/appliance/failpoint"
	"github.com/crawlbox/crawlbox/appliance/lab"
)

// TestInstall takes two servers with systemd from nothing to nodes that run for good,
// through what happens to servers, and back to nothing. The manager has an older Debian
// and Docker, the worker a newer, which keeps images in containerd.
func TestInstall(t *testing.T) {
	t.Parallel()
	l := lab.New(t)
	l.Install(lab.Binary(t))
	hosts := []*lab.Host{l.AddHost(lab.Release("bookworm")), l.AddHost(lab.Release("trixie"))}
	s := &servers{cluster: &cluster{T: t, lab: l, hosts: hosts, manager: hosts[0], agents: map[*lab.Host]*lab.Proc{}}, worker: hosts[1]}
	// Engines from 29 on do so where nothing is said.
	s.worker.WriteFile("/etc/docker/daemon.json", `{"features": {"containerd-snapshotter": true}}`+"\n")
	s.worker.MustExec("systemctl", "restart", "docker")
	before := [][]string{s.files(s.manager), s.files(s.worker)}

	t.Run("bad input", func(t *testing.T) { s.in(t).badInput() })
	if after := s.files(s.worker); fmt.Sprint(after) != fmt.Sprint(before[1]) {
		t.Errorf("what was refused has left %q", difference(after, before[1]))
	}
	s.install()
	t.Run("units", func(t *testing.T) { s.in(t).units() })
	t.Run("again", func(t *testing.T) { s.in(t).again() })

	s.push("localhost:8003/spider:0.01")
	s.manager.Docker("service", "create", "--detach", "--name", "spider", "--network", "host", "--mode", "global", s.manager.IP().String()+":8003/spider:0.01")
	s.awaitRunning("spider", 2)
	t.Run("restarted", func(t *testing.T) { s.in(t).restarted() })
	t.Run("killed", func(t *testing.T) { s.in(t).killed() })
	t.Run("upgraded", func(t *testing.T) { s.in(t).upgraded() })
	t.Run("hung", func(t *testing.T) { s.in(t).hung() })
	t.Run("docker away", func(t *testing.T) { s.in(t).dockerAway() })
	s.awaitRunning("spider", 2)
	t.Run("worker cut off", func(t *testing.T) { s.in(t).workerCutOff() })
	t.Run("manager cut off", func(t *testing.T) { s.in(t).managerCutOff() })
	t.Run("uninstalled", func(t *testing.T) { s.in(t).uninstalled(before) })
}

// servers are a manager and a worker that are run by systemd.
type servers struct {
	*cluster
	worker *lab.Host
}

func (s *servers) in(t *testing.T) *servers {
	return &servers{cluster: s.sub(t), worker: s.worker}
}

func (s *servers) badInput() {
	h := s.worker
	said := h.Exec(s.Context(), "setpriv", "--reuid=65534", "crawlbox", "install", "worker").Stderr
	contains(s.T, said, "needs root")
	contains(s.T, s.fails(h, 1, "install", "worker", "--join", "CBX1-NONSENSE"), "join string")
	contains(s.T, s.fails(h, 2, "install", "worker", "--queue"), "unknown flag")

	said = h.Exec(s.Context(), "unshare", "--mount", "sh", "-c", "mount --bind /usr /usr && mount -o remount,bind,ro /usr && crawlbox install worker").Stderr
	contains(s.T, said, "/usr/local/bin/crawlbox lies on a file system that is read-only")

	planned := h.MustExec("crawlbox", "install", "manager", "--queue", "--install-docker", "--dry-run")
	if strings.Contains(planned, "apt-get") {
		s.Errorf("a Docker that works would be installed: %s", planned)
	}
	contains(s.T, planned, "to /usr/local/bin/crawlbox", "ExecStart=/usr/local/bin/crawlbox manager --queue", "systemctl enable crawlbox.service", "nothing was changed")
}

// install makes both servers nodes.
func (s *servers) install() {
	s.Helper()
	contains(s.T, s.manager.MustExec("crawlbox", "install", "manager", "--queue"), "/etc/crawlbox/crawlbox.yaml", "manager is ready")
	s.watchShort(s.manager)
	s.refused()
	var token api.Token
	s.read(&token, "token")
	join := token.Join
	// The worker gets its crawlbox from the manager.
	contains(s.T, s.worker.MustExec("sh", "-c", token.Bootstrap), "ca.pem: OK", "fetching crawlbox", "worker is ready")
	s.watchShort(s.worker)
	s.awaitReady(2)
	if out := s.worker.Exec(s.Context(), "grep", "-rlF", join, "/etc", "/run/systemd", "/var/lib/crawlbox", "/var/log", "/tmp"); out.Code != 1 {
		s.Errorf("the join string stands in %q", out.Stdout)
	}
	if got := s.worker.MustExec("stat", "-c", "%a", "/etc/crawlbox/crawlbox.yaml"); got != "640" {
		s.Errorf("the config has mode %s", got)
	}
}

// refused installs a worker with a join string that is of no use any more: it is not
// tried over and over again.
func (s *servers) refused() {
	s.Helper()
	var token api.Token
	s.read(&token, "token", "--ttl", "1h")
	s.run("token", "revoke", token.ID)
	said := s.worker.Exec(s.Context(), "crawlbox", "install", "worker", "--join", token.Join).Stderr
	contains(s.T, said, "the service does not start", "the join string was revoked")
	contains(s.T, s.worker.Exec(s.Context(), "sh", "-c", token.Bootstrap).Stderr, "crawlbox: the join string was revoked")
	if now, tries := s.show(s.worker, "ActiveState"), s.show(s.worker, "NRestarts"); now != "failed" || tries != "0" {
		s.Errorf("the service is %s after %s restarts", now, tries)
	}
}

// watchdogLimit is that of the test. Three times in it a node checks itself.
const watchdogLimit = 6 * time.Second

// watchShort gives the service a watchdog that a test can wait for, and an environment,
// from its next start on.
func (s *servers) watchShort(h *lab.Host, env ...string) {
	s.Helper()
	h.WriteFile("/run/systemd/system/crawlbox.service.d/test.conf", fmt.Sprintf("[Service]\nWatchdogSec=%s\nEnvironment=%s=%s %s\n",
		watchdogLimit, failpoint.EnvHang, hangFile, strings.Join(env, " ")))
	h.MustExec("systemctl", "daemon-reload")
}

// ownUnits are what systemd-analyze is asked about.
var ownUnits = []string{"crawlbox.service", "crawlbox.slice", "crawlbox.target", keeperUnit}

func (s *servers) units() {
	for _, h := range s.hosts {
		s.Logf("%s: %s, Docker %s", h.Name(), h.MustExec("sh", "-c", ". /etc/os-release; echo $PRETTY_NAME"), h.Docker("info", "--format", "{{.ServerVersion}}, {{.Driver}}, cgroup {{.CgroupVersion}}"))
		for _, line := range s.verify(h, ownUnits...) {
			s.Errorf("systemd-analyze verify on %s says %q", h.Name(), line)
		}
		for _, unit := range []string{"crawlbox.service", keeperUnit} {
			exposure := s.exposure(h, unit)
			s.Logf("systemd-analyze security on %s: %s %.1f", h.Name(), unit, exposure)
			if exposure > 4 {
				s.Errorf("the exposure of %s on %s is %.1f", unit, h.Name(), exposure)
			}
		}
		s.faultsShow(h)
	}
	contains(s.T, s.show(s.manager, "StatusText"), "ready")
	folder := "/var/lib/docker"
	if s.inContainerd(s.worker) {
		folder = "/var/lib/containerd"
	}
	contains(s.T, s.worker.Exec(s.Context(), "crawlbox", "doctor").Stdout, "free under "+folder)
}

// verify returns what systemd-analyze says of crawlbox' units. Of others, which a
// server brings and old versions read with ours, it says more.
func (s *servers) verify(h *lab.Host, units ...string) (complaints []string) {
	s.Helper()
	said := h.Exec(s.Context(), append([]string{"systemd-analyze", "verify"}, units...)...)
	for line := range strings.Lines(said.Stdout + said.Stderr) {
		if strings.Contains(line, "crawlbox") {
			complaints = append(complaints, strings.TrimSpace(line))
		}
	}
	return complaints
}

// exposure is that of a unit, from 0 to 10, as systemd-analyze sums it up. It is read:
// versions before 250 have no bound to be given.
func (s *servers) exposure(h *lab.Host, unit string) float64 {
	s.Helper()
	said := h.MustExec("systemd-analyze", "security", "--no-pager", unit)
	_, figure, _ := strings.Cut(said, "Overall exposure level for "+unit+": ")
	word, _, _ := strings.Cut(figure, " ")
	exposure, err := strconv.ParseFloat(word, 64)
	if err != nil {
		s.Fatalf("no exposure of %s on %s in %q", unit, h.Name(), said)
	}
	return exposure
}

// faultsShow wants verify and exposure to tell a bad unit from a good one.
func (s *servers) faultsShow(h *lab.Host) {
	s.Helper()
	const unit = "crawlbox-bad.service"
	h.WriteFile("/run/systemd/system/"+unit, "[Service]\nExecStart=/bin/true\nProtectNothing=yes\n")
	defer h.MustExec("rm", "/run/systemd/system/"+unit)
	contains(s.T, strings.Join(s.verify(h, unit), "\n"), "ProtectNothing")
	if exposure := s.exposure(h, unit); exposure <= 4 {
		s.Errorf("a unit without any bound has the exposure %.1f on %s", exposure, h.Name())
	}
}

func (s *servers) again() {
	h := s.worker
	was := s.show(h, "InvocationID")
	contains(s.T, h.MustExec("crawlbox", "install", "worker"), "nothing has to be changed")
	contains(s.T, s.fails(h, 1, "install", "manager"), "installed as a worker")
	if now := s.show(h, "InvocationID"); now != was {
		s.Error("the same again has restarted the service")
	}
	contains(s.T, h.MustExec("crawlbox", "install", "worker", "--log-level", "debug"),
		"- ExecStart=/usr/local/bin/crawlbox worker", "+ ExecStart=/usr/local/bin/crawlbox worker --log-level debug", "systemctl restart", "worker is ready")
	contains(s.T, h.MustExec("journalctl", "--unit=crawlbox", "--priority=debug..debug", "CRAWLBOX_STATE=running"), "looked at the Docker Engine")
}

// restarted wants that no container is restarted with crawlbox.
func (s *servers) restarted() {
	was := s.containers()
	for _, h := range s.hosts {
		h.MustExec("systemctl", "restart", "crawlbox")
	}
	s.awaitReady(2)
	if now := s.containers(); now != was {
		s.Errorf("the containers were %s and are %s", was, now)
	}
}

func (s *servers) killed() {
	was := s.containers()
	for _, h := range s.hosts {
		if took := s.kill(h, "KILL"); took > 5*time.Second {
			s.Errorf("crawlbox on %s was back after %s", h.Name(), took)
		}
	}
	s.awaitReady(2)
	if now := s.containers(); now != was {
		s.Errorf("the containers were %s and are %s", was, now)
	}
}

// dockerAway wants that a Docker which hangs is no reason for a restart, and that no
// restart is a reason to start one that is stopped.
func (s *servers) dockerAway() {
	h := s.worker
	h.SignalDocker(syscall.SIGSTOP)
	was, fed := s.show(h, "InvocationID"), map[string]bool{}
	lab.WaitFor(s, patience, "the watchdog to be fed", func() error {
		fed[s.show(h, "WatchdogTimestampMonotonic")] = true
		return want(len(fed) > 4, true) // more than one limit
	})
	if now := s.show(h, "InvocationID"); now != was {
		s.Error("crawlbox was restarted because of Docker")
	}
	contains(s.T, s.show(h, "StatusText"), "waiting for Docker")
	h.SignalDocker(syscall.SIGCONT)
	h.StopDocker()
	s.asleep(h)
	s.kill(h, "KILL")
	s.asleep(h)
	s.kill(h, "STOP") // all that the process does hangs
	contains(s.T, h.MustExec("journalctl", "--unit=crawlbox"), "Watchdog timeout")
	s.asleep(h)

	was = s.show(h, "InvocationID")
	h.StartDocker()
	s.awaitReady(2)
	if now := s.show(h, "InvocationID"); now != was {
		s.Error("crawlbox was restarted because Docker was")
	}
}

func (s *servers) uninstalled(before [][]string) {
	contains(s.T, s.fails(s.manager, 1, "uninstall"), "--force")
	if now := s.show(s.manager, "ActiveState"); now != "active" {
		s.Errorf("an uninstall that was refused has left the service %s", now)
	}
	// One that has left by hand is not started again.
	s.worker.MustExec("crawlbox", "leave")
	lab.WaitFor(s, patience, "the service to end", func() error { return want(s.show(s.worker, "ActiveState"), "inactive") })
	s.gone(s.worker, before[1], "crawlbox is uninstalled")
	lab.WaitFor(s, patience, "the node to be off the list", func() error { return want(len(s.nodes()), 1) })

	contains(s.T, s.manager.MustExec("crawlbox", "uninstall"), "this node has left the cluster", "/var/lib/crawlbox stays")
	s.manager.MustExec("test", "-d", "/var/lib/crawlbox/registry")
	s.gone(s.manager, before[0], "remove /var/lib/crawlbox")
}

// gone uninstalls with all state and wants the server to be as it was.
func (s *servers) gone(h *lab.Host, before []string, says string) {
	s.Helper()
	h.Exec(s.Context(), "rm", "-rf", "/run/systemd/system/crawlbox.service.d")
	contains(s.T, h.MustExec("crawlbox", "uninstall", "--purge"), says)
	if after := s.files(h); fmt.Sprint(after) != fmt.Sprint(before) {
		s.Errorf("%s differs from what it was by %q", h.Name(), difference(after, before))
	}
	if units := h.MustExec("systemctl", "list-units", "--all", "--plain", "--no-legend", "crawlbox*"); units != "" {
		s.Errorf("systemd on %s still has %s", h.Name(), units)
	}
	if left := h.Docker("ps", "-aq") + h.Docker("image", "ls", "-q") + h.Docker("network", "ls", "-q", "--filter", "name=docker_gwbridge"); left != "" {
		s.Errorf("Docker on %s still has %s", h.Name(), left)
	}
	h.MustExec("systemctl", "is-active", "docker")
}

// show returns a property of the service.
func (s *servers) show(h *lab.Host, property string) string {
	s.Helper()
	return h.MustExec("systemctl", "show", "--property="+property, "--value", "crawlbox.service")
}

// kill sends a signal to crawlbox and returns how long it takes until another one
// serves in its place.
func (s *servers) kill(h *lab.Host, signal string) time.Duration {
	s.Helper()
	was, begun := s.show(h, "InvocationID"), time.Now()
	h.MustExec("systemctl", "kill", "--kill-who=main", "--signal="+signal, "crawlbox.service")
	lab.WaitFor(s, patience, "crawlbox on "+h.Name()+" to be back", func() error {
		if s.show(h, "InvocationID") == was {
			return fmt.Errorf("it has not been started again")
		}
		return want(s.show(h, "ActiveState"), "active")
	})
	return time.Since(begun)
}

// containers are those of both servers, with when they were started.
func (s *servers) containers() (list string) {
	s.Helper()
	for _, h := range s.hosts {
		list += h.MustExec("sh", "-c", "docker inspect --format '{{.Id}} {{.State.StartedAt}}' $(docker ps -q)") + "\n"
	}
	return list
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
