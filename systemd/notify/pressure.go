package notify

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"
)

// stalls is how long this process has waited in all for each of the machine's resources. What is not told is 0.
type stalls struct {
	cpu        time.Duration // what its pulse has come late, all together
	memory, io time.Duration // in which the kernel's pressure stall information has its control group wait
}

// since returns for how long of the time since was the process has waited for the resource that it has waited for
// longest, and the name of that.
func (s stalls) since(was stalls) (d time.Duration, resource string) {
	for _, r := range []struct {
		name     string
		now, was time.Duration
	}{{"processors", s.cpu, was.cpu}, {"memory", s.memory, was.memory}, {"disk", s.io, was.io}} {
		if r.now-r.was >= d {
			d, resource = r.now-r.was, r.name
		}
	}
	return d, resource
}

// read returns how long the process whose pulse it is has waited. Where groups have no pressure of their own (cgroup
// v1), those for memory and disk are the whole machine's, in which all that runs on it waits: one that others wait in
// says nothing of this process.
func (p *pulse) read() stalls {
	group := ""
	lines, _ := os.ReadFile("/proc/self/cgroup")
	for line := range strings.Lines(string(lines)) {
		if path, ok := strings.CutPrefix(line, "0::"); ok {
			group = filepath.Join("/sys/fs/cgroup", strings.TrimSpace(path))
		}
	}
	read := func(resource string) time.Duration {
		if text, err := os.ReadFile(filepath.Join(group, resource+".pressure")); err == nil {
			return totalOf(string(text), "some")
		}
		text, _ := os.ReadFile(filepath.Join("/proc/pressure", resource))
		return totalOf(string(text), "full")
	}
	return stalls{p.waited(), read("memory"), read("io")}
}

// totalOf reads how long threads have waited, "some" of them or the "full" number, from a file such as
//
//	some avg10=0.00 avg60=0.00 avg300=0.00 total=12345
//	full avg10=0.00 avg60=0.00 avg300=0.00 total=0
//
// whose total is in µs.
func totalOf(text, kind string) time.Duration {
	for line := range strings.Lines(text) {
		var avg10, avg60, avg300 float64
		var total int64
		if n, _ := fmt.Sscanf(line, kind+" avg10=%f avg60=%f avg300=%f total=%d",
			&avg10, &avg60, &avg300, &total); n == 4 {
			return time.Duration(total) * time.Microsecond
		}
	}
	return 0
}

// A pulse measures how late this process comes to run what is due. That its threads wait says little: those of one that
// is busy on a busy machine wait most of the time, and it answers in milliseconds.
type pulse struct {
	every time.Duration
	due   atomic.Int64 // when it is woken next, in ns
	late  atomic.Int64 // how late it has been woken, in ns, all together
}

func newPulse(every time.Duration) *pulse {
	p := &pulse{every: every}
	p.due.Store(time.Now().Add(every).UnixNano())
	return p
}

// run counts until ctx ends.
func (p *pulse) run(ctx context.Context) {
	for {
		due := time.Now().Add(p.every)
		p.due.Store(due.UnixNano())
		select {
		case <-ctx.Done():
			return
		case <-time.After(p.every):
			p.late.Add(int64(time.Since(due)))
		}
	}
}

// waited is how late it has been woken in all, now included.
func (p *pulse) waited() time.Duration {
	return time.Duration(p.late.Load()) + max(0, time.Since(time.Unix(0, p.due.Load())))
}
