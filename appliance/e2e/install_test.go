package e2e

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/crawlbox/crawlbox/appliance/api"
	"github.com/crawlbox/crawlbox/appliance/failpoint"
	"github.com/crawlbox/crawlbox/appliance/lab"
	"github.com/crawlbox/crawlbox/appliance/lab/artifact"
)

// TestInstall takes three servers with systemd from nothing to nodes that run for good,
// through what happens to servers while they crawl a site, and back to nothing. The
// manager and one worker have an older Debian and Docker, the first worker a newer,
// which keeps images in containerd.
func TestInstall(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.Install(artifact.Binary(t))
	hosts := []*lab.Host{l.AddHost(
		lab.Release("bookworm")), l.AddHost(lab.Release("trixie")), l.AddHost(lab.Release("bookworm"))}
	c := &cluster{T: t, lab: l, hosts: hosts, manager: hosts[0], agents: map[*lab.Host]*lab.Proc{}}
	s := &servers{cluster: c, worker: hosts[1], other: hosts[2], site: openSite(c, l.AddHost(lab.WithoutDocker()))}
	// Engines from 29 on do so where nothing is said.
	s.worker.WriteFile("/etc/docker/daemon.json", `{"features": {"containerd-snapshotter": true}}`+"\n")
	s.worker.MustExec("systemctl", "restart", "docker")
	before := map[*lab.Host][]string{}
	for _, h := range hosts {
		before[h] = s.files(h)
	}

	t.Run("bad input", func(t *testing.T) { s.in(t).badInput() })
	if after := s.files(s.worker); fmt.Sprint(after) != fmt.Sprint(before[s.worker]) {
		t.Errorf("what was refused has left %q", difference(after, before[s.worker]))
	}
	s.install()
	t.Run("units", func(t *testing.T) { s.in(t).units() })
	t.Run("queue without rights", func(t *testing.T) { s.in(t).confined() })
	t.Run("again", func(t *testing.T) { s.in(t).again() })

	t.Run("crawl", func(t *testing.T) { s.in(t).crawl() })
	t.Run("restarted", func(t *testing.T) { s.in(t).restarted() })
	t.Run("killed", func(t *testing.T) { s.in(t).killed() })
	t.Run("upgraded", func(t *testing.T) { s.in(t).upgraded() })
	t.Run("hung", func(t *testing.T) { s.in(t).hung() })
	t.Run("docker away", func(t *testing.T) { s.in(t).dockerAway() })
	t.Run("rebooted", func(t *testing.T) { s.in(t).rebooted() })
	t.Run("worker cut off", func(t *testing.T) { s.in(t).workerCutOff() })
	t.Run("manager cut off", func(t *testing.T) { s.in(t).managerCutOff() })
	t.Run("crawled", func(t *testing.T) { s.in(t).crawled() })
	t.Run("uninstalled", func(t *testing.T) { s.in(t).uninstalled(before) })
}

// servers are a manager and two workers that are run by systemd, and a site that they
// crawl. What happens to a worker happens to the first.
type servers struct {
	*cluster
	worker, other *lab.Host
	site          *site
}

func (s *servers) in(t *testing.T) *servers {
	in := *s
	in.cluster = s.sub(t)
	return &in
}

func (s *servers) badInput() {
	h := s.worker
	said := h.Exec(s.Context(), "setpriv", "--reuid=65534", "crawlbox", "install", "worker").Stderr
	contains(s.T, said, "needs root")
	contains(s.T, s.fails(h, 1, "install", "worker", "--join", "CBX1-NONSENSE"), "join token")
	contains(s.T, s.fails(h, 2, "install", "worker", "--queue"), "unknown flag")

	said = h.Exec(s.Context(), "unshare", "--mount", "sh", "-c",
		"mount --bind /usr /usr && mount -o remount,bind,ro /usr && crawlbox install worker").Stderr
	contains(s.T, said, "/usr/local/bin/crawlbox lies on a file system that is read-only")

	planned := h.MustExec("crawlbox", "install", "manager", "--queue", "--install-docker", "--dry-run")
	if strings.Contains(planned, "apt-get") {
		s.Errorf("a Docker that works would be installed: %s", planned)
	}
	contains(s.T, planned, "to /usr/local/bin/crawlbox", "ExecStart=/usr/local/bin/crawlbox manager --queue",
		"systemctl enable crawlbox.service", "nothing was changed")
}

