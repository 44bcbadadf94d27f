package peaks

import (
	"math"
	"time"

	"github.com/crawlbox/crawlbox/appliance/fleet"
)

// span is that of an average of processor time, and how long after a look the next one is.
const span = 10 * time.Second

// young are the looks at a container before that, by how long after the last: many runs end sooner.
var young = []time.Duration{time.Second, 2 * time.Second, 3 * time.Second, 4 * time.Second}

// shortest is the least time that an average of processor time is of.
const shortest = time.Second

// use is what a container has used so far, by looks at its cgroup.
type use struct {
	group
	task, service string

	looks  int
	next   time.Time     // look
	most   int64         // as the kernel said at the last look
	memory int64         // the highest so far
	from   time.Time     // when the average of processor time begins
	used   time.Duration // by then
	cpu    float64       // the highest average over a span so far
	so     float64       // that since from, of what has not lasted a span
}

func newUse(g group, task, service string) *use {
	return &use{group: g, task: task, service: service, most: unknown, memory: unknown, cpu: unknown, so: unknown}
}

// saw adds what a look has found.
func (u *use) saw(is reading, now time.Time) {
	u.next = now.Add(span)
	if u.looks < len(young) {
		u.next = now.Add(young[u.looks])
	}
	u.looks++
	u.sawMemory(is)
	u.sawCPU(is, now)
}

func (u *use) sawMemory(is reading) {
	if is.memory >= is.cache {
		u.memory = max(u.memory, is.memory-is.cache)
	}
	if is.most > u.most && is.most >= is.cache { // it was as high since the last look
		u.memory = max(u.memory, is.most-is.cache)
	}
	u.most = max(u.most, is.most)
}

func (u *use) sawCPU(is reading, now time.Time) {
	if is.cpu < 0 {
		return
	}
	took, used := now.Sub(u.from), is.cpu-u.used
	switch {
	case u.from.IsZero(), used < 0: // it is the first, or of a cgroup made anew
		u.from, u.used = now, is.cpu
	case took >= span-tick:
		u.cpu = max(u.cpu, used.Seconds()/took.Seconds())
		u.from, u.used = now, is.cpu
	case took >= shortest && u.cpu < 0:
		u.so = used.Seconds() / took.Seconds()
	}
}

// peak returns what is known of it.
func (u *use) peak() (p fleet.Peak) {
	if u.memory >= 0 {
		p.Memory = new(u.memory)
	}
	cpu := u.cpu
	if cpu < 0 {
		cpu = u.so
	}
	if cpu >= 0 {
		p.CPU = new(math.Round(cpu*1000) / 1000)
	}
	return p
}
