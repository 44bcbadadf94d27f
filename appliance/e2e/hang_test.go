package e2e

import (
	"fmt"
	"strings"
	"time"

	"github.com/crawlbox/crawlbox/appliance/api"
	"github.com/crawlbox/crawlbox/appliance/failpoint"
	"github.com/crawlbox/crawlbox/appliance/lab"
	"github.com/crawlbox/crawlbox/appliance/queueproc"
)

// hangFile names the parts that hang on a server.
const hangFile = "/run/crawlbox-hang"

// starved is how long a node of which a part hangs may go on beside other tests: what waits for processors or the disk
// most of the time is taken for slow, and not for hung.
const starved = 5 * time.Minute

// hung wants systemd to start a node again of which one part hangs while all others
// serve, and no container with it; and the queue's process alone, where that hangs.
func (s *servers) hung() {
	if out := s.manager.Exec(s.Context(), "sh", "-c",
		"grep -qF "+failpoint.EnvHang+" $(command -v crawlbox)"); out.Code != 1 {
		s.Errorf("a release can be made to hang: grep ends with %d", out.Code)
	}
	s.manager.MustExec("grep", "-qF", failpoint.EnvHang, "/usr/local/bin/crawlbox")
	was := s.containers()
	s.queueHangs()
	s.watchShort(s.manager, failpoint.EnvRound+"=1s")
	s.hangs(part{s.manager, failpoint.HangAPI, "local API"}, part{s.worker, failpoint.HangRegistry, "registry"})
	s.watchShort(s.manager)
	s.hangs(part{s.manager, failpoint.HangWatch, "watch"}, part{s.worker, failpoint.HangAPI, "local API"})
	s.awaitReady(3)
	s.crawls()
	if now := s.containers(); now != was {
		s.Errorf("the containers were %s and are %s", was, now)
	}
}

// queueProcess is the PID of the queue's process on the manager.
func (c *cluster) queueProcess() string {
	c.Helper()
	return strings.TrimSpace(c.manager.Exec(c.Context(), "pgrep", "--full", "^[^ ]*crawlbox "+queueproc.Command).Stdout)
}

// queueHangs stops the queue's process: it alone is started again.
func (s *servers) queueHangs() {
	s.Helper()
	node, was := s.show(s.manager, "InvocationID"), s.queueProcess()
	s.manager.MustExec("kill", "-STOP", was)
	lab.WaitFor(s, patience, "the queue to be missed", func() error {
		if now := s.queueProcess(); now == was || now == "" {
			return fmt.Errorf("its process is %q", now)
		}
		return s.manager.Exec(s.Context(), "crawlbox", "queue", "url").Err()
	})
	if now := s.show(s.manager, "InvocationID"); now != node {
		s.Error("the node was started again because of its queue")
	}
	s.crawls()
}

// confined wants that the unit allows all of the sandbox that the queue's process has.
func (s *servers) confined() {
	var st api.Status
	if s.read(&st, "status"); !st.Queue.Serving || len(st.Queue.Lacks) > 0 {
		s.Errorf("the queue is %+v", st.Queue)
	}
	pid := s.queueProcess()
	if user := s.manager.MustExec("ps", "-o", "user:32=", "-p", pid); strings.TrimSpace(user) != queueproc.User {
		s.Errorf("the queue's process is %s's", user)
	}
	if root := s.manager.MustExec("readlink", "/proc/"+pid+"/root"); root != "/var/lib/crawlbox/queue" {
		s.Errorf("its root is %s", root)
	}
	said := strings.Join(strings.Fields(s.manager.ReadFile("/proc/"+pid+"/status")), " ")
	contains(s.T, said, "CapPrm: 0000000000000000", "CapEff: 0000000000000000", "NoNewPrivs: 1", "Seccomp: 2")
	for _, ns := range []string{"user", "net", "ipc"} {
		if its := s.manager.MustExec("readlink",
			"/proc/"+pid+"/ns/"+ns); its == s.manager.MustExec("readlink", "/proc/1/ns/"+ns) {
			s.Errorf("it is in the machine's %s", its)
		}
	}
}

type part struct {
	host  *lab.Host
	point failpoint.Point
	name  string
}

// hangs lets parts hang, on one server each, until their processes are killed for it.
func (s *servers) hangs(parts ...part) {
	s.Helper()
	was := map[*lab.Host]string{}
	for _, p := range parts {
		was[p.host] = s.show(p.host, "InvocationID")
		p.host.WriteFile(hangFile, string(p.point))
	}
	for _, p := range parts {
		lab.WaitFor(s, starved, p.name+" to be missed", func() error {
			return want(s.show(p.host, "InvocationID") != was[p.host], true)
		})
		p.host.MustExec("rm", hangFile)
		lab.WaitFor(s, patience, "crawlbox on "+p.host.Name()+" to be back",
			func() error { return want(s.show(p.host, "ActiveState"), "active") })
		if out := p.host.Exec(s.Context(), "sh", "-c",
			"journalctl --unit=crawlbox --output=cat _SYSTEMD_INVOCATION_ID="+was[p.host]+
				" | grep -q 'crawlbox does not answer itself.*"+p.name+" does not answer'"); out.Code != 0 {
			s.Errorf("the journal of %s does not say that the %s hangs", p.host.Name(), p.name)
		}
	}
}
