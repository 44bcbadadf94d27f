package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/crawlbox/crawlbox/appliance/lab"
	"github.com/crawlbox/crawlbox/appliance/lab/artifact"
)

const (
	restoreWorkers  = 5
	restoreServices = 3
	// mostRestore is how long a restore may take until all workers are ready and the services run.
	mostRestore = time.Minute
)

// BenchmarkRestore destroys the only manager of five workers, and restores its cluster from what a worker keeps,
// on a server with another address. It gives the time until all workers are ready, and until the services run
// with their images in the new registry.
func BenchmarkRestore(b *testing.B) {
	l := newBenchLab(b)
	hosts := l.AddHosts(2 + restoreWorkers)
	was, is, workers := hosts[0], hosts[1], hosts[2:]
	p := was.Start("crawlbox", "crawlbox", "manager")
	lab.WaitFor(b, patience, "the manager", func() error { return said(p, "manager is ready") })
	for _, h := range workers {
		h.Start("crawlbox", strings.Fields(was.MustExec("crawlbox", "token"))...)
	}
	allReady := func(h *lab.Host) {
		b.Helper()
		lab.WaitFor(b, patience, "all nodes", func() error {
			states := h.Exec(b.Context(), "docker", "node", "ls", "--format", "{{.Status}}").Stdout
			return want(strings.Count(states, "Ready"), 1+restoreWorkers)
		})
	}
	allReady(was)
	for i := range restoreServices {
		ref := fmt.Sprintf("localhost:8003/s%d:1", i)
		was.Load(artifact.TinyImage(b, ref, 1<<20))
		was.Docker("push", "--quiet", ref)
		was.MustExec("crawlbox", "deploy", ref, "--replicas", "5", "--monitor", "1s")
	}
	was.MustExec("crawlbox", "backup")
	is.WriteFile("/run/key", was.MustExec("crawlbox", "recovery-key"))
	was.PowerOff()
	calm(b)

	begun := time.Now()
	is.Start("crawlbox", "crawlbox", "manager", "--restore", workers[0].IP().String(), "--recovery-key-file",
		"/run/key")
	allReady(is)
	ready := time.Since(begun)
	for i := range restoreServices {
		name := fmt.Sprintf("s%d", i)
		lab.WaitFor(b, patience, "service "+name, func() error {
			return want(is.Exec(b.Context(), "docker", "service", "ls", "--filter", "name="+name, "--format",
				"{{.Replicas}}").Stdout, "5/5\n")
		})
	}
	running := time.Since(begun)
	for i := range restoreServices {
		is.Docker("pull", "--quiet", fmt.Sprintf("localhost:8003/s%d:1", i))
	}
	report(b, "s/all-ready", []time.Duration{ready})
	report(b, "s/services-run", []time.Duration{running})
	if running > mostRestore {
		b.Errorf("the services run after %s", running)
	}
}
