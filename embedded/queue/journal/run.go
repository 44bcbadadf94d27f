package journal

import (
	"context"
	"errors"
	"time"

	"github.com/crawlbox/crawlbox/appliance/base/disk"
)

// rewritePause is the least time between a failed rewrite and the next try.
const rewritePause = time.Minute

// Run writes what is appended until ctx ends, then syncs the rest and closes
// the directory. Appending has to end before ctx does. It returns the error of the
// last sync, when records are lost.
func (j *Journal) Run(ctx context.Context) error {
	ticker := time.NewTicker(j.opts.SyncInterval)
	defer ticker.Stop()
	_ = j.sync()                 // which makes the reserve; if it cannot, Admit says so
	var rewriting chan rewritten // nil: none under way
	forced := false
	for {
		select {
		case <-ctx.Done():
			if rewriting != nil {
				j.finishRewrite(<-rewriting)
			}
			err := j.sync()
			if len(j.inflight) == 0 {
				err = nil // there may be no room for more, but all is written
			}
			j.reserve.release()
			return errors.Join(err, j.Close())
		case <-ticker.C:
		case <-j.forced:
			forced = true
		case result := <-rewriting:
			rewriting = nil
			j.finishRewrite(result)
		}
		if err := j.sync(); err != nil || rewriting != nil || !(forced || j.outgrown()) {
			continue
		}
		forced = false
		rewriting = j.startRewrite(ctx)
	}
}

// sync puts everything appended so far on disk. What it could not write stays
// in memory for the next call.
func (j *Journal) sync() error {
	j.take()
	return j.write()
}

// take makes everything appended so far what write writes.
func (j *Journal) take() {
	j.mu.Lock()
	defer j.mu.Unlock()
	if len(j.inflight) == 0 {
		j.inflight, j.pending = j.pending, j.inflight
	} else {
		j.inflight, j.pending = append(j.inflight, j.pending...), j.pending[:0]
	}
	j.taken = time.Now()
}

func (j *Journal) write() error {
	if len(j.inflight) == 0 && j.reserve.size > 0 {
		return nil
	}
	err := j.segment.append(j.inflight)
	if disk.IsFull(err) && j.reserve.release() {
		err = j.segment.append(j.inflight)
	}
	if err == nil {
		j.inflight = recycle(j.inflight)
		err = j.keepReserve()
	}
	j.report(err)
	return err
}

// recycle keeps a buffer for the next batch, unless a burst has blown it up.
func recycle(buf []byte) []byte {
	if cap(buf) > 4<<20 {
		return nil
	}
	return buf[:0]
}

func (j *Journal) report(err error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	switch {
	case err != nil && j.failure == nil:
		j.log.Error("the queue cannot write to disk and refuses writes until it can", "file", j.segment.file.Name(),
			"error", err)
	case err == nil && j.failure != nil:
		j.log.Info("the queue writes to disk again", "file", j.segment.file.Name())
	}
	j.failure = err
	if err == nil {
		j.oldest = time.Time{}
		if len(j.pending) > 0 {
			j.oldest = j.taken
		}
	}
	close(j.changed)
	j.changed = make(chan struct{})
}

func (j *Journal) outgrown() bool {
	written := j.closedBytes + j.segment.synced
	return written >= max(j.opts.RewriteSize, j.snapBytes) && time.Now().After(j.retryAfter)
}

// rewritten is the outcome of a rewrite.
type rewritten struct {
	bytes int64
	took  time.Duration
	err   error
}

// startRewrite puts everything up to one moment into the segments so far, and
// writes the state of that moment down in a goroutine. It returns nil on failure.
func (j *Journal) startRewrite(ctx context.Context) chan rewritten {
	upTo := j.segment.number
	j.source.Begin(j.take)
	err := j.write()
	if err == nil {
		err = j.nextSegment(upTo + 1)
	}
	if err != nil {
		j.finishRewrite(rewritten{err: err})
		return nil
	}
	dir, done := j.directory.dir, make(chan rewritten, 1)
	go func() {
		start := time.Now()
		bytes, err := writeSnapshot(ctx, dir, upTo, j.source)
		done <- rewritten{bytes: bytes, took: time.Since(start), err: err}
	}()
	return done
}

func (j *Journal) finishRewrite(r rewritten) {
	j.source.End()
	if errors.Is(r.err, context.Canceled) {
		return
	}
	if r.err != nil {
		j.retryAfter = time.Now().Add(rewritePause)
		j.log.Warn("failed to rewrite the queue's journal; it stays as it is and grows", "retry_in", rewritePause,
			"error", r.err)
		return
	}
	directory, err := scanDirectory(j.directory.dir)
	if err != nil {
		j.log.Warn("failed to delete old files of the queue", "error", err)
	}
	if directory == nil {
		return
	}
	j.log.Debug("rewrote the queue's journal", "bytes", r.bytes, "took", r.took)
	j.directory, j.snapBytes, j.closedBytes = directory, r.bytes, 0
}
