package journal

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/google/renameio/v2"
)

// A rewrite works for workSlice, then rests for restSlice, so that on a busy
// machine it does not keep a processor from those who write.
const (
	workSlice = 500 * time.Microsecond
	restSlice = 500 * time.Microsecond
)

// pacer makes the rests.
type pacer struct {
	ctx  context.Context
	rest time.Time // when the next one is due
}

func (p *pacer) step() error {
	if now := time.Now(); now.After(p.rest) {
		time.Sleep(restSlice)
		p.rest = now.Add(restSlice + workSlice)
	}
	return p.ctx.Err()
}

// writeSnapshot writes the state of source to disk under its final name and
// returns its size in bytes.
func writeSnapshot(ctx context.Context, source *folder, upTo uint64, rewrite Rewriter) (int64, error) {
	path := source.snapshotPath(upTo)
	file, err := renameio.NewPendingFile(path, renameio.WithTempDir(source.dir), renameio.WithPermissions(0o600))
	if err != nil {
		return 0, err
	}
	defer func() { _ = file.Cleanup() }()

	pace := &pacer{ctx: ctx}
	out := &snapshotWriter{pace: pace, file: file}
	err = out.write([]byte(magic))
	if err == nil {
		err = rewrite(func(apply func([]Command) error) error { return source.replay(pace, apply) }, out.emit)
	}
	if err == nil {
		err = out.emit(nil)
	}
	if err != nil {
		return 0, fmt.Errorf("write %s: %w", path, err)
	}
	if err := file.CloseAtomicallyReplace(); err != nil {
		return 0, err
	}
	return out.size, syncDir(source.dir)
}

// replay is load of files that are closed: they have no cut-off end.
func (f *folder) replay(pace *pacer, apply func([]Command) error) error {
	end, err := f.load(func(batch []Command) error {
		if err := pace.step(); err != nil {
			return err
		}
		return apply(batch)
	})
	if err != nil || len(f.segments) == 0 {
		return err
	}
	last := f.segmentPath(f.segments[len(f.segments)-1])
	if size := fileSize(last); size != end {
		return &CorruptError{File: last, Offset: end, Reason: "record is cut off in a closed segment"}
	}
	return nil
}

// snapshotWriter batches records into large writes.
type snapshotWriter struct {
	pace *pacer
	file io.Writer
	buf  []byte
	size int64
}

func (w *snapshotWriter) emit(batch []Command) error {
	if err := w.pace.step(); err != nil {
		return err
	}
	var err error
	if w.buf, err = appendRecord(w.buf, batch); err != nil {
		return err
	}
	if len(w.buf) < 256<<10 && len(batch) > 0 {
		return nil
	}
	err = w.write(w.buf)
	w.buf = w.buf[:0]
	return err
}

func (w *snapshotWriter) write(p []byte) error {
	n, err := w.file.Write(p)
	w.size += int64(n)
	return err
}
