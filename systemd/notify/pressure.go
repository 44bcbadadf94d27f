package notify

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// stalls is how long this process's control group has waited in all, at least one thread of
// it, for each of the machine's resources: the kernel's pressure stall information. What the
// kernel does not tell is 0.
type stalls struct{ cpu, memory, io time.Duration }

// since returns for how long of the time since was the group has waited for the resource that
// it has waited for longest, and the name of that.
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

// readStalls reads them of the process's own group. Where groups have none of their own (cgroup v1), those for memory
// and disk are the whole machine's, and that for processors is what the process's threads have waited, all together.
func readStalls() stalls {
	group := ""
	lines, _ := os.ReadFile("/proc/self/cgroup")
	for line := range strings.Lines(string(lines)) {
		if path, ok := strings.CutPrefix(line, "0::"); ok {
			group = filepath.Join("/sys/fs/cgroup", strings.TrimSpace(path))
		}
	}
	read := func(resource string) time.Duration {
		text, err := os.ReadFile(filepath.Join(group, resource+".pressure"))
		if err != nil {
			text, _ = os.ReadFile(filepath.Join("/proc/pressure", resource))
		}
		return totalOf(string(text))
	}
	is := stalls{read("cpu"), read("memory"), read("io")}
	if waited := threadsWaited(); group == "" && waited > 0 {
		is.cpu = waited
	}
	return is
}

// threadsWaited is how long the threads of this process have been ready to run and did not, all together; 0 where the
// kernel does not tell.
func threadsWaited() (sum time.Duration) {
	all, _ := filepath.Glob("/proc/self/task/*/schedstat")
	for _, path := range all {
		text, _ := os.ReadFile(path)
		var ran, waited int64 // in ns
		_, _ = fmt.Sscan(string(text), &ran, &waited)
		sum += time.Duration(waited)
	}
	return sum
}

// totalOf reads how long at least one thread has waited, from a file such as
//
//	some avg10=0.00 avg60=0.00 avg300=0.00 total=12345
//	full avg10=0.00 avg60=0.00 avg300=0.00 total=0
//
// whose total is in µs.
func totalOf(text string) time.Duration {
	var avg10, avg60, avg300 float64
	var total int64
	_, _ = fmt.Sscanf(text, "some avg10=%f avg60=%f avg300=%f total=%d", &avg10, &avg60, &avg300, &total)
	return time.Duration(total) * time.Microsecond
}
