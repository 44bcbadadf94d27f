package mirror

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
// for the longest time, pinned ones last. The order survives a restart as
// modification times.
type cache struct {
	dir     string
	limit   int64
	minFree int64
	log     *slog.Logger

	// ranks says of what pinned images need how new the newest of them is, from 1
	// on. What has no rank is not pinned.
	ranks atomic.Pointer[map[digest.Digest]int]

	mu      sync.Mutex
	entries map[key]*list.Element // of *entry
	recent  *list.List            // the one used last in front
	used    int64                 // entries and reservations
	evicted int64
}

// entry is a kept file.
type entry struct {
	key     key
	path    string
	size    int64
	readers int // an entry with readers is not evicted

	// check runs before the first use of a blob that was there at Open: the disk had
	// time to damage it. It is not needed any more where the file is known to be
	// sound.
	check func() error
	sound atomic.Bool
}

func (c *cache) tmpDir() string { return filepath.Join(c.dir, "tmp") }

func (c *cache) path(k key) string {
	return filepath.Join(c.dir, string(k.kind), k.digest.Algorithm().String(), k.digest.Encoded())
}

// open returns the file of k and its size, ok=false if it is not kept. The
// caller closes the file and then calls release.
func (c *cache) open(k key) (f *os.File, ent *entry, ok bool) {
	ent = c.hold(k)
	if ent == nil {
		return nil, nil, false
	}
	if ent.check != nil && !ent.sound.Load() {
		if err := ent.check(); err != nil {
			c.release(ent)
			c.dropDamaged(ent, err)
			return nil, nil, false
		}
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

// hold keeps a file from being evicted until release is called; nil if it is not
// kept.
func (c *cache) hold(k key) *entry {
	c.mu.Lock()
	defer c.mu.Unlock()
	el := c.entries[k]
	if el == nil {
		return nil
	}
	c.recent.MoveToFront(el)
	ent := el.Value.(*entry)
	ent.readers++
	return ent
}

func (c *cache) release(ent *entry) {
	c.mu.Lock()
	defer c.mu.Unlock()
	ent.readers--
}

// drop forgets a file and removes it, unless that was done. Who reads it still has
// it open.
func (c *cache) drop(ent *entry) bool {
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
func (c *cache) dropDamaged(ent *entry, err error) {
	if c.drop(ent) && !errors.Is(err, fs.ErrNotExist) {
		c.log.Warn("mirror drops a damaged file; see whether the disk is well", "path", ent.path, "bytes", ent.size, "err", err)
	}
}

// forget drops what is kept under a digest.
func (c *cache) forget(d digest.Digest) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, kind := range []kind{blobs, manifests} {
		if el := c.entries[key{kind, d}]; el != nil {
			c.remove(el)
		}
	}
}

func (c *cache) remove(el *list.Element) {
	ent := c.recent.Remove(el).(*entry)
	delete(c.entries, ent.key)
	c.used -= ent.size
	_ = os.Remove(ent.path)
}

func (c *cache) stats() (bytes int64, files int, evicted int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, el := range c.entries {
		bytes += el.Value.(*entry).size
	}
	return bytes, len(c.entries), c.evicted
}
