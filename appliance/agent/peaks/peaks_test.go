package peaks

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/crawlbox/crawlbox/appliance/fleet"
	"github.com/crawlbox/crawlbox/appliance/swarm/containers"
)

// engine is a Docker Engine whose containers a test begins and ends.
type engine struct {
	mu    sync.Mutex
	all   map[string]containers.State
	tells func(containers.Event) // nil: nobody follows
	away  chan struct{}          // closed: it no longer tells
}

func newEngine() *engine {
	return &engine{all: map[string]containers.State{}, away: make(chan struct{})}
}

func (e *engine) List(context.Context) (list []containers.State, _ error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, s := range e.all {
		list = append(list, containers.State{Container: s.Container, Running: s.Running})
	}
	return list, nil
}

func (e *engine) State(_ context.Context, id string) (containers.State, bool, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	s, found := e.all[id]
	return s, found, nil
}

func (e *engine) Follow(ctx context.Context, following func() error, fn func(containers.Event)) error {
	e.mu.Lock()
	e.tells = fn
	away := e.away
	e.mu.Unlock()
	if err := following(); err != nil {
		return err
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-away:
		return errors.New("the engine has gone")
	}
}

// begin begins a container of a task, and end ends it.
func (e *engine) begin(id, service, task string, pid int) {
	c := containers.Container{ID: id, Service: service, Task: task}
	e.mu.Lock()
	e.all[id] = containers.State{Container: c, Running: true, PID: pid}
	tells := e.tells
	e.mu.Unlock()
	if tells != nil {
		tells(containers.Event{Kind: containers.Start, Container: c})
	}
}

func (e *engine) end(id string) {
	e.mu.Lock()
	s := e.all[id]
	s.Running = false
	e.all[id] = s
	tells := e.tells
	e.mu.Unlock()
	if tells != nil {
		tells(containers.Event{Kind: containers.Die, Container: s.Container})
	}
}

// restart has the engine tell nothing for a while, and calls meanwhile then.
func (e *engine) restart(meanwhile func()) {
	e.mu.Lock()
	e.tells = nil
	close(e.away)
	e.away = make(chan struct{})
	e.mu.Unlock()
	meanwhile()
}

// containerID returns the ID of a container of a test.
func containerID(n int) string { return fmt.Sprintf("%064x", n) }

// observed runs a watcher in a bubble of time.
func observed(t *testing.T, fn func(*testing.T, *engine, machine, *Watcher)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		e, m := newEngine(), newMachine(t)
		w := newWatcher(e, m.kernel, slog.New(slog.DiscardHandler))
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); w.Run(ctx) }()
		synctest.Wait()
		fn(t, e, m, w)
		cancel()
		<-done
	})
}

// is compares what is known of a task; below 0: that is not known.
func is(t *testing.T, w *Watcher, task string, memory int64, cpu float64) {
	t.Helper()
	p := w.Of([]string{task})[task]
	if memory < 0 != (p.Memory == nil) || memory >= 0 && *p.Memory != memory {
		t.Errorf("%s: memory %v, want %d", task, value(p.Memory), memory)
	}
	if cpu < 0 != (p.CPU == nil) || cpu >= 0 && math.Abs(*p.CPU-cpu) > 0.002 {
		t.Errorf("%s: processors %v, want %g", task, value(p.CPU), cpu)
	}
}

func value[N any](n *N) any {
	if n == nil {
		return "unknown"
	}
	return *n
}

// TestWatcher follows a container of either version from its begin to beyond its end.
func TestWatcher(t *testing.T) {
	t.Parallel()
	for version, set := range map[int]func(m machine, usage, cache, most int64, cpu time.Duration){
		1: func(m machine, usage, cache, most int64, cpu time.Duration) {
			m.v1("/docker/"+id, usage, cache, most, cpu)
			m.process(7, v1List("/docker/"+id))
		},
		2: func(m machine, usage, cache, most int64, cpu time.Duration) {
			m.v2("/docker/"+id, usage, cache, most, cpu)
			m.process(7, "0::/docker/"+id+"\n")
		},
	} {
		t.Run(fmt.Sprint(version), func(t *testing.T) {
			t.Parallel()
			observed(t, func(t *testing.T, e *engine, m machine, w *Watcher) {
				is(t, w, "t1", -1, -1)
				set(m, 50, 10, 60, time.Second)
				e.begin(id, "spider", "t1", 7)
				synctest.Wait()
				is(t, w, "t1", 50, -1) // 60 - 10: it was as high before

				set(m, 400, 300, 400, 3*time.Second) // the files are not its memory
				time.Sleep(4 * time.Second)
				is(t, w, "t1", 100, 2./3) // since a second, at the look after 3
				time.Sleep(7 * time.Second)
				is(t, w, "t1", 100, 0.2)

				set(m, 350, 300, 900, 18*time.Second) // between two looks it was 900
				time.Sleep(span)
				is(t, w, "t1", 600, 1.5)

				set(m, 10, 0, 900, 18*time.Second) // idle
				time.Sleep(2 * span)
				is(t, w, "t1", 600, 1.5)

				if err := os.RemoveAll(m.cgroups); err != nil {
					t.Fatal(err)
				}
				e.end(id)
				is(t, w, "t1", 600, 1.5)
				time.Sleep(time.Minute)
				is(t, w, "t1", 600, 1.5)
			})
		})
	}
}

