package e2e

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/crawlbox/crawlbox/appliance/lab"
)

const (
	joinHosts  = 50
	joinRounds = 3 // of each way
)

// BenchmarkJoin has 50 servers join a manager at the same moment, in turn with
// `crawlbox worker --join` and with `docker swarm join`, and gives the time until
// Swarm has all of them ready. Each must be there once. crawlbox's nodes are more
// than ready then: each has its certificate, its registry and its gossip.
func BenchmarkJoin(b *testing.B) {
	l := newBenchLab(b)
	hosts := l.AddHosts(1 + joinHosts)
	j := &joining{observer: newObserver(b, hosts[0]), manager: hosts[0], workers: hosts[1:]}
	p := j.manager.Start("crawlbox", "crawlbox", "manager")
	lab.WaitFor(b, patience, "the manager", func() error { return said(p, "manager is ready") })
	var took [2][]time.Duration
	j.round(j.byHand) // the first one finds a cold machine
	for round := range joinRounds {
		ways := []int{0, 1}
		if round%2 == 1 {
			slices.Reverse(ways)
		}
		for _, way := range ways {
			t := j.round([]func(){j.crawlbox, j.byHand}[way])
			b.Logf("%s: all ready after %v; load %s", []string{"crawlbox", "by hand"}[way], t, load())
			took[way] = append(took[way], t)
		}
	}
	report(b, "s/50-joined", took[0])
	report(b, "s/50-joined-by-hand", took[1])
}

// joining is a manager and the servers that are to join it.
type joining struct {
	observer
	manager *lab.Host
	workers []*lab.Host
	agents  []*lab.Proc
}

// round lets all join, measures, looks whether each is there once, and takes them
// out again.
func (j *joining) round(begin func()) time.Duration {
	j.b.Helper()
	calm(j.b)
	begun := time.Now()
	begin()
	lab.WaitFor(j.b, scalePatience, "all nodes", func() error { return want(len(j.ready()), 1+len(j.workers)) })
	took := time.Since(begun)
	names := strings.Fields(j.manager.Docker("node", "ls", "--format", "{{.Hostname}}"))
	slices.Sort(names)
	if n := len(slices.Compact(slices.Clone(names))); n != len(names) || n != 1+len(j.workers) {
		j.b.Errorf("%d nodes with %d names, want %d of each", len(names), n, 1+len(j.workers))
	}
	j.end()
	return took
}

func (j *joining) crawlbox() {
	line := strings.Fields(j.manager.MustExec("crawlbox", "token"))
	for _, h := range j.workers {
		j.agents = append(j.agents, h.Start("crawlbox", line...))
	}
}

func (j *joining) byHand() {
	token := j.manager.Docker("swarm", "join-token", "--quiet", "worker")
	for _, h := range j.workers {
		h.Start("join", "docker", "swarm", "join", "--token", token, j.manager.At(2377))
	}
}

// end takes all workers out of the swarm, whichever way they came.
func (j *joining) end() {
	j.b.Helper()
	leave := "docker swarm leave --force"
	if len(j.agents) > 0 {
		leave = "crawlbox leave --force && rm -r /var/lib/crawlbox"
	}
	j.agents = nil
	j.onAll(j.workers, "sh", "-c", leave)
	if gone := strings.Fields(j.manager.Docker("node", "ls", "--quiet", "--filter", "role=worker")); len(gone) > 0 {
		j.manager.Docker(append([]string{"node", "rm", "--force"}, gone...)...)
	}
	lab.WaitFor(j.b, scalePatience, "an empty swarm", func() error { return want(len(j.ready()), 1) })
}
