package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/crawlbox/crawlbox/appliance/lab"
	"github.com/crawlbox/crawlbox/appliance/lab/artifact"
)

// The benchmarks measure what a user waits for and what a node costs, on hosts
// of the lab, and beside it in the same run what the same takes by hand:
//
//	ManagerStart   from the command on a fresh engine until the manager is ready
//	WorkerJoin     from the command until Swarm lists the node as ready
//	IdleMemory     of a manager with a queue and of a worker, settled
//	MirrorMemory   of crawlbox while a layer of 1 GB is pulled
//	Scale          50 to 500 containers on 50 hosts, see bench_scale_test.go
//	Runs           500 runs at once on 3 hosts, see bench_runs_test.go
//
// Each time is the median of several rounds. The machine carries all hosts at
// once, so a loaded one makes all times longer, those by hand too.

// maxBinary is what the stripped program may have, in bytes. It was 45 MB, of which nothing was left
// when builds got what docker build has: the user's logins by BuildKit's protocol, and its proxies. What
// lets a cluster outlive any of its machines is another one, and leases, Valkey and scaling by the queue are one more.
// Runs, schedules, kept logs and alerts are another megabyte; the rest is for the page and its API.
const maxBinary = 55_000_000

func TestBinary_IsSmall(t *testing.T) {
	t.Parallel()
	file, err := os.Stat(artifact.Binary(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d bytes", file.Size())
	if file.Size() > maxBinary {
		t.Errorf("%s has %d bytes, more than %d", artifact.Binary(t), file.Size(), maxBinary)
	}
}

func BenchmarkManagerStart(b *testing.B) {
	l := newBenchLab(b)
	var crawlbox, byHand []time.Duration
	for range rounds {
		h := l.AddHost()
		begun := time.Now()
		p := h.Start("crawlbox", "crawlbox", "manager")
		lab.WaitFor(b, patience, "the manager", func() error { return said(p, "manager is ready") })
		crawlbox = append(crawlbox, time.Since(begun))
		h.PowerOff()

		h = l.AddHost()
		begun = time.Now()
		h.Docker("swarm", "init", "--advertise-addr", h.IP().String())
		byHand = append(byHand, time.Since(begun))
		h.PowerOff()
	}
	report(b, "s/start", crawlbox)
	report(b, "s/swarm-init-by-hand", byHand)
}

func BenchmarkWorkerJoin(b *testing.B) {
	l := newBenchLab(b)
	manager := l.AddHost()
	p := manager.Start("crawlbox", "crawlbox", "manager")
	lab.WaitFor(b, patience, "the manager", func() error { return said(p, "manager is ready") })
	line := strings.Fields(manager.MustExec("crawlbox", "token"))
	token := manager.Docker("swarm", "join-token", "--quiet", "worker")
	see := newObserver(b, manager)

	var crawlbox, serving, byHand []time.Duration
	for range rounds {
		h := l.AddHost()
		begun := time.Now()
		p := h.Start("crawlbox", line...)
		see.awaitNode(h)
		crawlbox = append(crawlbox, time.Since(begun))
		lab.WaitFor(b, patience, "the worker", func() error { return said(p, "worker is ready") })
		serving = append(serving, time.Since(begun))
		h.PowerOff()

		h = l.AddHost()
		begun = time.Now()
		h.Start("join", "docker", "swarm", "join", "--token", token, manager.At(2377))
		see.awaitNode(h)
		byHand = append(byHand, time.Since(begun))
		h.PowerOff()
	}
	report(b, "s/join", crawlbox)
	report(b, "s/join-and-serve", serving)
	report(b, "s/join-by-hand", byHand)
}

func BenchmarkIdleMemory(b *testing.B) {
	l := newBenchLab(b)
	hosts := l.AddHosts(2)
	hosts[0].WriteFile("/etc/crawlbox/crawlbox.yaml", queueConfig)
	manager := hosts[0].Start("crawlbox", "crawlbox", "manager")
	lab.WaitFor(b, patience, "the manager", func() error { return said(manager, "manager is ready") })
	worker := hosts[1].Start("crawlbox", strings.Fields(hosts[0].MustExec("crawlbox", "token"))...)
	newObserver(b, hosts[0]).awaitNode(hosts[1])
	for name, p := range map[string]*lab.Proc{"manager": manager, "worker": worker} {
		settle(b, p)
		b.ReportMetric(memory(b, p, "status", "VmRSS"), "MB/"+name)
		b.ReportMetric(memory(b, p, "status", "RssAnon"), "MB-anon/"+name)
		b.ReportMetric(memory(b, p, "smaps_rollup", "Pss"), "MB-pss/"+name)
	}
	b.ReportMetric(0, "ns/op")
}

// rounds of each benchmark.
const rounds = 7

func newBenchLab(b *testing.B) *lab.Lab {
	l := newLab(b)
	l.Install(artifact.Binary(b))
	return l
}

func said(p *lab.Proc, text string) error { return want(strings.Contains(p.Logs(), text), true) }

// report gives the median of times as a metric, and the time of the benchmark
// itself, which says nothing, as none.
func report(b *testing.B, unit string, times []time.Duration) {
	b.Logf("%s: %v; load %s", unit, times, load())
	b.ReportMetric(median(times).Seconds(), unit)
	b.ReportMetric(0, "ns/op")
}

func median(times []time.Duration) time.Duration {
	times = slices.Sorted(slices.Values(times))
	return (times[(len(times)-1)/2] + times[len(times)/2]) / 2
}

// load is that of the machine: over 1, 5 and 15 minutes.
func load() string {
	text, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return err.Error()
	}
	return strings.Join(strings.Fields(string(text))[:3], " ")
}

// settle waits until the memory of a process has stayed the same for ten seconds.
func settle(b *testing.B, p *lab.Proc) {
	var last float64
	var since time.Time
	lab.WaitFor(b, 2*patience, "steady memory", func() error {
		now := memory(b, p, "status", "VmRSS")
		if diff := now - last; diff > 0.3 || diff < -0.3 {
			last, since = now, time.Now()
		}
		if time.Since(since) < 10*time.Second {
			return fmt.Errorf("%.1f MB", now)
		}
		return nil
	})
}

// memory reads a line of a file of a process in /proc, in MB.
func memory(b *testing.B, p *lab.Proc, file, key string) float64 {
	b.Helper()
	mb, err := readMemory(p, file, key)
	if err != nil {
		b.Fatal(err)
	}
	return mb
}

func readMemory(p *lab.Proc, file, key string) (mb float64, err error) {
	return memoryOf(p.PID(), file, key)
}

func memoryOf(pid int, file, key string) (mb float64, err error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", pid, file))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, key+":"); ok {
			kib, err := strconv.ParseFloat(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 64)
			return kib * 1024 / 1e6, err
		}
	}
	return 0, fmt.Errorf("no %s in %s", key, text)
}

