// Package audit keeps a record of who did what to a node: one JSON object a
// line, with time, event and what belongs to it. Events are tries to join, calls
// of the local API that change something or hand out a secret, and logins at
// the registry.
//
// Part of what is recorded comes from strangers. A value is cut, and cannot
// break out of its line or steer the terminal that shows it. A source that repeats itself
// gets one line for many, so that nobody can push away what others did. Whoever
// records makes sure that it holds no secret.
//
// A record is in the file, though not forced to the disk, when Record returns.
// Where the disk hangs, Record gives up after a moment: a node whose audit log
// cannot be written goes on, and its normal log, which gets every record too,
// says so.
package audit

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"
)

const (
	maxSize  = 10 << 20 // bytes, of each file
	keep     = 4        // files besides the one that is written
	patience = 250 * time.Millisecond
	backlog  = 256 // records that wait for the disk
)

// Log is an audit log. It is safe for concurrent use.
type Log struct {
	log     *slog.Logger
	entries chan entry
	closing chan struct{}
	closed  chan struct{}
	once    sync.Once

	mu     sync.Mutex
	flood  *flood
	failed error // why the last line could not be written; nil: it was
}

// entry is one line on its way to the file.
type entry struct {
	line    []byte
	written chan struct{}
}

// Open opens the file at path for appending, mode 0600, and makes its directory,
// mode 0700, where there is none. The file is renamed to path.1 once it has 10
// MB, and path.4 is the oldest that is kept. Only one process may have it open.
func Open(path string, log *slog.Logger) (*Log, error) {
	f, err := openFile(path, maxSize, keep)
	if err != nil {
		return nil, fmt.Errorf("open audit log: %w", err)
	}
	return start(f, log), nil
}

func start(f *file, log *slog.Logger) *Log {
	l := &Log{
		log:     log,
		entries: make(chan entry, backlog),
		closing: make(chan struct{}),
		closed:  make(chan struct{}),
		flood:   newFlood(),
	}
	go l.run(f)
	return l
}

// Record writes one line: the event, such as "join", and what belongs to it; or it
// counts the event for a line about many. Who caused it is told by the attribute "node",
// "remote" or "from". It never fails, and takes no longer than a quarter of a second.
func (l *Log) Record(event string, attrs ...slog.Attr) {
	event, attrs = clean(event, attrs)
	l.mu.Lock()
	lets := l.flood.allow(event, attrs)
	l.mu.Unlock()
	if lets {
		l.record(event, attrs)
	}
}

// compose makes a line, and has it in the normal log.
func (l *Log) compose(event string, attrs []slog.Attr) []byte {
	l.log.LogAttrs(context.Background(), slog.LevelInfo, event, attrs...)
	return encode(time.Now(), event, attrs)
}

func (l *Log) record(event string, attrs []slog.Attr) {
	e := entry{line: l.compose(event, attrs), written: make(chan struct{})}
	timeout := time.NewTimer(patience)
	defer timeout.Stop()
	select {
	case l.entries <- e:
	case <-l.closed:
		return
	case <-timeout.C:
		l.log.Warn("an audit record is only here: the disk of the audit log hangs", "event", event)
		return
	}
	select {
	case <-e.written:
	case <-l.closed:
	case <-timeout.C:
	}
}

// Problem says why the log is not written, and what to do; empty: it is.
func (l *Log) Problem() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.failed == nil {
		return ""
	}
	return fmt.Sprintf("the audit log can't be written: %s; free room there, or see what is wrong with that disk; "+
		"meanwhile its records are in `journalctl -u crawlbox`", l.failed)
}

func (l *Log) setFailed(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.failed = err
}

// Close writes what waits and closes the file. What is recorded later goes to
// the normal log alone. It waits no longer than a moment for a disk that hangs.
func (l *Log) Close() error {
	l.once.Do(func() { close(l.closing) })
	select {
	case <-l.closed:
		return nil
	case <-time.After(4 * patience):
		return fmt.Errorf("close audit log: its disk does not answer")
	}
}

// run is the only user of the file.
func (l *Log) run(f *file) {
	defer close(l.closed)
	defer f.close()
	failing := false
	write := func(line []byte) {
		err := f.write(line)
		if err != nil && !failing {
			l.log.Warn("failed to write the audit log; its records are only here until it can be written", "error", err)
		}
		if failing != (err != nil) {
			l.setFailed(err)
		}
		failing = err != nil
	}
	summarize := time.NewTicker(summaryEvery)
	defer summarize.Stop()
	for {
		select {
		case e := <-l.entries:
			write(e.line)
			close(e.written)
		case <-summarize.C:
			l.summarize(write)
		case <-l.closing:
			for len(l.entries) > 0 {
				e := <-l.entries
				write(e.line)
				close(e.written)
			}
			l.summarize(write)
			return
		}
	}
}

// summarize writes a line for each event of which some had none.
func (l *Log) summarize(write func(line []byte)) {
	l.mu.Lock()
	list := l.flood.summaries()
	l.mu.Unlock()
	for _, s := range list {
		write(l.compose(s.event, s.attrs))
	}
}