// install makes all servers nodes. The first worker gets its crawlbox from the manager,
// the second has it.
func (s *servers) install() {
	s.Helper()
	contains(s.T, s.manager.MustExec("crawlbox", "install", "manager", "--queue"), "/etc/crawlbox/crawlbox.yaml",
		"manager is ready")
	s.watchShort(s.manager)
	s.refused()
	var token api.Token
	s.read(&token, "token")
	join := token.Join
	other := s.other.Start("install", "crawlbox", "install", "worker", "--join", join)
	s.manager.LoadPythonBase() // meanwhile
	contains(s.T, s.worker.MustExec("sh", "-c", token.Bootstrap), "ca.pem: OK", "fetching crawlbox", "worker is ready")
	s.watchShort(s.worker)
	if code, err := other.Wait(s.Context()); err != nil || code != 0 {
		s.Fatalf("crawlbox install worker: exit code %d, %v\n%s", code, err, other.Logs())
	}
	s.awaitReady(3)
	if out := s.worker.Exec(s.Context(), "grep", "-rlF", join, "/etc", "/run/systemd", "/var/lib/crawlbox", "/var/log",
		"/tmp"); out.Code != 1 {
		s.Errorf("the join token stands in %q", out.Stdout)
	}
	if got := s.worker.MustExec("stat", "-c", "%a", "/etc/crawlbox/crawlbox.yaml"); got != "640" {
		s.Errorf("the config has mode %s", got)
	}
}

// refused installs a worker with a join token that is of no use any more: it is not
// tried over and over again.
func (s *servers) refused() {
	s.Helper()
	var token api.Token
	s.read(&token, "token", "--ttl", "1h")
	s.run("token", "revoke", token.ID)
	said := s.worker.Exec(s.Context(), "crawlbox", "install", "worker", "--join", token.Join).Stderr
	contains(s.T, said, "the service does not start", "the join token was revoked")
	contains(s.T, s.worker.Exec(s.Context(), "sh", "-c", token.Bootstrap).Stderr,
		"crawlbox: the join token was revoked")
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
	h.WriteFile("/run/systemd/system/crawlbox.service.d/test.conf",
		fmt.Sprintf("[Service]\nWatchdogSec=%s\nEnvironment=%s=%s %s\n",
			watchdogLimit, failpoint.EnvHang, hangFile, strings.Join(env, " ")))
	h.MustExec("systemctl", "daemon-reload")
}

// ownUnits are what systemd-analyze is asked about.
var ownUnits = []string{"crawlbox.service", "crawlbox.slice", "crawlbox.target", keeperUnit}

func (s *servers) units() {
	for _, h := range s.hosts {
		s.Logf("%s: %s, Docker %s", h.Name(), h.MustExec("sh", "-c", ". /etc/os-release; echo $PRETTY_NAME"),
			h.Docker("info", "--format", "{{.ServerVersion}}, {{.Driver}}, cgroup {{.CgroupVersion}}"))
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
	directory := "/var/lib/docker"
	if s.inContainerd(s.worker) {
		directory = "/var/lib/containerd"
	}
	contains(s.T, s.worker.Exec(s.Context(), "crawlbox", "doctor").Stdout, "free under "+directory)
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
		"- ExecStart=/usr/local/bin/crawlbox worker", "+ ExecStart=/usr/local/bin/crawlbox worker --log-level debug",
		"systemctl restart", "worker is ready")
	contains(s.T, h.MustExec("journalctl", "--unit=crawlbox", "--priority=debug..debug", "CRAWLBOX_STATE=running"),
		"looked at the Docker Engine")
}
