package e2e

import (
	"fmt"
	"net/url"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/crawlbox/crawlbox/appliance/lab"
	"github.com/crawlbox/crawlbox/appliance/lab/artifact"
)

const (
	scaleHosts  = 50
	scaleFrom   = 50
	scaleTo     = 500
	scaleRounds = 3 // of each way
	// scalePatience bounds a round. It is all processor time: some fifty
	// seconds on two idle cores.
	scalePatience = 10 * time.Minute
)

// BenchmarkScale takes one service from 50 to 500 containers on 50 hosts, in
// turn with `crawlbox scale` and with `docker service scale`. Of each it gives
// the time until the last container ran, by Swarm's own stamps, and the time
// until the command was done, which says that all run; docker's stays five
// seconds longer to see whether they do.
func BenchmarkScale(b *testing.B) {
	l := newBenchLab(b)
	hosts := l.AddHosts(scaleHosts)
	s := &scaling{observer: newObserver(b, hosts[0]), manager: hosts[0]}
	s.begin(hosts)
	up := fmt.Sprintf("s=%d", scaleTo)
	ways := [][]string{{"crawlbox", "scale", up}, {"docker", "service", "scale", up}}
	var ran, took [2][]time.Duration
	s.round([]string{"docker", "service", "scale", "--detach", up}) // the first one finds a cold machine
	for round := range scaleRounds {
		order := []int{0, 1}
		if round%2 == 1 {
			slices.Reverse(order) // neither way always finds the warmer machine
		}
		for _, way := range order {
			r, t := s.round(ways[way])
			b.Logf("%v: all ran after %v, the command took %v; load %s", ways[way], r, t, load())
			ran[way], took[way] = append(ran[way], r), append(took[way], t)
		}
	}
	report(b, "s/500-running", ran[0])
	report(b, "s/500-running-by-hand", ran[1])
	report(b, "s/command", took[0])
	report(b, "s/command-by-hand", took[1])
	b.ReportMetric(100*(median(ran[0]).Seconds()/median(ran[1]).Seconds()-1), "%slower")
}

// scaling is the service that is scaled, as Swarm sees it.
type scaling struct {
	observer
	manager *lab.Host
}

// begin makes the cluster, brings the image to every host and starts the
// service.
func (s *scaling) begin(hosts []*lab.Host) {
	b := s.b
	b.Helper()
	p := s.manager.Start("crawlbox", "crawlbox", "manager")
	lab.WaitFor(b, patience, "the manager", func() error { return said(p, "manager is ready") })
	s.manager.Load(artifact.TinyImage(b, "localhost:8003/tiny:1", 0))
	s.manager.Docker("push", "--quiet", "localhost:8003/tiny:1")
	line := strings.Fields(s.manager.MustExec("crawlbox", "token"))
	for _, h := range hosts[1:] {
		h.Start("crawlbox", line...)
	}
	lab.WaitFor(b, scalePatience, "all nodes", func() error { return want(len(s.ready()), len(hosts)) })
	s.onAll(hosts, "docker", "pull", "--quiet", "localhost:8003/tiny:1")
	s.manager.Docker("service", "create", "--detach", "--name", "s", "--replicas", strconv.Itoa(scaleFrom), "--network",
		"host",
		"--stop-grace-period", "1s", "localhost:8003/tiny:1")
	s.await(scaleFrom)
}

// round scales up with the command and down again, and returns how long it took
// until all ran and until the command was done.
func (s *scaling) round(command []string) (ran, took time.Duration) {
	s.b.Helper()
	calm(s.b)
	begun := time.Now()
	if err := s.manager.Exec(s.b.Context(), command...).Err(); err != nil {
		s.b.Fatalf("%v: %v", command, err)
	}
	took = time.Since(begun)
	ran = s.await(scaleTo).Sub(begun)
	s.manager.Docker("service", "scale", "--detach", fmt.Sprintf("s=%d", scaleFrom))
	s.await(scaleFrom)
	return ran, took
}

type task struct {
	Status struct {
		State     string
		Timestamp time.Time // when it entered State
	}
}

// await waits until there are so many tasks and all run, and returns when the
// last of them came to do so. Tasks that failed and were replaced don't count. It
// asks seldom: an answer has a megabyte.
func (s *scaling) await(n int) (last time.Time) {
	s.b.Helper()
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	lab.WaitFor(s.b, scalePatience, "tasks of the service", func() error {
		<-tick.C
		var tasks []task
		s.get("/tasks?filters="+url.QueryEscape(`{"service":["s"],"desired-state":["running"]}`), &tasks)
		running := slices.DeleteFunc(slices.Clone(tasks), func(t task) bool { return t.Status.State != "running" })
		if len(tasks) != n || len(running) != n {
			return fmt.Errorf("%d of %d tasks run, want %d", len(running), len(tasks), n)
		}
		last = slices.MaxFunc(running,
			func(a, b task) int { return a.Status.Timestamp.Compare(b.Status.Timestamp) }).Status.Timestamp
		return nil
	})
	return last
}

// calm waits until the processors have been idle for most of three seconds: the
// containers of the last round are still being removed when their tasks are
// gone. On a machine that others use too it gives up after a minute.
func calm(b *testing.B) {
	b.Helper()
	for end := time.Now().Add(time.Minute); time.Now().Before(end); {
		before, begun := idle(b), time.Now()
		<-time.After(3 * time.Second)
		if idle(b)-before > time.Since(begun)*time.Duration(runtime.NumCPU())*3/4 {
			return
		}
	}
	b.Logf("the machine does not come to rest; load %s", load())
}

// idle is how long the processors have had nothing to do, all together.
func idle(b *testing.B) time.Duration {
	b.Helper()
	text, err := os.ReadFile("/proc/uptime")
	if err != nil {
		b.Fatal(err)
	}
	d, err := time.ParseDuration(strings.Fields(string(text))[1] + "s")
	if err != nil {
		b.Fatal(err)
	}
	return d
}
