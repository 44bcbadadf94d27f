package cache

import (
	"container/list"
	"errors"
	"math"
	"os"
	"path/filepath"
	"time"

	"github.com/crawlbox/crawlbox/appliance/base/disk"
)

// Reserve makes room for size bytes, or says that there is none.
func (c *Cache) Reserve(size int64) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if size > c.limit || !c.makeRoom(size) {
		return false
	}
	c.used += size
	return true
}

// Unreserve gives back what Reserve took.
func (c *Cache) Unreserve(size int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.used -= size
}

// Fit evicts what is over the limit: it may be lower than last time.
func (c *Cache) Fit() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.makeRoom(0)
}

// makeRoom evicts until size more bytes fit the limit and the disk. It evicts
// nothing where that would not be enough.
func (c *Cache) makeRoom(size int64) bool {
	if free := c.evictable(); c.used-free+size > c.limit || !c.diskHas(size-free) {
		return false
	}
	for c.used+size > c.limit || !c.diskHas(size) {
		el := c.leastWanted()
		if el == nil {
			return false
		}
		c.evict(el)
	}
	return true
}

func (c *Cache) evictable() (bytes int64) {
	for _, el := range c.entries {
		if ent := el.Value.(*Entry); ent.readers == 0 {
			bytes += ent.Size
		}
	}
	return bytes
}

// leastWanted returns what goes first: of what no pinned image needs that which was used
// longest ago, then the same of the oldest pinned image; nil if all is being read.
func (c *Cache) leastWanted() (least *list.Element) {
	ranks, lowest := *c.ranks.Load(), math.MaxInt
	for el := c.recent.Back(); el != nil && lowest > 0; el = el.Prev() {
		ent := el.Value.(*Entry)
		if rank := ranks[ent.key.Digest]; ent.readers == 0 && rank < lowest {
			least, lowest = el, rank
		}
	}
	return least
}

func (c *Cache) evict(el *list.Element) {
	ent := el.Value.(*Entry)
	if c.Rank(ent.key.Digest) > 0 {
		c.log.Warn("mirror drops a part of a pinned image, as nothing else is left to make room; raise "+
			"mirror.max_size, or free the disk",
			"digest", ent.key.Digest, "bytes", ent.Size)
	}
	c.remove(el)
	c.evicted++
}

// diskHas reports whether size bytes fit. Where nobody can tell, writing will.
func (c *Cache) diskHas(size int64) bool {
	if size <= 0 {
		return true
	}
	free, _, err := disk.Free(c.Dir)
	return err != nil || free-size >= c.minFree
}

// Create makes a file to be committed or removed.
func (c *Cache) Create() (*os.File, error) { return os.CreateTemp(c.tmpDir(), "") }

// Commit keeps a file from create, complete and checked, whose size was
// reserved. The file must survive a power cut before its name says that it is
// whole. The entry is held for the caller, which calls release.
func (c *Cache) Commit(f *os.File, k Key, size int64) (*Entry, error) {
	path := c.Path(k)
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
		c.used -= c.recent.Remove(old).(*Entry).Size
	}
	ent := &Entry{key: k, Path: path, Size: size, readers: 1}
	ent.Sound.Store(true)
	c.entries[k] = c.recent.PushFront(ent)
	return ent, nil
}
