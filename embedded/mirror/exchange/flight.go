package exchange

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync/atomic"
	"time"

	"github.com/crawlbox/crawlbox/appliance/base/bound"
	"github.com/crawlbox/crawlbox/embedded/mirror/exchange/cut"
)

const (
	// slowAfter is the time without progress after which a piece is asked for elsewhere
	// too, and slowRate what counts as progress, in bytes a second.
	slowAfter = time.Second
	slowRate  = 32 << 10
	// stalledAfter is the time without a byte after which a node is given up.
	stalledAfter = 5 * time.Second
)

// flight is a piece on its way from a peer.
type flight struct {
	peer   *peer
	ask    Ask
	piece  int // -1 until a tracker has chosen
	began  time.Time
	cancel context.CancelFunc
	got    atomic.Int64 // bytes

	// What review found.
	seen   int64
	seenAt time.Time // of the last look
	moved  time.Time // when bytes came last
	rate   float64   // bytes a second
	crawls bool      // below slowRate
	slow   bool      // and much slower than the others
}

// measure takes the rate of a flight once in slowAfter, and reports whether bytes
// came since.
func (fl *flight) measure(now time.Time, slowRate int64) (moved bool) {
	since := now.Sub(fl.seenAt)
	if since < slowAfter {
		return false
	}
	got := fl.got.Load()
	if moved = got > fl.seen; moved {
		fl.moved = now
	}
	fl.rate = float64(got-fl.seen) / since.Seconds()
	fl.crawls = fl.rate < float64(slowRate)
	fl.seen, fl.seenAt = got, now
	return moved
}

// reviewFlights finds out which flights are slow, and ends those that stand still.
// Where all crawl it is this node's own line, and asking others would only make it
// worse.
func (f *fetch) reviewFlights(now time.Time) {
	var sum float64
	for fl := range f.flights {
		if fl.measure(now, f.x.slowRate) {
			f.gained = now
		}
		sum += fl.rate
	}
	mean := sum / float64(max(len(f.flights), 1))
	for fl := range f.flights {
		fl.slow = fl.crawls && (fl.rate == 0 || 4*fl.rate < mean)
		fl.peer.slow = fl.peer.slow || fl.slow
		if fl.slow {
			f.tally.Slow++
		}
		if fl.stalled(now) {
			fl.cancel()
		}
	}
}

func (f *fetch) launch(p *peer, ask Ask) {
	ctx, cancel := context.WithCancel(f.ctx)
	now := time.Now()
	fl := &flight{
		peer:   p,
		ask:    ask,
		piece:  ask.Piece,
		began:  now,
		cancel: cancel,
		seenAt: now,
		moved:  now,
	}
	f.flights[fl] = struct{}{}
	p.flights++
	f.wg.Go(func() {
		defer cancel()
		fresh, err := f.fly(ctx, fl)
		f.later(func() { f.land(fl, fresh, err) })
	})
}

// fly brings a piece and puts it in its place.
func (f *fetch) fly(ctx context.Context, fl *flight) (fresh bool, err error) {
	buf, err := f.x.buffers.take(ctx, f.part.Table.Piece)
	if err != nil {
		return false, err
	}
	defer f.x.buffers.give(buf)
	l := &landing{
		f:     f,
		fl:    fl,
		ctx:   ctx,
		buf:   buf,
		piece: notBegun,
	}
	if err := f.x.o.Network.Take(ctx, fl.peer.addr, f.part.Digest, fl.ask, l); err != nil {
		return false, err
	}
	if l.missing > 0 || l.piece == notBegun {
		return false, io.ErrUnexpectedEOF
	}
	if fl.peer.tracker {
		f.x.stats.fromTrackers.Add(int64(len(l.buf)))
	} else {
		f.x.stats.fromPeers.Add(int64(len(l.buf)))
	}
	fresh, err = f.part.Put(l.piece, l.buf)
	if fresh {
		f.part.Advance()
	}
	return fresh, err
}

// landing takes the piece of a flight.
type landing struct {
	f       *fetch
	fl      *flight
	ctx     context.Context
	buf     []byte
	piece   int
	missing int // bytes
}

// notBegun is the piece of a landing of which nothing has come.
const notBegun = -1

func (l *landing) Begin(piece int) ([]byte, error) {
	if piece < 0 || piece >= l.f.part.Table.Pieces() || l.fl.ask.Piece >= 0 && piece != l.fl.ask.Piece {
		return nil, fmt.Errorf("it sends piece %d", piece)
	}
	if l.fl.ask.Piece < 0 {
		l.f.later(func() { l.f.chosen(l.fl, piece) })
	}
	_, length := l.f.part.Table.Span(piece)
	l.piece, l.buf, l.missing = piece, l.buf[:length], int(length)
	return l.buf, nil
}

func (l *landing) Got(n int) error {
	l.missing -= n
	l.fl.got.Add(int64(n))
	return bound.Pace(l.ctx, l.f.x.o.Download, n)
}

// chosen takes up what piece a tracker sends. If it comes from elsewhere already,
// this one is not needed.
func (f *fetch) chosen(fl *flight, piece int) {
	if _, flying := f.flights[fl]; !flying {
		return
	}
	needed := !f.part.Has(piece)
	for other := range f.flights {
		needed = needed && (other.piece != piece || other.slow)
	}
	fl.piece = piece
	if !needed {
		fl.cancel()
	}
}

// land takes up how a flight ended.
func (f *fetch) land(fl *flight, fresh bool, err error) {
	now := time.Now()
	p := fl.peer
	delete(f.flights, fl)
	p.flights--
	switch {
	case errors.Is(err, cut.ErrNoRoom):
		f.fatal = err
	case fresh:
		if p.tracker {
			f.tally.Tracker++
		} else {
			f.tally.Peers++
		}
		f.gained = now
		f.typical += (now.Sub(fl.began) - f.typical) / 4
		p.strikes, p.slow = 0, fl.slow
		f.callOff(fl.piece)
	case err == nil: // another was quicker
		f.tally.Twice++
	case errors.Is(err, ErrBusy):
		f.tally.Busy++
		f.promised = now
		p.pauseFor(now, busyRest)
	case errors.Is(err, ErrEnough):
		f.tally.Enough++
		f.promised = now
		p.pauseFor(now, enoughRest)
	case errors.Is(err, context.Canceled) && !fl.stalled(now):
	case errors.Is(err, cut.ErrPiece):
		f.x.log.Warn("a node sent wrong bytes", "node", p.addr, "digest", f.part.Digest, "piece", fl.piece)
		f.x.stats.badPieces.Add(1)
		f.lastFail = fmt.Errorf("%s: %w", p.addr, err)
		p.banned = !p.tracker
		p.strike(now)
	default:
		f.tally.Failed++
		f.x.stats.retries.Add(1)
		f.lastFail = fmt.Errorf("%s: %w", p.addr, err)
		if errors.Is(err, ErrUnknown) && fl.piece >= 0 && fl.piece < f.part.Table.Pieces() && !p.tracker {
			p.have.Unset(fl.piece)
		}
		p.strike(now)
	}
}

func (fl *flight) stalled(now time.Time) bool { return now.Sub(fl.moved) > stalledAfter }

func (f *fetch) callOff(piece int) {
	for fl := range f.flights {
		if fl.piece == piece {
			fl.cancel()
		}
	}
}