// observer sees the swarm in Docker's own API, past the commands measured.
type observer struct {
	b    *testing.B
	http *http.Client
}

func newObserver(b *testing.B, manager *lab.Host) observer {
	return observer{b, manager.HTTPClient("/run/docker.sock")}
}

func (o observer) get(path string, v any) {
	o.b.Helper()
	resp, err := o.http.Get("http://docker" + path)
	if err != nil {
		o.b.Fatal(err)
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(resp.Body).Decode(v); err != nil {
		o.b.Fatalf("docker answers %s to %s: %v", resp.Status, path, err)
	}
}

// onAll runs a command on all hosts, a few at a time.
func (o observer) onAll(hosts []*lab.Host, command ...string) {
	o.b.Helper()
	errs := make([]error, len(hosts))
	few := make(chan struct{}, 4)
	var wg sync.WaitGroup
	for i, h := range hosts {
		wg.Go(func() {
			few <- struct{}{}
			defer func() { <-few }()
			errs[i] = h.Exec(o.b.Context(), command...).Err()
		})
	}
	wg.Wait()
	for i, err := range errs {
		if err != nil {
			o.b.Fatalf("%v on %s: %v", command, hosts[i].Name(), err)
		}
	}
}

// ready are the addresses of the nodes that Swarm lists as ready.
func (o observer) ready() (addrs []string) {
	o.b.Helper()
	var nodes []struct{ Status struct{ State, Addr string } }
	o.get("/nodes", &nodes)
	for _, n := range nodes {
		if n.Status.State == "ready" {
			addrs = append(addrs, n.Status.Addr)
		}
	}
	return addrs
}

func (o observer) awaitNode(h *lab.Host) {
	o.b.Helper()
	lab.WaitFor(o.b, patience, h.Name()+" in Swarm", func() error {
		return want(slices.Contains(o.ready(), h.IP().String()), true)
	})
}
