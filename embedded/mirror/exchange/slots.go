package exchange

import (
	"context"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"
)

const (
	// slotWait is how long one waits for a free slot who will take any piece. Who wants
	// a certain one is told at once to ask elsewhere: others have it, and are idle.
	slotWait = 200 * time.Millisecond
	// slotHeld is after what time one who is slow no longer keeps others from being
	// served, and slotMost how many are served at the very most, in multiples of the
	// slots.
	slotHeld = 3 * time.Second
	slotMost = 8
)

// slots bound how many pieces are sent at a time: a few at full speed are passed
// on sooner than many at a slow one.
type slots struct {
	free chan struct{}
	most int32
	busy atomic.Int32
}

func newSlots(n int) *slots {
	return &slots{free: make(chan struct{}, n), most: int32(n * slotMost)}
}

// take takes a slot, if need be after a moment. ErrBusy says that there is none.
func (s *slots) take(ctx context.Context, wait time.Duration) (release func(), err error) {
	if s.busy.Load() >= s.most {
		return nil, ErrBusy
	}
	select {
	case s.free <- struct{}{}:
	default:
		t := time.NewTimer(wait)
		defer t.Stop()
		select {
		case s.free <- struct{}{}:
		case <-t.C:
			return nil, ErrBusy
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	s.busy.Add(1)
	var once sync.Once
	vacate := func() { once.Do(func() { <-s.free }) }
	slow := time.AfterFunc(slotHeld, vacate)
	return func() {
		slow.Stop()
		vacate()
		s.busy.Add(-1)
	}, nil
}

// sending is a piece on its way out.
type sending struct {
	io.Reader
	close func() error
	sent  *atomic.Int64
}

func (s *sending) Read(p []byte) (int, error) {
	n, err := s.Reader.Read(p)
	s.sent.Add(int64(n))
	return n, err
}

func (s *sending) Close() error { return s.close() }

// limited reads no faster than the limiter lets it, if there is one.
func limited(ctx context.Context, r io.Reader, l *rate.Limiter) io.Reader {
	if l == nil {
		return r
	}
	return &limitedReader{ctx, r, l}
}

type limitedReader struct {
	ctx context.Context
	r   io.Reader
	l   *rate.Limiter
}

func (l *limitedReader) Read(p []byte) (int, error) {
	n, err := l.r.Read(p[:min(len(p), l.l.Burst())])
	if n > 0 {
		if werr := l.l.WaitN(l.ctx, n); werr != nil {
			return n, werr
		}
	}
	return n, err
}
