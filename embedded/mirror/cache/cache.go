// Package cache keeps the blobs and manifests of a mirror on disk, by digest, within a
// limit, and drops those that were not used for the longest time, pinned ones last.
//
// It holds nothing but files: which image a file belongs to, and where it comes from,
// is the mirror's business. What was there at Open is checked before its first use, as
// the disk had time to damage it.
package cache

import (
	"container/list"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/opencontainers/go-digest"
)

// kind separates blobs from manifests, which carry a media type.
type kind string

// The kinds, each with its directory.
const (
	blobs     kind = "blobs"
	manifests kind = "manifests"
)

// Key names a file of the cache.
type Key struct {
	kind   kind
	Digest digest.Digest
}

// Blob returns the key of a config or a layer.
func Blob(d digest.Digest) Key { return Key{blobs, d} }

// Manifest returns the key of a manifest or an index.
func Manifest(d digest.Digest) Key { return Key{manifests, d} }

// Cache keeps files by digest within a limit and drops those that were not used
// for the longest time, pinned ones last. The order survives a restart as
// modification times.
type Cache struct {
	Dir     string
	limit   int64
	minFree int64
	log     *slog.Logger

	// ranks says of what pinned images need how new the newest of them is, from 1
	// on. What has no rank is not pinned.
	ranks atomic.Pointer[map[digest.Digest]int]

	mu      sync.Mutex
	entries map[Key]*list.Element // of *entry
	recent  *list.List            // the one used last in front
	used    int64                 // entries and reservations
	evicted int64
}

type Entry struct {
	key     Key
	Path    string
	Size    int64
	readers int // an entry with readers is not evicted

	// check runs before the first use of a blob that was there at Open: the disk had
	// time to damage it. It is no longer needed where the file is known to be
	// sound.
	check func() error
	Sound atomic.Bool
}

// Rank returns how new the newest pinned image is that needs a digest, from 1 on; 0:
// none does.
func (c *Cache) Rank(d digest.Digest) int { return (*c.ranks.Load())[d] }

func (c *Cache) SetRanks(ranks map[digest.Digest]int) { c.ranks.Store(&ranks) }

func (c *Cache) tmpDir() string { return filepath.Join(c.Dir, "tmp") }

// Path returns the path of the file of k, kept or not.
func (c *Cache) Path(k Key) string {
	return filepath.Join(c.Dir, string(k.kind), k.Digest.Algorithm().String(), k.Digest.Encoded())
}

// Open returns the file of k and its size, ok=false if it is not kept. The
// caller closes the file and then calls release.
func (c *Cache) Open(k Key) (f *os.File, ent *Entry, ok bool) {
	ent = c.hold(k)
	if ent == nil {
		return nil, nil, false
	}
	if ent.check != nil && !ent.Sound.Load() {
		if err := ent.check(); err != nil {
			c.Release(ent)
			c.dropDamaged(ent, err)
			return nil, nil, false
		}
	}
	f, err := os.Open(ent.Path)
	if err != nil { // someone cleaned up by hand
		c.Release(ent)
		c.Drop(ent)
		return nil, nil, false
	}
	now := time.Now()
	_ = os.Chtimes(ent.Path, now, now)
	return f, ent, true
}

// Has reports whether the file of k is kept.
func (c *Cache) Has(k Key) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.entries[k] != nil
}

// hold keeps a file from being evicted until release is called; nil if it is not
// kept.
func (c *Cache) hold(k Key) *Entry {
	c.mu.Lock()
	defer c.mu.Unlock()
	el := c.entries[k]
	if el == nil {
		return nil
	}
	c.recent.MoveToFront(el)
	ent := el.Value.(*Entry)
	ent.readers++
	return ent
}

// Release ends what Open or Commit began.
func (c *Cache) Release(ent *Entry) {
	c.mu.Lock()
	defer c.mu.Unlock()
	ent.readers--
}

// Drop forgets a file and removes it, unless that was done. A reader still has
// it open.
func (c *Cache) Drop(ent *Entry) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	el := c.entries[ent.key]
	if el == nil || el.Value != any(ent) {
		return false
	}
	c.remove(el)
	return true
}

// dropDamaged drops a file that is not what its name says. One that is gone was
// evicted meanwhile, or removed by hand.
func (c *Cache) dropDamaged(ent *Entry, err error) {
	if c.Drop(ent) && !errors.Is(err, fs.ErrNotExist) {
		c.log.Warn("mirror drops a damaged file; check the disk", "path", ent.Path, "bytes", ent.Size, "err", err)
	}
}

// Forget drops what is kept under a digest.
func (c *Cache) Forget(d digest.Digest) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, kind := range []kind{blobs, manifests} {
		if el := c.entries[Key{kind, d}]; el != nil {
			c.remove(el)
		}
	}
}

func (c *Cache) remove(el *list.Element) {
	ent := c.recent.Remove(el).(*Entry)
	delete(c.entries, ent.key)
	c.used -= ent.Size
	_ = os.Remove(ent.Path)
}

// Stats returns how much is kept, and how many files were removed to make room.
func (c *Cache) Stats() (bytes int64, files int, evicted int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, el := range c.entries {
		bytes += el.Value.(*Entry).Size
	}
	return bytes, len(c.entries), c.evicted
}

// ErrDigest means that the bytes are not those that the digest names.
var ErrDigest = errors.New("the content does not match the digest")

// Chunk is how much is read, written and announced at a time.
const Chunk = 128 << 10
