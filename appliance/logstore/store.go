// Package logstore keeps what tasks wrote in files on a node, compressed, within bounds: Docker's own logs of a task
// are gone with its container. A task has one file or more, each of blocks that can be read while the next is written,
// and what a crash cuts off is dropped with its last block. How far Docker's log is kept stands in each block, so that
// none of it is kept twice or missed.
//
// When there is no more room the oldest goes: of a service that has more than its share, else of the node. A task that
// failed counts as four times younger than it is. Of a task that runs the oldest files go, never the one that is
// being written.
package logstore

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/crawlbox/crawlbox/appliance/tasklog"
)

// Word is the stream of what crawlbox says of a log, such as that lines of it were dropped.
const Word = "crawlbox"

// Task is one whose log is kept.
type Task struct {
	ID        string    `json:"id"`
	Service   string    `json:"service"` // by name; that of a run is its ID
	Name      string    `json:"name"`    // such as spider.3
	Container string    `json:"container"`
	Node      string    `json:"node"`              // where it ran, by name
	NodeID    string    `json:"node_id,omitempty"` // of Swarm; where a manager keeps it
	Began     time.Time `json:"began,omitzero"`
	Ended     time.Time `json:"ended,omitzero"` // zero: it has not
	ExitCode  int       `json:"exit_code"`
	Failed    bool      `json:"failed,omitempty"`
	// Changed is when more of it was kept last, by the clock of its node; no two have the same.
	Changed int64 `json:"changed"`
}

const (
	// maxTasks bounds the tasks of which there are logs.
	maxTasks = 20_000
	// failedWeight is how much younger a task counts that failed.
	failedWeight = 4
	// groups is in how many parts the room is divided: a service gets one, and so does a node of those whose ends of
	// logs a manager keeps.
	groups = 5
	// minFile and maxFile bound the length at which a file is full, which is a hundredth of the room.
	minFile = 256 << 10
	maxFile = 16 << 20
	// cluster is what files take on a disk, in steps.
	cluster = 4 << 10
)

// ErrFull is returned where nothing more can go.
var ErrFull = errors.New("there is no room for more logs")

// Store holds the logs of a node's tasks. Its methods may be called at the same time.
type Store struct {
	dir string
	log *slog.Logger
	now func() time.Time

	mu     sync.Mutex
	room   int64 // bytes
	used   int64
	tasks  map[string]*entry // by ID
	newest int64             // of Task.Changed
}

// entry is a task in the store.
type entry struct {
	Task
	files  []file // the oldest first
	writer *Writer
}

// file is one of the files of a task.
type file struct {
	number int
	size   int64 // that can be read
	raw    int64 // that it has, with what a crash left
}

