package cache

import (
	"context"
	"io"

	"golang.org/x/time/rate"

	"github.com/crawlbox/crawlbox/appliance/base/bound"
)

// Scrub checks files that were there at Open and drops those that are damaged,
// before anybody asks for them. It reads so many bytes a second, as a node has better
// things to do, and ends with ctx.
func (c *Cache) Scrub(ctx context.Context, files []*Entry, bytesPerSecond int64) {
	limit := rate.NewLimiter(rate.Limit(bytesPerSecond), Chunk)
	slowly := func(r io.Reader) io.Reader { return bound.Paced(ctx, r, limit) }
	for _, ent := range files {
		if ent.Sound.Load() { // somebody needed it meanwhile
			continue
		}
		err := ent.verify(slowly)
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			c.dropDamaged(ent, err)
		}
	}
}

// Files returns all that is kept, the one used last first.
func (c *Cache) Files() (list []*Entry) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for el := c.recent.Front(); el != nil; el = el.Next() {
		list = append(list, el.Value.(*Entry))
	}
	return list
}
