package journal

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/crawlbox/crawlbox/appliance/base/durable"
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

// writeSnapshot writes the state that source keeps to disk, as that of all
// segments up to a number, and returns its size in bytes.
func writeSnapshot(ctx context.Context, dir string, upTo uint64, source Source) (int64, error) {
	path := numbered(dir, snapshotPrefix, upTo)
	file, err := durable.Create(path, 0o600)
	if err != nil {
		return 0, err
	}
	defer func() { _ = file.Cleanup() }()

	out := &snapshotWriter{pace: &pacer{ctx: ctx}, file: file}
	err = out.write([]byte(magic))
	if err == nil {
		err = source.Each(out.emit)
	}
	if err == nil {
		err = out.emit(nil)
	}
	if err != nil {
		return 0, fmt.Errorf("write %s: %w", path, err)
	}
	return out.size, file.Replace()
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