// Open opens the logs in a directory, which it makes, with room for so many bytes.
func Open(dir string, room int64, log *slog.Logger) (*Store, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	found, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	s := &Store{dir: dir, log: log, now: time.Now, room: room, tasks: map[string]*entry{}}
	for _, f := range found { // by name, so the oldest of a task first
		id, number, ok := parseName(f.Name())
		info, err := f.Info()
		if err != nil || !info.Mode().IsRegular() {
			continue
		}
		if !ok || !s.load(id, number, info.Size()) {
			log.Warn("removing a file of logs that can't be read", "file", f.Name())
			_ = os.Remove(filepath.Join(dir, f.Name())) // it is tried again
		}
	}
	for _, e := range s.tasks {
		s.finish(e)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.shrink(0)
	return s, nil
}

// None returns a store without room.
func None() *Store {
	return &Store{log: slog.New(slog.DiscardHandler), now: time.Now, tasks: map[string]*entry{}}
}

// SetRoom says how many bytes there is room for from now on.
func (s *Store) SetRoom(room int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.room = room
	s.shrink(0)
}

// Used returns how many bytes the logs take, and the room that they have.
func (s *Store) Used() (used, room int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.used, s.room
}

// ValidID reports whether a task can have this ID.
func ValidID(id string) bool {
	return id != "" && len(id) <= 64 && strings.Trim(id, "0123456789abcdefghijklmnopqrstuvwxyz") == ""
}

func parseName(name string) (id string, number int, ok bool) {
	id, text, _ := strings.Cut(name, ".")
	number, err := strconv.Atoi(text)
	return id, number, err == nil && ValidID(id) && number > 0 && name == nameOf(id, number)
}

func nameOf(id string, number int) string { return fmt.Sprintf("%s.%06d", id, number) }

func (s *Store) path(id string, number int) string { return filepath.Join(s.dir, nameOf(id, number)) }

// load takes a file in, and reports whether it begins as one has to.
func (s *Store) load(id string, number int, size int64) bool {
	f, err := os.Open(s.path(id, number))
	if err != nil {
		return false
	}
	defer f.Close()
	h, err := readHead(f, 0, size)
	if err != nil {
		return false
	}
	t, err := readTask(f, 0, h)
	if err != nil || t.ID != id {
		return false
	}
	e := s.tasks[id]
	if e == nil {
		e = &entry{}
		s.tasks[id] = e
	}
	e.Task = t
	e.files = append(e.files, file{number: number, size: size, raw: size})
	s.used += onDisk(size)
	return true
}

// finish finds where the last file of a task ends, and what it says last.
func (s *Store) finish(e *entry) {
	last := &e.files[len(e.files)-1]
	f, err := os.Open(s.path(e.ID, last.number))
	if err != nil {
		last.size = 0
		return
	}
	defer f.Close()
	last.size = walk(f, last.raw, func(at int64, h head) error {
		switch {
		case h.kind == kindTask:
			t, err := readTask(f, at, h)
			if err != nil || t.ID != e.ID {
				return errDamaged
			}
			e.Task = t
		case at+headLen+int64(h.packed) == last.raw: // the one that may be cut
			if _, err := readRaw(f, at, h); err != nil {
				return err
			}
		}
		return nil
	})
	s.newest = max(s.newest, e.Changed)
}

// walk calls fn with each block of a file, and returns where the last good one ends.
func walk(f io.ReaderAt, size int64, fn func(at int64, h head) error) (end int64) {
	for end < size {
		h, err := readHead(f, end, size)
		if err != nil || fn(end, h) != nil {
			break
		}
		end += headLen + int64(h.packed)
	}
	return end
}

// onDisk returns what a file takes.
func onDisk(size int64) int64 { return (size + cluster - 1) / cluster * cluster }

// fileLen is when a file is full.
func (s *Store) fileLen() int64 { return min(max(s.room/100, minFile), maxFile) }

// grow makes room for what a task's last file grows by.
func (s *Store) grow(e *entry, by int64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	ofService := func(other *entry) bool { return other.Service == e.Service }
	if !s.shrinkShare(ofService, by) || !s.shrink(by) {
		return ErrFull
	}
	return nil
}

// shrinkShare makes room in the share of those that count.
func (s *Store) shrinkShare(counts func(*entry) bool, by int64) bool {
	used, share := int64(0), s.room/groups
	for _, e := range s.tasks {
		if counts(e) {
			used += e.size()
		}
	}
	for used+by > share {
		freed := s.drop(counts)
		if freed == 0 {
			return false
		}
		used -= freed
	}
	return true
}

// shrink makes room, a little more than what is needed.
func (s *Store) shrink(by int64) bool {
	if s.used+by <= s.room && len(s.tasks) <= maxTasks {
		return true
	}
	for s.used+by > s.room-s.room/100 || len(s.tasks) > maxTasks {
		if s.drop(func(*entry) bool { return true }) == 0 {
			break
		}
	}
	return s.used+by <= s.room
}

func (e *entry) size() (n int64) {
	for _, f := range e.files {
		n += onDisk(f.raw)
	}
	return n
}

// drop drops the oldest task of those that count which has ended, or else the oldest file of one that has not. It
// returns how many bytes are free then; 0: nothing can go.
func (s *Store) drop(counts func(*entry) bool) (freed int64) {
	var oldest, longest *entry
	now := s.now()
	for _, e := range s.tasks {
		switch {
		case !counts(e):
		case e.writer == nil && (oldest == nil || age(e.Task, now) > age(oldest.Task, now)):
			oldest = e
		case e.writer != nil && len(e.files) > 1 && (longest == nil || len(e.files) > len(longest.files)):
			longest = e
		}
	}
	switch {
	case oldest != nil:
		return s.remove(oldest, len(oldest.files))
	case longest != nil:
		return s.remove(longest, 1)
	}
	return 0
}

// age returns how old a task counts.
func age(t Task, now time.Time) time.Duration {
	d := now.Sub(cmp.Or(t.Ended, moment(t.Changed)))
	if t.Failed {
		d /= failedWeight
	}
	return d
}

// remove removes the first files of a task.
func (s *Store) remove(e *entry, n int) (freed int64) {
	for _, f := range e.files[:n] {
		if err := os.Remove(s.path(e.ID, f.number)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			s.log.Warn("failed to remove old logs", "error", err)
		}
		freed += onDisk(f.raw)
	}
	if e.files = slices.Clone(e.files[n:]); len(e.files) == 0 {
		delete(s.tasks, e.ID)
	}
	s.used -= freed
	return freed
}

// Tasks returns the tasks that are meant, the newest first.
func (s *Store) Tasks(means func(Task) bool) (list []Task) {
	s.mu.Lock()
	all := slices.Collect(maps.Values(s.tasks))
	for _, e := range all {
		if means(e.Task) {
			list = append(list, e.Task)
		}
	}
	s.mu.Unlock()
	slices.SortFunc(list, func(a, b Task) int {
		return cmp.Or(b.Began.Compare(a.Began), cmp.Compare(a.ID, b.ID))
	})
	return list
}

// Get returns a task of which there is a log.
func (s *Store) Get(id string) (Task, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.tasks[id]
	if e == nil {
		return Task{}, false
	}
	return e.Task, true
}

// change returns the time of a change.
func (s *Store) change() int64 {
	s.newest = max(s.newest+1, s.now().UnixNano())
	return s.newest
}

// Put keeps a task with these lines and no others, in the place of what there was. Where there is no room for it in the
// share of its node, older ones of that go: what one node says takes no room of what others did.
func (s *Store) Put(t Task, list []tasklog.Line) error {
	if !ValidID(t.ID) {
		return fmt.Errorf("%.64q is no ID of a task", t.ID)
	}
	var p packer
	text, err := p.packTask(t)
	if err != nil {
		return err
	}
	text = slices.Clone(text)
	var b lines
	flush := func() {
		if b.lines > 0 {
			text = append(text, p.pack(b.head, b.raw)...)
			b = lines{}
		}
	}
	for _, line := range list {
		if b.add(line, tasklog.Position{}); len(b.raw) >= blockLen {
			flush()
		}
	}
	flush()
	s.mu.Lock()
	defer s.mu.Unlock()
	size := int64(len(text))
	if e := s.tasks[t.ID]; e != nil {
		if e.writer != nil {
			return fmt.Errorf("the log of task %s is being written", t.ID)
		}
		s.remove(e, len(e.files))
	}
	ofNode := func(e *entry) bool { return e.NodeID == t.NodeID }
	if !s.shrinkShare(ofNode, onDisk(size)) || !s.shrink(onDisk(size)) {
		return ErrFull
	}
	path := s.path(t.ID, 1)
	if err := os.WriteFile(path+"~", text, 0o600); err != nil {
		_ = os.Remove(path + "~")
		return err
	}
	if err := os.Rename(path+"~", path); err != nil {
		return err
	}
	s.tasks[t.ID] = &entry{Task: t, files: []file{{number: 1, size: size, raw: size}}}
	s.used += onDisk(size)
	s.newest = max(s.newest, t.Changed)
	return nil
}
