package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/crawlbox/crawlbox/appliance/api"
	"github.com/crawlbox/crawlbox/appliance/lab"
)

// maxMirrorMemory is what a mirror may have under a layer of largeLayer bytes, in MB.
const (
	maxMirrorMemory = 64
	largeLayer      = 1_000_000_000
)

// BenchmarkMirrorMemory has two workers pull an image whose one layer has 1 GB of
// noise, from localhost:8003: the first alone from the manager, the second from
// the manager and the first. Of all three it gives the memory of crawlbox before
// and at the highest. What counts is RssAnon, the memory that the program has
// asked for: VmHWM has the pages of the program file besides, which the kernel
// takes back when it wants to. The kernel keeps no high-water mark of RssAnon, so
// that is looked at every 10 ms.
func BenchmarkMirrorMemory(b *testing.B) {
	l := newBenchLab(b)
	hosts := l.AddHosts(3)
	manager, names := hosts[0], []string{"manager", "first", "second"}
	agents := []*lab.Proc{manager.Start("crawlbox", "crawlbox", "manager")}
	lab.WaitFor(b, patience, "the manager", func() error { return said(agents[0], "manager is ready") })
	line := strings.Fields(manager.MustExec("crawlbox", "token"))
	for _, h := range hosts[1:] {
		agents = append(agents, h.Start("crawlbox", line...))
	}
	const ref = "localhost:8003/large:1"
	slow(b, manager, "sh", "-c", fmt.Sprintf(
		`cd "$(mktemp -d)" && head -c %d /dev/urandom >noise && tar -c noise | docker import - %s`, largeLayer, ref))
	slow(b, manager, "docker", "push", "--quiet", ref)
	for _, p := range agents {
		settle(b, p)
	}
	before, watches := make([]float64, len(agents)), make([]*memoryWatch, len(agents))
	for i, p := range agents {
		before[i] = memory(b, p, "status", "RssAnon")
		watches[i] = watchMemory(b, p)
	}
	for i, h := range hosts[1:] {
		begun := time.Now()
		slow(b, h, "docker", "pull", "--quiet", ref)
		b.Logf("%s pulled in %s; load %s", names[i+1], time.Since(begun).Round(time.Second), load())
	}
	for i, w := range watches {
		peak := w.stop(b)
		b.ReportMetric(before[i], "MB-anon-before/"+names[i])
		b.ReportMetric(peak, "MB-anon-highest/"+names[i])
		b.ReportMetric(memory(b, agents[i], "status", "VmHWM"), "MB-hwm/"+names[i])
		if peak > maxMirrorMemory {
			b.Errorf("crawlbox on %s has %.1f MB, more than %d", names[i], peak, maxMirrorMemory)
		}
	}
	var status api.Status
	if err := json.Unmarshal([]byte(hosts[2].MustExec("crawlbox", "status", "--json")), &status); err != nil {
		b.Fatal(err)
	}
	from := status.Registry.Traffic
	b.ReportMetric(float64(from.FromManager)/1e6, "MB-from-manager")
	b.ReportMetric(float64(from.FromNodes)/1e6, "MB-from-nodes")
	b.ReportMetric(0, "ns/op")
	if from.FromManager == 0 || from.FromNodes == 0 {
		b.Errorf("the second got %+v, want some from each", from)
	}
}

// slow runs a command that may take minutes.
func slow(b *testing.B, h *lab.Host, command ...string) {
	b.Helper()
	ctx, cancel := context.WithTimeout(b.Context(), 5*time.Minute)
	defer cancel()
	if err := h.Exec(ctx, command...).Err(); err != nil {
		b.Fatalf("%v on %s: %v", command, h.Name(), err)
	}
}

// memoryWatch looks at the memory of a process all the time.
type memoryWatch struct {
	end     chan struct{}
	ended   sync.WaitGroup
	highest float64
	err     error
}

// watchMemory begins to watch, and sets back the kernel's own mark, VmHWM.
func watchMemory(b *testing.B, p *lab.Proc) *memoryWatch {
	b.Helper()
	if err := os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", p.PID()), []byte("5"), 0); err != nil {
		b.Fatal(err)
	}
	w := &memoryWatch{end: make(chan struct{})}
	w.ended.Go(func() {
		tick := time.NewTicker(10 * time.Millisecond)
		defer tick.Stop()
		for w.err == nil {
			select {
			case <-tick.C:
				var now float64
				now, w.err = readMemory(p, "status", "RssAnon")
				w.highest = max(w.highest, now)
			case <-w.end:
				return
			}
		}
	})
	return w
}

// stop ends the watch and returns the highest RssAnon, in MB.
func (w *memoryWatch) stop(b *testing.B) float64 {
	b.Helper()
	close(w.end)
	w.ended.Wait()
	if w.err != nil {
		b.Fatal(w.err)
	}
	return w.highest
}
