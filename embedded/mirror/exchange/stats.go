package exchange

import (
	"context"
	"sync"
	"sync/atomic"

	"golang.org/x/sync/semaphore"
)

// Stats are counters since New.
type Stats struct {
	FromTrackers int64 // bytes got from nodes that have all
	FromPeers    int64 // bytes got from others
	Sent         int64 // bytes sent to others
	BadPieces    int64 // pieces that did not match their checksum
	Retries      int64 // pieces that a node did not give as it should
}

type counters struct {
	fromTrackers, fromPeers, badPieces, retries atomic.Int64
}

func (x *Exchange) Stats() Stats {
	c := &x.stats
	return Stats{c.fromTrackers.Load(), c.fromPeers.Load(), x.slots.sent.Load(), c.badPieces.Load(), c.retries.Load()}
}

// maxBuffered bounds the bytes of all pieces that are under way to this node.
const maxBuffered = 24 << 20

// buffers hold pieces that are not checked yet.
type buffers struct {
	room *semaphore.Weighted
	pool sync.Pool
}

func newBuffers() *buffers { return &buffers{room: semaphore.NewWeighted(maxBuffered)} }

func (b *buffers) take(ctx context.Context, size int64) ([]byte, error) {
	if err := b.room.Acquire(ctx, size); err != nil {
		return nil, err
	}
	if buf, ok := b.pool.Get().(*[]byte); ok && int64(cap(*buf)) >= size {
		return (*buf)[:size], nil
	}
	return make([]byte, size), nil
}

func (b *buffers) give(buf []byte) {
	b.pool.Put(&buf)
	b.room.Release(int64(len(buf)))
}
