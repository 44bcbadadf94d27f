package mirror

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/crawlbox/crawlbox/embedded/mirror/cache"
)

// errNotKept ends a download whose blob has no room on the disk. Its readers go
// on by themselves.
var errNotKept = errors.New("no room in the cache")

// download is a blob on its way into the cache. It is filled by one goroutine
// and read by any number. It knows nothing of where the bytes come from.
//
//	begun ── size known ── bytes … ── digest right, kept
//	   └───────────┴──────────┴────── failed
type download struct {
	key    cache.Key
	repo   string // through which it comes
	linger time.Duration
	cancel context.CancelFunc

	mu      sync.Mutex
	changed chan struct{} // closed and made anew whenever something below changes
	file    *os.File      // nil until the size is known, and when nothing is kept
	size    int64         // -1: not known yet
	avail   int64         // bytes that may be read
	err     error         // why it failed
	ended   bool
	kept    *cache.Entry
	readers int
	idle    *time.Timer // runs while nobody reads
	closed  bool
}

func newDownload(k cache.Key, repo string, linger time.Duration, cancel context.CancelFunc) *download {
	d := &download{
		key:     k,
		repo:    repo,
		linger:  linger,
		cancel:  cancel,
		changed: make(chan struct{}),
		size:    -1,
	}
	d.idle = time.AfterFunc(linger, cancel)
	return d
}

// update changes the state and wakes all that wait.
func (d *download) update(change func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	change()
	close(d.changed)
	d.changed = make(chan struct{})
}

// stream fills the download from one source, from start to end.
func (d *download) stream(src *resumer, into *sink) error {
	if err := src.start(); err != nil {
		return err
	}
	defer src.Close()
	file, err := into.Make(src.size)
	if err != nil {
		return err
	}
	if err := d.copy(file, &verified{Reader: src, verifier: d.key.Digest.Verifier(), left: src.size}); err != nil {
		return err
	}
	return into.Keep()
}

func (d *download) copy(file io.WriterAt, src io.Reader) error {
	buf := make([]byte, cache.Chunk)
	for off := int64(0); ; {
		n, err := src.Read(buf)
		if n > 0 {
			if _, werr := file.WriteAt(buf[:n], off); werr != nil {
				return fmt.Errorf("%w: %w", errNotKept, werr)
			}
			off += int64(n)
			d.grown(off)
		}
		//lint:ignore errorlint a reader returns io.EOF as it is; one that is wrapped is a failure
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// grown says how much can be read.
func (d *download) grown(readable int64) { d.update(func() { d.avail = readable }) }

// end announces how it went. Readers may still read what there is.
func (d *download) end(err error, c *cache.Cache) {
	d.update(func() { d.err, d.ended = err, true })
	d.mu.Lock()
	defer d.mu.Unlock()
	d.closeIfUnused(c)
}

// attach adds a reader; false if the download is over and put away.
func (d *download) attach() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return false
	}
	d.readers++
	d.idle.Stop()
	return true
}

func (d *download) detach(c *cache.Cache) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.readers--
	if d.readers == 0 && !d.ended {
		d.idle.Reset(d.linger)
	}
	d.closeIfUnused(c)
}

// closeIfUnused lets go of the file once it is over and nobody reads.
func (d *download) closeIfUnused(c *cache.Cache) {
	if !d.ended || d.readers > 0 || d.closed {
		return
	}
	d.closed = true
	d.idle.Stop()
	d.cancel()
	if d.file != nil {
		d.file.Close()
	}
	if d.kept != nil {
		c.Release(d.kept)
	}
}

// wait returns the size once it is known.
func (d *download) wait(ctx context.Context) (int64, error) {
	for {
		d.mu.Lock()
		size, err, changed := d.size, d.err, d.changed
		d.mu.Unlock()
		if size >= 0 {
			return size, nil
		}
		if err != nil {
			return 0, err
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
}

// readAt reads at least one byte at off, waiting for it if need be.
func (d *download) readAt(ctx context.Context, p []byte, off int64) (int, error) {
	for {
		d.mu.Lock()
		file, avail, size, err, changed := d.file, d.avail, d.size, d.err, d.changed
		d.mu.Unlock()
		switch {
		case off < avail:
			return file.ReadAt(p[:min(int64(len(p)), avail-off)], off)
		case off >= size && avail == size:
			return 0, io.EOF
		case err != nil:
			return 0, err
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
}

// prefix returns the bytes before off, if they are there.
func (d *download) prefix(off int64) (io.Reader, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if off == 0 {
		return io.LimitReader(nil, 0), true
	}
	if d.file == nil || d.avail < off {
		return nil, false
	}
	return io.NewSectionReader(d.file, 0, off), true
}
