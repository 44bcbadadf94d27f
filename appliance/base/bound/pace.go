package bound

import (
	"context"
	"io"

	"golang.org/x/time/rate"
)

// Paced reads from r no faster than the limiter lets it; nil means no limit.
func Paced(ctx context.Context, r io.Reader, limit *rate.Limiter) io.Reader {
	if limit == nil {
		return r
	}
	return &paced{ctx, r, limit}
}

type paced struct {
	ctx   context.Context
	r     io.Reader
	limit *rate.Limiter
}

func (p *paced) Read(b []byte) (int, error) {
	n, err := p.r.Read(b[:min(len(b), p.limit.Burst())])
	if perr := Pace(p.ctx, p.limit, n); perr != nil {
		return n, perr
	}
	return n, err
}

// Pace waits until n bytes may have come or gone, by the limiter if there is one.
func Pace(ctx context.Context, limit *rate.Limiter, n int) error {
	for limit != nil && n > 0 {
		some := min(n, limit.Burst())
		if err := limit.WaitN(ctx, some); err != nil {
			return err
		}
		n -= some
	}
	return nil
}
