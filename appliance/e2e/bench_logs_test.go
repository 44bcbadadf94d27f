package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/crawlbox/crawlbox/appliance/lab"
	"github.com/crawlbox/crawlbox/appliance/lab/artifact"
)

// BenchmarkLogsKept has a container write 150 MB as fast as it can, which is some 10,000 lines a second or more, with
// the labels by which its log is kept and without, in turn. What it takes longer is what a spider is slowed by at the
// most: one that also crawls waits for others. Beside it stands how much memory crawlbox has at the highest.
func BenchmarkLogsKept(b *testing.B) {
	l := newBenchLab(b)
	h := l.AddHost()
	p := h.Start("crawlbox", "crawlbox", "manager")
	lab.WaitFor(b, patience, "the manager", func() error { return said(p, "manager is ready") })
	const image, lines = "example.org/tiny:1", 150_000
	h.Load(artifact.TinyImage(b, image, 0))
	settle(b, p)
	before := memory(b, p, "status", "RssAnon")
	watch := watchMemory(b, p)
	write := func(n int, labels ...string) time.Duration {
		args := []string{"run", "--rm", "--network", "host", "--detach", "--log-opt", "max-size=10m", "--log-opt",
			"max-file=3", "--env", "TINY_EXIT=0", "--env", fmt.Sprint("TINY_NOISE=", lines)}
		begun := time.Now()
		id := h.Docker(append(append(args, labels...), image)...)
		h.Exec(b.Context(), "docker", "wait", strings.TrimSpace(id)) // it may be gone by now
		return time.Since(begun)
	}
	var plain, kept []time.Duration
	for n := range rounds {
		plain = append(plain, write(n))
		kept = append(kept, write(n, "--label", "com.docker.swarm.service.name=noise", "--label",
			fmt.Sprint("com.docker.swarm.task.id=noise", n)))
	}
	peak := watch.stop(b)
	b.ReportMetric(before, "MB-anon-before")
	b.ReportMetric(peak, "MB-anon-highest")
	b.ReportMetric(lines/median(kept).Seconds(), "lines/s")
	b.ReportMetric(100*(median(kept).Seconds()/median(plain).Seconds()-1), "%-slower")
	report(b, "s/plain", plain)
	report(b, "s/kept", kept)
}