// TestWatcher_Short: of a container that ends before a look only that is known which the looks before found, and of one
// whose cgroup has gone when it is looked for nothing.
func TestWatcher_Short(t *testing.T) {
	t.Parallel()
	observed(t, func(t *testing.T, e *engine, m machine, w *Watcher) {
		m.v2("/docker/"+id, 50, 0, 60, time.Second)
		m.process(7, "0::/docker/"+id+"\n")
		e.begin(id, "spider", "t1", 7)
		synctest.Wait()
		e.end(id)
		is(t, w, "t1", 60, -1)

		e.begin(containerID(2), "spider", "t2", 8)
		synctest.Wait()
		e.end(containerID(2))
		is(t, w, "t2", -1, -1)

		m.process(9, "0::/docker/"+id+"\n") // the number is that of another container now
		e.begin(containerID(3), "spider", "t3", 9)
		synctest.Wait()
		is(t, w, "t3", -1, -1)

		e.begin(containerID(4), "", "", 7) // no task
		synctest.Wait()
		if len(w.Of([]string{"", "t1", "t4"})) != 1 {
			t.Errorf("known are %v", w.Of([]string{"", "t1", "t4"}))
		}
	})
}

// TestWatcher_Restarts: an engine that was away, and a crawlbox that was, make no difference to what runs.
func TestWatcher_Restarts(t *testing.T) {
	t.Parallel()
	observed(t, func(t *testing.T, e *engine, m machine, w *Watcher) {
		for n := range 3 {
			dir := "/docker/" + containerID(n)
			m.v2(dir, 50, 0, 60, time.Second)
			m.process(n+1, "0::"+dir+"\n")
		}
		e.begin(containerID(0), "spider", "t0", 1)
		e.begin(containerID(1), "spider", "t1", 2)
		synctest.Wait()
		e.restart(func() {
			e.end(containerID(0)) // which nobody hears
			e.begin(containerID(2), "spider", "t2", 3)
			m.v2("/docker/"+containerID(1), 70, 0, 80, time.Second)
			if err := os.RemoveAll(filepath.Join(m.cgroups, "docker", containerID(0))); err != nil {
				t.Fatal(err)
			}
		})
		time.Sleep(2 * span)
		for task, memory := range map[string]int64{"t0": 60, "t1": 80, "t2": 60} {
			p := w.Of([]string{task})[task]
			if p.Memory == nil || *p.Memory != memory {
				t.Errorf("%s: %v, want %d", task, value(p.Memory), memory)
			}
		}
		if len(w.running) != 2 {
			t.Errorf("%d run", len(w.running))
		}

		// What has begun anew knows the highest of memory by the kernel, and of what has ended nothing.
		other := newWatcher(e, m.kernel, slog.New(slog.DiscardHandler))
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); other.Run(ctx) }()
		synctest.Wait()
		is(t, other, "t1", 80, -1)
		is(t, other, "t0", -1, -1)
		cancel()
		<-done
	})
}

