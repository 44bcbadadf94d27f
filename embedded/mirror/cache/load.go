package cache

import (
	"bufio"
	"container/list"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"
)

// Open takes up the files that are in dir. They may be more than the limit
// allows.
func Open(dir string, limit, minFree int64, log *slog.Logger) (*Cache, error) {
	c := &Cache{
		Dir:     dir,
		limit:   limit,
		minFree: minFree,
		log:     log,
		entries: make(map[Key]*list.Element),
		recent:  list.New(),
	}
	c.ranks.Store(new(map[digest.Digest]int))
	if err := os.RemoveAll(c.tmpDir()); err != nil {
		return nil, fmt.Errorf("remove half-written files: %w", err)
	}
	for _, d := range []string{c.tmpDir(), filepath.Join(dir, string(blobs)), filepath.Join(dir, string(manifests))} {
		if err := os.MkdirAll(d, 0o700); err != nil {
			return nil, err
		}
	}
	if err := c.load(); err != nil {
		return nil, fmt.Errorf("look through the cache: %w", err)
	}
	return c, nil
}

// load takes up the files that are there, oldest first.
func (c *Cache) load() error {
	type file struct {
		entry *Entry
		used  time.Time
	}
	var files []file
	for _, kind := range []kind{blobs, manifests} {
		root := filepath.Join(c.Dir, string(kind))
		err := filepath.WalkDir(root, func(p string, e fs.DirEntry, err error) error {
			if err != nil || e.IsDir() {
				return err
			}
			fi, err := e.Info()
			if err != nil {
				return err
			}
			d := digest.NewDigestFromEncoded(digest.Algorithm(filepath.Base(filepath.Dir(p))), e.Name())
			if d.Validate() != nil {
				return nil // not ours
			}
			ent := &Entry{key: Key{kind, d}, Path: p, Size: fi.Size()}
			if kind == blobs { // manifests are checked at each use
				ent.check = sync.OnceValue(func() error { return ent.verify(func(r io.Reader) io.Reader { return r }) })
			}
			files = append(files, file{ent, fi.ModTime()})
			return nil
		})
		if err != nil {
			return err
		}
	}
	slices.SortFunc(files, func(a, b file) int { return a.used.Compare(b.used) })
	for _, f := range files {
		c.entries[f.entry.key] = c.recent.PushFront(f.entry)
		c.used += f.entry.Size
	}
	return nil
}

// verify reads a file through a reader of the caller's and checks its digest.
func (e *Entry) verify(through func(io.Reader) io.Reader) error {
	f, err := os.Open(e.Path)
	if err != nil {
		return err
	}
	defer f.Close()
	content := bufio.NewReaderSize(through(f), Chunk)
	if e.key.kind == manifests {
		if _, err := content.ReadString('\n'); err != nil { // the media type
			return err
		}
	}
	v := e.key.Digest.Verifier()
	if _, err := io.Copy(v, content); err != nil {
		return err
	}
	if !v.Verified() {
		return ErrDigest
	}
	e.Sound.Store(true)
	return nil
}
