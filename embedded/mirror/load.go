package mirror

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

// openCache takes up the files that are in dir. They may be more than the limit
// allows.
func openCache(dir string, limit, minFree int64, log *slog.Logger) (*cache, error) {
	c := &cache{dir: dir, limit: limit, minFree: minFree, log: log, entries: make(map[key]*list.Element), recent: list.New()}
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
func (c *cache) load() error {
	type file struct {
		entry *entry
		used  time.Time
	}
	var files []file
	for _, kind := range []kind{blobs, manifests} {
		root := filepath.Join(c.dir, string(kind))
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
			ent := &entry{key: key{kind, d}, path: p, size: fi.Size()}
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
		c.used += f.entry.size
	}
	return nil
}

// verify reads a file through a reader of the caller's and checks its digest.
func (e *entry) verify(through func(io.Reader) io.Reader) error {
	f, err := os.Open(e.path)
	if err != nil {
		return err
	}
	defer f.Close()
	content := bufio.NewReaderSize(through(f), chunk)
	if e.key.kind == manifests {
		if _, err := content.ReadString('\n'); err != nil { // the media type
			return err
		}
	}
	v := e.key.digest.Verifier()
	if _, err := io.Copy(v, content); err != nil {
		return err
	}
	if !v.Verified() {
		return errDigest
	}
	e.sound.Store(true)
	return nil
}
