package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/crawlbox/crawlbox/appliance/lab"
	"github.com/crawlbox/crawlbox/appliance/lab/artifact"
)

// BenchmarkLogsKept has containers write with the labels by which their logs are kept and without, in turn. What they
// take longer is what spiders are slowed by: two that work for 1 ms before each line, which keeps both processors of a
// small machine busy, and one that does nothing but write 150 MB, at the most that there is. Beside it stands how much
// memory crawlbox has at the highest.
func BenchmarkLogsKept(b *testing.B) {
	l := newBenchLab(b)
	h := l.AddHost()
	p := h.Start("crawlbox", "crawlbox", "manager")
	lab.WaitFor(b, patience, "the manager", func() error { return said(p, "manager is ready") })
	const image = "example.org/tiny:1"
	h.Load(artifact.TinyImage(b, image, 0))
	settle(b, p)
	for _, c := range []struct {
		name         string
		tasks, lines int
		work         time.Duration
	}{{"spiders", 2, 10_000, time.Millisecond}, {"writer", 1, 150_000, 0}} {
		b.Run(c.name, func(b *testing.B) {
			before := memory(b, p, "status", "RssAnon")
			watch := watchMemory(b, p)
			write := func(labels func(task int) []string) time.Duration {
				begun := time.Now()
				var ids []string
				for n := range c.tasks {
					args := append([]string{"run", "--rm", "--network", "host", "--detach", "--log-opt", "max-size=10m",
						"--log-opt", "max-file=3", "--env", "TINY_EXIT=0", "--env", fmt.Sprint("TINY_NOISE=", c.lines),
						"--env", fmt.Sprint("TINY_WORK=", c.work)}, labels(n)...)
					ids = append(ids, strings.TrimSpace(h.Docker(append(args, image)...)))
				}
				h.Exec(b.Context(), append([]string{"docker", "wait"}, ids...)...) // they may be gone by now
				return time.Since(begun)
			}
			var plain, kept []time.Duration
			for round := range rounds {
				plain = append(plain, write(func(int) []string { return nil }))
				kept = append(kept, write(func(n int) []string {
					id := fmt.Sprint(c.name, "x", round, "x", n)
					return []string{"--label", "com.docker.swarm.service.name=noise", "--label",
						"com.docker.swarm.task.id=" + id}
				}))
			}
			peak := watch.stop(b)
			b.ReportMetric(before, "MB-anon-before")
			b.ReportMetric(peak, "MB-anon-highest")
			b.ReportMetric(float64(c.tasks*c.lines)/median(kept).Seconds(), "lines/s")
			b.ReportMetric(100*(median(kept).Seconds()/median(plain).Seconds()-1), "%-slower")
			report(b, "s/plain", plain)
			report(b, "s/kept", kept)
		})
	}
}
