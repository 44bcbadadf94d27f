package holder

import (
	"context"
	"errors"
	"os"
	"strconv"
	"sync"
	"time"

	"github.com/crawlbox/crawlbox/appliance/base/bound"
	"github.com/crawlbox/crawlbox/appliance/holder/ask"
	"github.com/crawlbox/crawlbox/appliance/sockowner"
)

const (
	// lookPace is the least time from one look through the processes to the next. After one that takes
	// long it is lookRest times as long: looks have a fifth of a processor at the most.
	lookPace = 20 * time.Millisecond
	lookRest = 4
	// lookBatch is for how many connections one look is, and lookQueue how many may wait for one.
	lookBatch = 512
	lookQueue = 4096
	// findTimeout bounds how long the engine may take to say which container it is.
	findTimeout = 5 * time.Second
)

// errBusy is returned where too many wait already.
var errBusy = errors.New("too many connections are asked for at a time")

// finder finds the containers that connections are of. All that ask at a time are answered by one look
// through this machine's processes.
type finder struct {
	table *table
	look  func([]sockowner.End) ([]sight, processes)

	mu      sync.Mutex
	waiting []*question
	running bool
}

type question struct {
	ctx context.Context
	ask.Connection
	seen chan seen // takes one
}

// seen is what a look saw of a connection.
type seen struct {
	sight
	processes processes
}

// sight is a process that has the other end of a connection.
type sight struct {
	pid int // 0: none in a container
	err error
}

func newFinder(t *table) *finder { return &finder{table: t, look: look} }

// who returns the container that has the other end of a connection, nil where none has.
func (f *finder) who(ctx context.Context, c ask.Connection) (*ask.Holder, error) {
	q := &question{ctx, c, make(chan seen, 1)}
	if !f.enter(q) {
		return nil, errBusy
	}
	var s seen
	select {
	case s = <-q.seen:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if s.err != nil || s.pid == 0 {
		return nil, s.err
	}
	ctx, cancel := context.WithTimeout(ctx, findTimeout)
	defer cancel()
	run, ok, err := f.table.find(ctx, s.processes.of[s.pid].groups, s.processes.isIn)
	if err != nil || !ok {
		return nil, err
	}
	// Its first process lives as long as it: one that began after the connection is another run's.
	if begun, ok := sockowner.Begun(run.pid); !ok || begun > c.Since {
		return nil, nil
	}
	return &ask.Holder{
		Run:     ask.Run{ID: run.ID, Started: run.started.UnixNano()},
		Name:    run.Name,
		Service: run.Service,
		Task:    run.Task,
	}, nil
}

func (f *finder) enter(q *question) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.waiting) >= lookQueue {
		return false
	}
	f.waiting = append(f.waiting, q)
	if !f.running {
		f.running = true
		go f.run()
	}
	return true
}

// run answers until nobody waits, and a while longer: who asks meanwhile waits for the pace.
func (f *finder) run() {
	for {
		batch := f.next()
		if len(batch) == 0 {
			return
		}
		ends := make([]sockowner.End, len(batch))
		for i, q := range batch {
			ends[i] = sockowner.End{Local: q.Remote, Remote: q.Local}
		}
		begun := time.Now()
		sights, all := f.look(ends)
		took := time.Since(begun)
		for i, q := range batch {
			q.seen <- seen{sights[i], all}
		}
		time.Sleep(max(lookPace, lookRest*took))
	}
}

// next returns those that the next look is for. Where there are none, the next who asks starts run again.
func (f *finder) next() (batch []*question) {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := 0
	for ; n < len(f.waiting) && len(batch) < lookBatch; n++ {
		if q := f.waiting[n]; q.ctx.Err() == nil {
			batch = append(batch, q)
		}
	}
	f.waiting = append([]*question(nil), f.waiting[n:]...)
	f.running = len(batch) > 0
	return batch
}

// processes are those of this machine whose groups are named for containers.
type processes struct{ of map[int]process }

type process struct {
	begun  time.Duration
	groups []string // IDs of containers, the outermost first
}

// isIn reports whether a process was seen in a container.
func (p processes) isIn(id string, pid int) bool {
	for _, group := range p.of[pid].groups {
		if group == id {
			return true
		}
	}
	return false
}

// look finds the processes in containers that have ends of connections.
func look(ends []sockowner.End) ([]sight, processes) {
	sights := make([]sight, len(ends))
	all, pids, err := inContainers()
	if err != nil {
		for i := range sights {
			sights[i].err = err
		}
		return sights, all
	}
	for i, o := range sockowner.Among(pids, ends) {
		sights[i].err = o.Err
		// Its number may have become another's while it was looked at.
		if begun, ok := sockowner.Begun(o.PID); o.PID != 0 && ok && begun == all.of[o.PID].begun {
			sights[i].pid = o.PID
		}
	}
	return sights, all
}

func inContainers() (all processes, pids []int, err error) {
	all.of = map[int]process{}
	every, err := sockowner.Processes()
	if err != nil {
		return all, nil, err
	}
	for _, pid := range every {
		begun, ok := sockowner.Begun(pid)
		if !ok {
			continue
		}
		if groups := groupsOf(pid); len(groups) > 0 {
			all.of[pid] = process{begun, groups}
			pids = append(pids, pid)
		}
	}
	return all, pids, nil
}

// maxGroups bounds what is read of the groups of a process, in bytes.
const maxGroups = 64 << 10

func groupsOf(pid int) []string {
	f, err := os.Open("/proc/" + strconv.Itoa(pid) + "/cgroup")
	if err != nil {
		return nil // it has ended
	}
	defer f.Close()
	text, err := bound.ReadAll(f, maxGroups)
	if err != nil {
		return nil
	}
	return containerIDs(string(text))
}

// idLength is that of Docker's IDs of containers, in hexadecimal digits.
const idLength = 64

// containerIDs returns the IDs of containers in the names of the groups that a process is in, see
// cgroups(7), the outermost first. With version 1 there are several hierarchies, of which some may
// not be Docker's. A group is named ID or docker-ID.scope.
func containerIDs(groups string) (ids []string) {
	known := map[string]bool{}
	for begin := 0; begin < len(groups); {
		end := begin
		for end < len(groups) && isHex(groups[end]) {
			end++
		}
		if id := groups[begin:end]; len(id) == idLength && !known[id] {
			known[id] = true
			ids = append(ids, id)
		}
		begin = end + 1
	}
	return ids
}

func isHex(c byte) bool { return '0' <= c && c <= '9' || 'a' <= c && c <= 'f' }
