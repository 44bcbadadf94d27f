package exchange

import (
	"context"
	"io"
	"math"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// slotWait is how long a peer that will take any piece waits for a free slot. One that wants
	// a certain one is told at once to ask elsewhere: others have it, and are idle.
	slotWait = 200 * time.Millisecond
	// slotHeld is the time after which a slot that is still held may be lent to another, and
	// slotMost how many are served at the very most, in multiples of the slots.
	slotHeld = 3 * time.Second
	slotMost = 8
	// slotAgain is when one that was not lent is looked at again.
	slotAgain = time.Second
	// peakHalf is the time after which what a node was seen to send counts half: lines
	// change.
	peakHalf = 10 * time.Minute
	// slotShare is the part of a slot's share of the line below which its holder is slow.
	slotShare = 1. / 4
	// slotFree is how many are lent whoever holds them.
	slotFree = 2
)

// slots bound how many pieces are sent at a time: a few at full speed are passed
// on sooner than many at a slow one. Those that are slow by themselves must not keep
// others from being served, though: what they hold for long is lent. Slow is one that gets
// little of what this node can send, as far as it has seen; to see more, it lends some
// in any case.
type slots struct {
	free chan struct{}
	most int32
	busy atomic.Int32
	sent atomic.Int64 // bytes, of all pieces

	mu     sync.Mutex
	lent   int
	peak   float64 // bytes a second, the most that went out lately
	peakAt time.Time
}

func newSlots(n int) *slots {
	return &slots{free: make(chan struct{}, n), most: int32(n * slotMost)}
}

// take takes a slot, if need be after a moment. ErrBusy says that there is none.
func (s *slots) take(ctx context.Context, wait time.Duration) (*slot, error) {
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
	h := &slot{slots: s, since: time.Now(), before: s.sent.Load()}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.timer = time.AfterFunc(slotHeld, h.overdue)
	return h, nil
}

type slot struct {
	*slots
	since  time.Time    // when it was taken
	before int64        // bytes that all had sent by then
	own    atomic.Int64 // bytes that went out through this one
	size   atomic.Int64 // of the piece, in bytes

	timer    *time.Timer // this and the others by mu
	lends    bool
	released bool
}

// note counts bytes that go out.
func (h *slot) note(n int) {
	h.own.Add(int64(n))
	h.sent.Add(int64(n))
}

// rate returns how many of some bytes a second went out since the slot was taken.
func (h *slot) rate(bytes int64) float64 { return float64(bytes) / time.Since(h.since).Seconds() }

// overdue lends the slot if its holder is slow, and looks again later if not.
func (h *slot) overdue() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.released {
		return
	}
	h.look()
	share := h.peak / float64(cap(h.free))
	if h.lent >= slotFree && h.rate(h.own.Load()) > slotShare*share {
		h.timer.Reset(slotAgain)
		return
	}
	h.lends = true
	h.lent++
	<-h.free
}

// look takes up how much went out while the slot was held.
func (h *slot) look() {
	now := time.Now()
	h.peak *= math.Exp2(-float64(now.Sub(h.peakAt)) / float64(peakHalf))
	h.peakAt = now
	if 2*h.own.Load() > h.size.Load() || now.Sub(h.since) > slotAgain { // else the kernel may only keep it
		h.peak = max(h.peak, h.rate(h.sent.Load()-h.before))
	}
}

func (h *slot) release() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.released {
		return
	}
	h.released = true
	h.timer.Stop()
	h.look()
	h.busy.Add(-1)
	if h.lends {
		h.lent--
		return
	}
	<-h.free
}

// sending is a piece on its way out.
type sending struct {
	io.Reader
	held *holding
	slot *slot
}

func (s *sending) Read(p []byte) (int, error) {
	n, err := s.Reader.Read(p)
	s.slot.note(n)
	return n, err
}

func (s *sending) Close() error {
	s.slot.release()
	return s.held.Close()
}
