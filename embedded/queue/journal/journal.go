package journal

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"
)

// Source is the store whose commands the journal keeps. A rewrite asks it for
// its state. What it does is done beside the store's work, one rewrite at a time.
type Source interface {
	// Begin calls cut while no Append can run, and keeps the state of that moment
	// until End.
	Begin(cut func())
	// Each emits batches that make up that state. Errors of emit are returned.
	Each(emit func([]Command) error) error
	// End lets go of the state.
	End()
}

// Options tune a journal. The zero value of a field means its default.
type Options struct {
	SyncInterval time.Duration // pause between two syncs; default 200 ms
	MaxLag       time.Duration // age of the oldest unsynced record above which Admit waits; default 700 ms
	MaxPending   int           // bytes of unsynced records above which Admit waits; default 64 MiB
	RewriteSize  int64         // bytes of segments below which nothing is rewritten; default 16 MiB
}

func (o Options) withDefaults() Options {
	if o.SyncInterval <= 0 {
		o.SyncInterval = 200 * time.Millisecond
	}
	if o.MaxLag <= 0 {
		o.MaxLag = 700 * time.Millisecond
	}
	if o.MaxPending <= 0 {
		o.MaxPending = 64 << 20
	}
	if o.RewriteSize <= 0 {
		o.RewriteSize = 16 << 20
	}
	return o
}

// admitTimeout bounds how long a writer waits for a disk that is behind.
const admitTimeout = 5 * time.Second

// Journal is an open directory. Append wants one caller at a time; Admit, Err
// and Rewrite may be called by many. Nothing is written before Run.
type Journal struct {
	opts   Options
	log    *slog.Logger
	source Source
	lock   *os.File
	forced chan struct{} // one waiting request for a rewrite

	// Only Run touches these.
	directory   *directory
	segment     *segment
	reserve     *reserve
	closedBytes int64  // bytes of the segments between the snapshot and the current one
	snapBytes   int64  // bytes of the snapshot
	inflight    []byte // taken from pending, not synced yet
	taken       time.Time
	retryAfter  time.Time

	mu      sync.Mutex
	pending []byte        // appended, not yet taken by the writer
	oldest  time.Time     // when the oldest unsynced record was appended; zero: all synced
	failure error         // why the last sync failed; nil when it did not
	room    int           // bytes of unsynced records that have a place on a full disk
	changed chan struct{} // closed and replaced after every sync
}

// Open locks dir, makes it if need be (mode 0700), and hands everything in it to
// apply. A cut-off last record is dropped with a warning. It returns a
// *CorruptError for other damage, and any error of apply with file and offset.
func Open(dir string, opts Options, log *slog.Logger, source Source, apply func([]Command) error) (*Journal, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the queue's directory: %w", err)
	}
	if err := os.Chmod(dir, 0o700); err != nil {
		return nil, fmt.Errorf("keep others out of the queue's directory: %w", err)
	}
	lock, err := lockDirectory(dir)
	if err != nil {
		return nil, err
	}
	j := &Journal{
		opts:    opts.withDefaults(),
		log:     log,
		source:  source,
		lock:    lock,
		reserve: newReserve(dir),
		forced:  make(chan struct{}, 1),
		changed: make(chan struct{}),
	}
	if err := j.load(dir, apply); err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	return j, nil
}

func (j *Journal) load(dir string, apply func([]Command) error) error {
	directory, err := scanDirectory(dir)
	if err != nil {
		return err
	}
	end, err := directory.load(apply)
	if err != nil {
		return err
	}
	j.directory = directory
	if directory.snapshot > 0 {
		j.snapBytes = fileSize(directory.snapshotPath(directory.snapshot))
	}
	if len(directory.segments) == 0 {
		return j.nextSegment(directory.snapshot + 1)
	}
	last := directory.segments[len(directory.segments)-1]
	path := directory.segmentPath(last)
	if torn := fileSize(path) - end; torn > 0 {
		j.log.Warn("the queue's last record was cut off and is dropped", "file", path, "offset", end, "bytes", torn)
	}
	for _, n := range directory.segments[:len(directory.segments)-1] {
		j.closedBytes += fileSize(directory.segmentPath(n))
	}
	j.segment, err = openSegment(path, last, end)
	return err
}

// keepReserve has room on the disk for what will be accepted until the next sync, while what
// was accepted before is written.
func (j *Journal) keepReserve() error {
	err := j.reserve.keep()
	j.mu.Lock()
	defer j.mu.Unlock()
	j.room = int(j.reserve.size / 2)
	return err
}

func (j *Journal) nextSegment(n uint64) error {
	next, err := createSegment(j.directory.segmentPath(n), n)
	if err != nil {
		return fmt.Errorf("start a new segment: %w", err)
	}
	if j.segment != nil {
		j.closedBytes += j.segment.synced
		j.segment.file.Close()
	}
	j.segment = next
	if len(j.directory.segments) == 0 || j.directory.segments[len(j.directory.segments)-1] != n {
		j.directory.segments = append(j.directory.segments, n)
	}
	return nil
}

// Append adds batch as one record: after a crash all of it is there or nothing.
// It does not wait for the disk.
func (j *Journal) Append(batch []Command) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	pending, err := appendRecord(j.pending, batch)
	if err != nil {
		return err
	}
	j.pending = pending
	if j.oldest.IsZero() {
		j.oldest = time.Now()
	}
	return nil
}

// Admit returns when a write may be made: at once as a rule, after the disk has
// caught up when it is behind. It returns an error when the last sync failed,
// when the disk stays behind for 5 seconds, or when ctx ends.
func (j *Journal) Admit(ctx context.Context) error {
	changed, err := j.admit()
	if changed == nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, admitTimeout)
	defer cancel()
	for changed != nil {
		select {
		case <-changed:
		case <-ctx.Done():
			return errors.New("the disk is too slow to keep up")
		}
		changed, err = j.admit()
	}
	return err
}

// admit returns a channel to wait for when the disk is behind.
func (j *Journal) admit() (<-chan struct{}, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.failure != nil {
		return nil, j.failure
	}
	bound := min(j.opts.MaxPending, j.room)
	if !j.oldest.IsZero() && (time.Since(j.oldest) > j.opts.MaxLag || len(j.pending) > bound) {
		return j.changed, nil
	}
	return nil, nil
}

// Err returns why the last sync failed, nil when it did not.
func (j *Journal) Err() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.failure
}

// Rewrite asks for a rewrite as soon as none is under way.
func (j *Journal) Rewrite() {
	select {
	case j.forced <- struct{}{}:
	default:
	}
}

// Close gives up a journal that Run was never called on.
func (j *Journal) Close() error {
	return errors.Join(j.segment.file.Close(), j.lock.Close())
}

func fileSize(path string) int64 {
	info, err := os.Stat(path)
	if err != nil {
		return 0
	}
	return info.Size()
}
