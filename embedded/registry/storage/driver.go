package storage

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	storagedriver "github.com/distribution/distribution/v3/registry/storage/driver"
	"github.com/distribution/distribution/v3/registry/storage/driver/filesystem"

	"github.com/crawlbox/crawlbox/appliance/base/durable"
	"github.com/crawlbox/crawlbox/embedded/registry/layout"
)

// checkEvery is how many bytes of an upload may pass between two looks at the
// free space.
const checkEvery = 1 << 20

// Driver is distribution's filesystem driver that also notes when a client was
// last told about a file, and tells the request when the disk is full.
type Driver struct {
	*filesystem.Driver
	Root  string
	Disk  Disk
	Now   func() time.Time
	Touch *sync.RWMutex
}

// Stat is how distribution learns that a blob is there, so it touches it.
func (d *Driver) Stat(ctx context.Context, path string) (storagedriver.FileInfo, error) {
	if !isBlob(path) {
		return d.Driver.Stat(ctx, path)
	}
	d.Touch.RLock()
	defer d.Touch.RUnlock()
	fi, err := d.Driver.Stat(ctx, path)
	if err == nil {
		d.mark(path)
	}
	return fi, err
}

// GetContent touches the links through which a repository has a blob.
func (d *Driver) GetContent(ctx context.Context, path string) ([]byte, error) {
	if !isMembership(path) {
		return d.Driver.GetContent(ctx, path)
	}
	d.Touch.RLock()
	defer d.Touch.RUnlock()
	data, err := d.Driver.GetContent(ctx, path)
	if err == nil {
		d.mark(path)
	}
	return data, err
}

// PutContent replaces that of the filesystem driver, which leaves its temporary
// file behind when the disk is full.
func (d *Driver) PutContent(ctx context.Context, path string, data []byte) error {
	d.Touch.RLock()
	defer d.Touch.RUnlock()
	full := d.fullPath(path)
	err := os.MkdirAll(filepath.Dir(full), 0o700)
	if err == nil {
		err = durable.WriteFile(full, data, 0o600)
	}
	if err == nil {
		d.mark(path)
		return nil
	}
	if err = noteFull(ctx, path, err); isFull(err) && strings.Contains(path, "/hashstates/") {
		// The request fails by its note. With the error distribution would
		// leave the file of the upload open.
		return nil
	}
	return err
}

// Move puts a finished upload in its place.
func (d *Driver) Move(ctx context.Context, from, to string) error {
	d.Touch.RLock()
	defer d.Touch.RUnlock()
	d.mark(from)
	if err := d.Driver.Move(ctx, from, to); err != nil {
		return noteFull(ctx, from, err)
	}
	return durable.SyncDir(filepath.Dir(d.fullPath(to)))
}

// Writer opens an upload.
func (d *Driver) Writer(ctx context.Context, path string, app bool) (storagedriver.FileWriter, error) {
	d.Touch.RLock()
	defer d.Touch.RUnlock()
	w, err := d.Driver.Writer(ctx, path, app)
	if err != nil {
		return nil, noteFull(ctx, path, err)
	}
	return &writer{FileWriter: w, ctx: ctx, disk: d.Disk, path: path}, nil
}

// mark sets the modification time of a file to now. A failure is let pass: a
// read must go on where even that cannot be written, and pushes fail there.
func (d *Driver) mark(path string) {
	now := d.Now()
	_ = os.Chtimes(d.fullPath(path), now, now)
}

func (d *Driver) fullPath(path string) string { return filepath.Join(d.Root, path) }

func isBlob(path string) bool {
	return strings.HasPrefix(path, layout.BlobsPrefix) && strings.HasSuffix(path, "/data")
}

// isMembership tells the links that say "this repository has this blob" from
// those of tags, whose time says when the tag was pushed.
func isMembership(path string) bool {
	return strings.HasSuffix(path, "/link") &&
		(strings.Contains(path, "/_layers/") || strings.Contains(path, "/_manifests/revisions/"))
}

// writer is an upload that looks at the free space as it grows.
type writer struct {
	storagedriver.FileWriter
	ctx       context.Context // of the request; Write and Close get none
	disk      Disk
	path      string
	unchecked int
}

func (w *writer) Write(p []byte) (int, error) {
	w.unchecked += len(p)
	if w.unchecked >= checkEvery {
		w.unchecked = 0
		if err := w.disk.Check(0); err != nil {
			return 0, noteFull(w.ctx, w.path, err)
		}
	}
	n, err := w.FileWriter.Write(p)
	return n, noteFull(w.ctx, w.path, err)
}

func (w *writer) Commit(ctx context.Context) error {
	return noteFull(w.ctx, w.path, w.FileWriter.Commit(ctx))
}

func (w *writer) Close() error {
	return noteFull(w.ctx, w.path, w.FileWriter.Close())
}
