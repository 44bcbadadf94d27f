package logstore

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/crawlbox/crawlbox/appliance/tasklog"
)

// Writer adds to the log of one task. Its methods may be called at the same time.
type Writer struct {
	store *Store
	entry *entry

	mu      sync.Mutex
	f       *os.File
	packer  packer
	pending lines            // that are in no file yet
	after   tasklog.Position // in Docker's log, of what was added
	dropped int              // lines that found no room
	began   time.Time        // the first of pending was added
}

// ErrWritten is returned where another writer has the log, or its task has ended.
var ErrWritten = errors.New("the log is written already")

// Write begins to write the log of a task, where it stopped before.
func (s *Store) Write(t Task) (*Writer, tasklog.Position, error) {
	if !ValidID(t.ID) {
		return nil, tasklog.Position{}, fmt.Errorf("%.64q is no ID of a task", t.ID)
	}
	s.mu.Lock()
	e := s.tasks[t.ID]
	switch {
	case e == nil:
		e = &entry{Task: t}
		e.Changed = s.change()
		s.tasks[t.ID] = e
	case e.writer != nil || !e.Ended.IsZero():
		s.mu.Unlock()
		return nil, tasklog.Position{}, ErrWritten
	}
	w := &Writer{store: s, entry: e}
	e.writer = w
	s.mu.Unlock()
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := w.open(); err != nil {
		w.close()
		return nil, tasklog.Position{}, err
	}
	return w, w.after, nil
}

// open opens the last file of the task, or makes the first, and finds where it stopped.
func (w *Writer) open() (err error) {
	files := w.files()
	if len(files) == 0 {
		return w.next(1)
	}
	last := files[len(files)-1]
	if w.f, err = os.OpenFile(w.store.path(w.entry.ID, last.number), os.O_RDWR, 0o600); err != nil {
		return err
	}
	if last.raw > last.size {
		if err := w.f.Truncate(last.size); err != nil {
			return err
		}
		w.grown(last.size - last.raw)
	}
	for _, f := range slices.Backward(files) {
		found, err := w.position(f)
		if found || err != nil {
			return err
		}
	}
	return nil
}

// position finds where a file stopped, if it has lines.
func (w *Writer) position(of file) (found bool, err error) {
	f, err := os.Open(w.store.path(w.entry.ID, of.number))
	if err != nil {
		return false, err
	}
	defer f.Close()
	walk(f, of.size, func(_ int64, h head) error {
		if h.kind == kindLines {
			found, w.after = true, h.after
		}
		return nil
	})
	return found, nil
}

func (w *Writer) files() []file {
	w.store.mu.Lock()
	defer w.store.mu.Unlock()
	return slices.Clone(w.entry.files)
}

// next begins another file. What is known of the task comes first.
func (w *Writer) next(number int) (err error) {
	block, err := w.packer.packTask(w.task())
	if err != nil {
		return err
	}
	if err := w.store.grow(w.entry, onDisk(int64(len(block)))); err != nil {
		return err
	}
	f, err := os.OpenFile(w.store.path(w.entry.ID, number), os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	if _, err := f.Write(block); err != nil {
		return errors.Join(err, f.Close(), os.Remove(f.Name()))
	}
	if w.f != nil {
		_ = w.f.Close() // it is written
	}
	w.f = f
	w.store.mu.Lock()
	defer w.store.mu.Unlock()
	size := int64(len(block))
	w.entry.files = append(w.entry.files, file{number: number, size: size, raw: size})
	w.store.used += onDisk(size)
	return nil
}

func (w *Writer) task() Task {
	w.store.mu.Lock()
	defer w.store.mu.Unlock()
	return w.entry.Task
}

// Add adds a line. after is where it ends in Docker's log.
func (w *Writer) Add(line tasklog.Line, after tasklog.Position) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.pending.lines == 0 {
		w.began = w.store.now()
	}
	w.pending.add(line, after)
	w.after = after
	if len(w.pending.raw) < blockLen {
		return nil
	}
	return w.flush()
}

// Say adds a word of crawlbox about the log, at the time of the last line.
func (w *Writer) Say(text string, at time.Time) error {
	w.mu.Lock()
	after := w.after
	w.mu.Unlock()
	return w.Add(tasklog.Line{Time: cmp.Or(at, w.store.now().UTC()), Stream: Word, Text: text}, after)
}

// Flush writes what was added at least so long ago.
func (w *Writer) Flush(older time.Duration) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.pending.lines == 0 || w.store.now().Sub(w.began) < older {
		return nil
	}
	return w.flush()
}

// flush writes pending. What finds no room is dropped, and that is said once there is some.
func (w *Writer) flush() error {
	if w.pending.lines == 0 {
		return nil
	}
	if w.dropped > 0 {
		text := fmt.Sprintf("%d lines before this were dropped: there was no room on the disk", w.dropped)
		w.pending.add(tasklog.Line{Time: w.pending.last, Stream: Word, Text: text}, w.pending.after)
	}
	err := w.append(w.packer.pack(w.pending.head, w.pending.raw), func(t *Task) {})
	if err != nil {
		n := w.pending.lines
		if w.dropped > 0 {
			n-- // the word
		}
		w.dropped += n
	} else {
		w.dropped = 0
	}
	raw := w.pending.raw[:0]
	if cap(raw) > 2*blockLen {
		raw = nil
	}
	w.pending = lines{raw: raw}
	if err != nil {
		return err
	}
	files := w.files()
	if last := files[len(files)-1]; last.size > w.store.fileLen() {
		return w.next(last.number + 1)
	}
	return nil
}

// append writes a block behind what there is.
func (w *Writer) append(block []byte, change func(*Task)) error {
	files := w.files()
	if w.f == nil || len(files) == 0 {
		return ErrFull
	}
	at := files[len(files)-1].size
	by := int64(len(block))
	if err := w.store.grow(w.entry, onDisk(at+by)-onDisk(at)); err != nil {
		return err
	}
	if _, err := w.f.WriteAt(block, at); err != nil {
		return errors.Join(err, w.f.Truncate(at))
	}
	w.grown(by)
	w.store.mu.Lock()
	defer w.store.mu.Unlock()
	change(&w.entry.Task)
	w.entry.Changed = w.store.change()
	return nil
}

func (w *Writer) grown(by int64) {
	w.store.mu.Lock()
	defer w.store.mu.Unlock()
	last := &w.entry.files[len(w.entry.files)-1]
	before := onDisk(last.raw)
	if by > 0 {
		last.size += by
	}
	last.raw = last.size
	w.store.used += onDisk(last.raw) - before
}

// End writes what is left and how the task ended. No more can be added.
func (w *Writer) End(ended time.Time, code int, failed bool) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	err := w.flush()
	t := w.task()
	t.Ended, t.ExitCode, t.Failed, t.Changed = ended, code, failed, w.store.now().UnixNano()
	block, packErr := w.packer.packTask(t)
	if err = errors.Join(err, packErr); packErr == nil {
		err = errors.Join(err, w.append(block, func(now *Task) { *now = t }))
	}
	w.close()
	return err
}

// Close writes what is left. The log can be written on later.
func (w *Writer) Close() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	err := w.flush()
	w.close()
	return err
}

func (w *Writer) close() {
	if w.f != nil {
		_ = w.f.Close() // it is written
		w.f = nil
	}
	w.store.mu.Lock()
	defer w.store.mu.Unlock()
	w.entry.writer = nil
	if len(w.entry.files) == 0 {
		delete(w.store.tasks, w.entry.ID)
	}
}
