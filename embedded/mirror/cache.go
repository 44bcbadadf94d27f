package mirror

import (
	"container/list"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"
)

// kind separates blobs from manifests, which carry a media type.
type kind string

const (
	blobs     kind = "blobs"
	manifests kind = "manifests"
)

// key names a file of the cache.
type key struct {
	kind   kind
	digest digest.Digest
}

// cache keeps files by digest within a limit and drops those that were not used
// for the longest time. The order survives a restart as modification times.
type cache struct {
	dir     string
	limit   int64
	minFree int64

	mu      sync.Mutex
	entries map[key]*list.Element // of *entry
	recent  *list.List            // the one used last in front
	used    int64                 // entries and reservations
	evicted int64
}

// entry is a kept file.
type entry struct {
	key  key
	path string
	size int64
	pins int // readers; an entry with readers is not evicted

	// check runs before the first use of a file that was there at Open: the
	// disk had time to damage it.
	check func() error
}

func openCache(dir string, limit, minFree int64) (*cache, error) {
	c := &cache{dir: dir, limit: limit, minFree: minFree, entries: make(map[key]*list.Element), recent: list.New()}
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
	c.mu.Lock()
	defer c.mu.Unlock()
	c.makeRoom(0) // the limit may be lower than last time
	return c, nil
}

func (c *cache) tmpDir() string { return filepath.Join(c.dir, "tmp") }

func (c *cache) path(k key) string {
	return filepath.Join(c.dir, string(k.kind), k.digest.Algorithm().String(), k.digest.Encoded())
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
				ent.check = sync.OnceValue(func() error { return verifyFile(ent) })
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

// open returns the file of k and its size, ok=false if it is not kept. The
// caller closes the file and then calls release.
func (c *cache) open(k key) (f *os.File, ent *entry, ok bool) {
	ent = c.pin(k)
	if ent == nil {
		return nil, nil, false
	}
	if ent.check != nil && ent.check() != nil {
		c.release(ent)
		c.drop(ent)
		return nil, nil, false
	}
	f, err := os.Open(ent.path)
	if err != nil { // someone cleaned up by hand
		c.release(ent)
		c.drop(ent)
		return nil, nil, false
	}
	now := time.Now()
	_ = os.Chtimes(ent.path, now, now)
	return f, ent, true
}

func (c *cache) has(k key) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.entries[k] != nil
}

func (c *cache) pin(k key) *entry {
	c.mu.Lock()
	defer c.mu.Unlock()
	el := c.entries[k]
	if el == nil {
		return nil
	}
	c.recent.MoveToFront(el)
	ent := el.Value.(*entry)
	ent.pins++
	return ent
}

func (c *cache) release(ent *entry) {
	c.mu.Lock()
	defer c.mu.Unlock()
	ent.pins--
}

// drop forgets a file and removes it. Who reads it still has it open.
func (c *cache) drop(ent *entry) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if el := c.entries[ent.key]; el != nil && el.Value == any(ent) {
		c.remove(el)
	}
}

func (c *cache) remove(el *list.Element) {
	ent := c.recent.Remove(el).(*entry)
	delete(c.entries, ent.key)
	c.used -= ent.size
	_ = os.Remove(ent.path)
}

// verifyFile reads a file and checks its digest.
func verifyFile(ent *entry) error {
	f, err := os.Open(ent.path)
	if err != nil {
		return err
	}
	defer f.Close()
	v := ent.key.digest.Verifier()
	if _, err := io.Copy(v, f); err != nil {
		return err
	}
	if !v.Verified() {
		return errDigest
	}
	return nil
}

// reserve makes room for size bytes, or says that there is none.
func (c *cache) reserve(size int64) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if size > c.limit || !c.makeRoom(size) {
		return false
	}
	c.used += size
	return true
}

func (c *cache) unreserve(size int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.used -= size
}

// makeRoom evicts until size more bytes fit the limit and the disk.
func (c *cache) makeRoom(size int64) bool {
	for c.used+size > c.limit || !c.diskHas(size) {
		el := c.recent.Back()
		for el != nil && el.Value.(*entry).pins > 0 {
			el = el.Prev()
		}
		if el == nil {
			return false
		}
		c.remove(el)
		c.evicted++
	}
	return true
}

// diskHas reports whether size bytes fit. Where nobody can tell, writing will.
func (c *cache) diskHas(size int64) bool {
	var st unix.Statfs_t
	if size == 0 || unix.Statfs(c.dir, &st) != nil {
		return true
	}
	return int64(st.Bavail)*st.Bsize-size >= c.minFree
}

// create makes a file to be committed or removed.
func (c *cache) create() (*os.File, error) { return os.CreateTemp(c.tmpDir(), "") }

// commit keeps a file from create, complete and checked, whose size was
// reserved. The file must survive a power cut before its name says that it is
// whole. The entry is pinned for the caller, who calls release.
func (c *cache) commit(f *os.File, k key, size int64) (*entry, error) {
	path := c.path(k)
	now := time.Now() // the kernel's own times are coarser, open's would overtake them
	_ = os.Chtimes(f.Name(), now, now)
	if err := errors.Join(f.Sync(), os.MkdirAll(filepath.Dir(path), 0o700)); err != nil {
		return nil, err
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if old := c.entries[k]; old != nil { // replaced by the rename
		c.used -= c.recent.Remove(old).(*entry).size
	}
	ent := &entry{key: k, path: path, size: size, pins: 1}
	c.entries[k] = c.recent.PushFront(ent)
	return ent, nil
}

func (c *cache) stats() (bytes int64, files int, evicted int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, el := range c.entries {
		bytes += el.Value.(*entry).size
	}
	return bytes, len(c.entries), c.evicted
}
