//go:build before

package e2e

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/crawlbox/crawlbox/appliance/api"
	"github.com/crawlbox/crawlbox/appliance/cluster/token"
	"github.com/crawlbox/crawlbox/appliance/failpoint"
	"github.com/crawlbox/crawlbox/appliance/lab"
	"github.com/crawlbox/crawlbox/appliance/lab/artifact"
)

// TestUpgradeFrom takes a cluster of an earlier version, with a crawl running, to this
// version and back, and works with nodes of both versions beside each other on the way
// up and on the way down. It is run by `make check-upgrade FROM=COMMIT`, which builds
// the earlier version.
func TestUpgradeFrom(t *testing.T) {
	t.Parallel()
	before := os.Getenv("CRAWLBOX_BEFORE")
	if before == "" {
		t.Fatal("CRAWLBOX_BEFORE names no program of an earlier version; run `make check-upgrade FROM=COMMIT`")
	}
	l := newLab(t)
	l.Install(before)
	var hosts []*lab.Host
	for range 4 {
		hosts = append(hosts, l.AddHost(lab.Release("bookworm")))
	}
	c := &cluster{T: t, lab: l, hosts: hosts, manager: hosts[0], agents: map[*lab.Host]*lab.Proc{}}
	s := &servers{cluster: c, worker: hosts[1], other: hosts[2], site: openSite(c, l.AddHost(lab.WithoutDocker()))}
	s.manager.MustExec("crawlbox", "install", "manager", "--queue")
	for _, h := range hosts[1:] {
		h.MustExec("crawlbox", "install", "worker", "--join", s.token("worker"))
	}
	s.awaitReady(4)
	s.manager.LoadPythonBase()
	s.run("registry", "login", "laptop")
	spare := s.token("worker")
	var queue api.QueueAddress
	s.read(&queue, "queue", "url")
	s.crawl("--env", "REDIS_URL="+queue.URL) // the version before may not tell it by itself
	s.deployAgain("ROUND=1")
	s.awaitCrawl()

	begun, facts := time.Now(), s.keeps()
	released := s.manager.MustExec("sh", "-c", "command -v crawlbox")
	version := s.version(s.manager, released)
	next := s.program(artifact.BinaryOfVersion(s, newer))
	t.Run("up", func(t *testing.T) { s.in(t).throughMixed(next, version, newer, facts) })
	t.Run("with a second manager", func(t *testing.T) { s.in(t).keptFromGoingBack(released) })
	t.Run("down", func(t *testing.T) { s.in(t).throughMixed(released, newer, version, facts) })
	s.oncePerPage(begun)

	t.Run("up again", func(t *testing.T) {
		s := s.in(t)
		s.run("upgrade", "--from", next)
		s.awaitVersions(newer, newer, newer, newer)
		s.kept(facts)
		s.deployAgain("ROUND=2")
		s.awaitCrawl()
		contains(t, s.run("rollback", "spider"), "spider")
		s.awaitCrawl()
	})
	s.worker.MustExec("crawlbox", "leave")
	lab.WaitFor(s, patience, "the service to end",
		func() error { return want(s.show(s.worker, "ActiveState"), "inactive") })
	s.worker.MustExec("crawlbox", "install", "worker", "--join", spare) // a join token of the earlier version
	s.awaitReady(4)
	s.awaitCrawl() // pages that the spiders of the worker were at are fetched again, before the site closes
	s.crawled()
}

// throughMixed brings a version onto all servers, and stops when the workers have it and
// the manager does not yet.
func (s *servers) throughMixed(program, from, to, facts string) {
	h, was := s.manager, s.containers()
	s.stopKeeperAt(h, failpoint.UpgradeStaged)
	h.Start("upgrade", "crawlbox", "upgrade", "--from", program)
	s.awaitKeeperStopped(h)
	s.awaitVersions(from, to, to, to)
	s.kept(facts)
	s.crawlsFrom(s.hosts...)
	s.push("localhost:8003/mixed:0.01")
	s.run("deploy", "localhost:8003/mixed:0.01", "--name", "mixed", "--replicas", "3", "--monitor", "1s")
	s.awaitRunning("mixed", 3)
	s.run("scale", "mixed=6")
	s.awaitRunning("mixed", 6)
	s.run("rm", "mixed")

	h.MustExec("rm", "-r", keeperDropins)
	h.MustExec("systemctl", "daemon-reload")
	h.MustExec("systemctl", "start", keeperUnit)
	s.awaitKeeperEnded(h)
	s.awaitManager()
	s.awaitVersions(to, to, to, to)
	s.kept(facts)
	s.awaitCrawl()
	if now := s.containers(); now != was {
		s.Errorf("the containers were %s and are %s", was, now)
	}
}

// keptFromGoingBack wants the version before refused while there are two managers, of which it knows nothing.
func (s *servers) keptFromGoingBack(released string) {
	s.Helper()
	const installed = "/usr/local/bin/crawlbox" // the one on the path is of the version before
	name := s.other.Name()
	list := func(managers int) {
		lab.WaitFor(s, patience, fmt.Sprintf("%d managers on the list", managers), func() error {
			shown := s.manager.Exec(s.Context(), installed, "state", "show", "replicas")
			return want(strings.Count(shown.Stdout, `"node"`), managers)
		})
	}
	s.manager.MustExec(installed, "node", "promote", "--force", name)
	list(2)
	for _, more := range [][]string{{"--dry-run"}, nil} {
		r := s.manager.Exec(s.Context(), append([]string{installed, "upgrade", "--from", released}, more...)...)
		if contains(s.T, r.Stderr, "2 have it here", "node demote"); r.Code != 1 {
			s.Errorf("exit code %d: %s", r.Code, r.Stdout)
		}
	}
	s.manager.MustExec(installed, "node", "demote", name)
	list(1)
	lab.WaitFor(s, patience, name+" to be a worker", func() error {
		return want(strings.Contains(s.other.Exec(s.Context(), installed, "status").Stdout, name+" (worker)"), true)
	})
	s.awaitReady(4)
	s.awaitCrawl()
}

// deployAgain replaces the spiders by such with a variable more.
func (s *servers) deployAgain(env string) {
	s.Helper()
	for _, svc := range s.services() {
		if svc.Name == "spider" {
			s.run("deploy", svc.Image, "--name", svc.Name, "--env", env, "--monitor", "1s")
		}
	}
}

// keeps is what a cluster may not lose: who has access, and what was deployed.
func (s *servers) keeps() string {
	s.Helper()
	var b strings.Builder
	var tokens []token.Info
	s.read(&tokens, "token", "ls")
	for _, t := range tokens {
		fmt.Fprintf(&b, "join token %s of a %s\n", t.ID, t.Role)
	}
	var accounts []api.RegistryAccount
	s.read(&accounts, "registry", "ls")
	for _, a := range accounts {
		fmt.Fprintf(&b, "registry account %s\n", a.Name)
	}
	var queue api.QueueAddress
	s.read(&queue, "queue", "url")
	fmt.Fprintf(&b, "queue %s\n", queue.URL)
	fmt.Fprintf(&b, "CA %s\n", s.run("ca"))
	for _, e := range s.past("spider") {
		fmt.Fprintf(&b, "version %d of spider is %s, %s\n", e.Version, e.Digest, e.Result)
	}
	return b.String()
}

func (s *servers) kept(was string) {
	s.Helper()
	if now := s.keeps(); now != was {
		s.Errorf("the cluster had\n%s\nand has\n%s", was, now)
	}
}
