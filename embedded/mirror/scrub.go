package mirror

import (
	"context"
	"io"

	"golang.org/x/time/rate"
)

// scrub checks files that were there at Open and drops those that are damaged,
// before anybody asks for them. It reads so many bytes a second, as a node has better
// things to do, and ends with ctx.
func (c *cache) scrub(ctx context.Context, files []*entry, bytesPerSecond int64) {
	limit := rate.NewLimiter(rate.Limit(bytesPerSecond), chunk)
	slowly := func(r io.Reader) io.Reader { return paced{ctx, r, limit} }
	for _, ent := range files {
		if ent.sound.Load() { // somebody needed it meanwhile
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

// files are all that is kept, the one used last first.
func (c *cache) files() (list []*entry) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for el := c.recent.Front(); el != nil; el = el.Next() {
		list = append(list, el.Value.(*entry))
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
	n, err := p.from.Read(b[:min(len(b), chunk)])
	if wait := p.limit.WaitN(p.ctx, n); wait != nil {
		return 0, wait
	}
	return n, err
}
