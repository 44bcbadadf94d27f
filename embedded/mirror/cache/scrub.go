package cache

import (
	"context"
	"io"

	"golang.org/x/time/rate"
)

// Scrub checks files that were there at Open and drops those that are damaged,
// before anybody asks for them. It reads so many bytes a second, as a node has better
// things to do, and ends with ctx.
func (c *Cache) Scrub(ctx context.Context, files []*Entry, bytesPerSecond int64) {
	limit := rate.NewLimiter(rate.Limit(bytesPerSecond), Chunk)
	slowly := func(r io.Reader) io.Reader { return paced{ctx, r, limit} }
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

// paced is a reader with a limit.
type paced struct {
	ctx   context.Context
	from  io.Reader
	limit *rate.Limiter
}

func (p paced) Read(b []byte) (int, error) {
	n, err := p.from.Read(b[:min(len(b), Chunk)])
	if wait := p.limit.WaitN(p.ctx, n); wait != nil {
		return 0, wait
	}
	return n, err
}