// TestWatcher_Bounds: a service whose tasks end again and again costs others nothing, and many services as much as is
// said.
func TestWatcher_Bounds(t *testing.T) {
	t.Parallel()
	var e ended
	now := time.Now()
	end := func(service string, n int) {
		u := newUse(group{}, fmt.Sprint(service, "-", n), service)
		u.memory = int64(n)
		e.add(u, now.Add(time.Duration(n)))
	}
	known := func() (tasks []string) {
		e.each(func(task string, _ fleet.Peak) { tasks = append(tasks, task) })
		return tasks
	}
	end("run", 0)
	for n := range 10_000 {
		end("loop", n)
	}
	if all := known(); len(all) != keptOfService+1 || e.count != len(all) || !slices.Contains(all, "run-0") ||
		!slices.Contains(all, "loop-9999") || slices.Contains(all, "loop-5000") {
		t.Errorf("%d are known, %d counted", len(all), e.count)
	}
	for n := range 5000 {
		end(fmt.Sprint("service", n), 20_000+n)
	}
	if all := known(); len(all) != keptOfAll || e.count != keptOfAll || slices.Contains(all, "run-0") ||
		!slices.Contains(all, "service4999-24999") {
		t.Errorf("%d are known, %d counted", len(all), e.count)
	}
	e.forget(now.Add(keptFor + time.Hour))
	if all := known(); len(all) != 0 || e.count != 0 || len(e.of) != 0 {
		t.Errorf("%d are known, %d counted of %d services", len(all), e.count, len(e.of))
	}

	observed(t, func(t *testing.T, d *engine, m machine, w *Watcher) {
		w.most = 10
		for n := range w.most + 5 {
			dir := "/docker/" + containerID(n)
			m.v2(dir, 50, 0, 60, time.Second)
			m.process(n+1, "0::"+dir+"\n")
			d.begin(containerID(n), "spider", fmt.Sprint("t", n), n+1)
		}
		synctest.Wait()
		if len(w.running) != w.most {
			t.Errorf("%d are looked at", len(w.running))
		}
	})
}

func TestPlausible(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		memory     int64
		cpu        float64
		know, also bool
	}{
		{0, 0, true, true}, {1 << 40, 128, true, true}, {-1, -0.1, false, false}, {math.MaxInt64, 1e300, false, false},
		{1, math.NaN(), true, false},
	} {
		p := plausible(fleet.Peak{Memory: new(c.memory), CPU: new(c.cpu)})
		if (p.Memory != nil) != c.know || (p.CPU != nil) != c.also {
			t.Errorf("%d, %g: %v, %v", c.memory, c.cpu, value(p.Memory), value(p.CPU))
		}
	}
	if p := plausible(fleet.Peak{}); p.Memory != nil || p.CPU != nil {
		t.Errorf("of nothing: %+v", p)
	}
}

// TestKernel reads this machine's own cgroups, whatever their version: that of this test as if it were a container.
func TestKernel(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		t.Fatal(err)
	}
	m := newMachine(t)
	m.cgroups = "/sys/fs/cgroup"
	var list []string
	for line := range strings.Lines(string(text)) {
		dir := line[strings.LastIndexByte(line, ':')+1:]
		list = append(list, strings.TrimSuffix(line, dir)+filepath.Join(strings.TrimSpace(dir), id)+"\n")
	}
	m.process(1, strings.Join(list, ""))
	g, found := m.find(1, id)
	if !found {
		t.Fatalf("nothing found in %q", text)
	}
	g.memory, g.cpu = filepath.Dir(g.memory), filepath.Dir(g.cpu) // such a container is not there
	is, err := g.read()
	if err != nil || is.memory <= 0 && is.cpu <= 0 {
		t.Errorf("%+v of %+v, %v", is, g, err)
	}
	t.Logf("version %d: %+v", g.version, is)
}

// BenchmarkLook measures a look at 100 containers, which comes every 10 seconds, in this machine's own cgroups.
func BenchmarkLook(b *testing.B) {
	m := newMachine(b)
	text, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		b.Fatal(err)
	}
	var of group
	for _, controller := range []string{"memory", "cpuacct"} { // version 1
		for line := range strings.Lines(string(text)) {
			number, dir := line[:strings.LastIndexByte(line, ':')], line[strings.LastIndexByte(line, ':')+1:]
			if strings.Contains(number, controller) {
				of.version = 1
				at := filepath.Join("/sys/fs/cgroup", controller, strings.TrimSpace(dir))
				if controller == "memory" {
					of.memory = at
				} else {
					of.cpu = at
				}
			}
		}
	}
	if of.version == 0 {
		dir := strings.TrimSpace(strings.TrimPrefix(string(text), "0::"))
		of = group{2, filepath.Join("/sys/fs/cgroup", dir), filepath.Join("/sys/fs/cgroup", dir)}
	}
	w := newWatcher(newEngine(), m.kernel, slog.New(slog.DiscardHandler))
	for n := range 100 {
		w.running[containerID(n)] = newUse(of, fmt.Sprint("t", n), "spider")
	}
	b.ReportAllocs()
	for b.Loop() {
		for _, u := range w.running {
			u.next = time.Time{}
		}
		w.look()
	}
	if u := w.running[containerID(0)]; u.memory <= 0 && u.most <= 0 && u.used <= 0 {
		b.Fatalf("nothing is read of %+v", of)
	}
}
