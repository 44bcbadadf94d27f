package exchange

import (
	"context"
	"io"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/crawlbox/crawlbox/appliance/base/bound"
	"github.com/crawlbox/crawlbox/appliance/base/clock"
	"github.com/crawlbox/crawlbox/embedded/mirror/exchange/cut"
)

// newsPace is the least time between two pieces of news to one node.
const newsPace = 25 * time.Millisecond

// holding is this node's part of a blob, open.
type holding struct {
	table *cut.Table
	have  cut.Bitmap
	r     io.ReaderAt
	io.Closer
}

// hold opens what this node has of a blob, also while it is under way.
func (x *Exchange) hold(d digest.Digest) (*holding, error) {
	if f := x.underWay(d); f != nil {
		if file, err := f.part.File.Open(); err == nil {
			have, _, _ := f.part.State()
			return &holding{f.part.Table, have, file, file}, nil
		}
	}
	b, ok := x.o.Store.Open(d)
	if !ok {
		return nil, ErrUnknown
	}
	if b.Size() < x.o.MinSize || d.Algorithm() != digest.SHA256 {
		b.Close()
		return nil, ErrUnknown
	}
	table, err := x.tables.of(d, b, x.pieceSize(b.Size()))
	if err != nil {
		b.Close()
		return nil, err
	}
	return &holding{table, cut.Full(table.Pieces()), b, b}, nil
}

// Table returns how a blob is cut that is here, whole or in part. ErrUnknown means
// that it is not, or too small to be cut.
func (x *Exchange) Table(d digest.Digest) (*cut.Table, error) {
	h, err := x.hold(d)
	if err != nil {
		return nil, err
	}
	return h.table, h.Close()
}

// Join notes that a node takes part in the exchange of a blob that is here, and names
// some others that do.
func (x *Exchange) Join(from string, d digest.Digest) []string {
	if !x.here(d) {
		return nil // made-up names must not push others out
	}
	return x.tracker.note(d, from)
}

// here reports whether a blob is here, also while it is under way.
func (x *Exchange) here(d digest.Digest) bool {
	if x.underWay(d) != nil {
		return true
	}
	b, ok := x.o.Store.Open(d)
	if ok {
		b.Close()
	}
	return ok
}

// Follow calls see with what this node has of a blob, at once and whenever there
// is more, until it is whole, given up or ctx ends.
func (x *Exchange) Follow(ctx context.Context, from string, d digest.Digest, see func(News) error) error {
	if !x.here(d) {
		return ErrUnknown
	}
	others := x.tracker.note(d, from)
	f := x.underWay(d)
	if f == nil {
		h, err := x.hold(d)
		if err != nil {
			return err
		}
		defer h.Close()
		return see(News{Have: h.have, Nodes: others})
	}
	f.introduce(from)
	var told cut.Bitmap
	for {
		have, missing, more := f.part.State()
		if told == nil || missing == 0 || f.helps(from, have, told) {
			if err := see(News{Have: have, Nodes: others}); err != nil || missing == 0 {
				return err
			}
			others, told = nil, have
		}
		select {
		case <-more:
		case <-ctx.Done():
			return ctx.Err()
		case <-f.ctx.Done():
			return nil
		}
		if err := clock.Sleep(ctx, newsPace); err != nil {
			return err
		}
	}
}

// Take gives a piece. The body is to be closed; its length is that of the piece.
func (x *Exchange) Take(ctx context.Context, d digest.Digest,
	ask Ask) (piece int, length int64, body io.ReadCloser, err error) {
	h, err := x.hold(d)
	if err != nil {
		return 0, 0, nil, err
	}
	if len(ask.Want) == 0 && !h.have.Has(ask.Piece) {
		h.Close()
		return 0, 0, nil, ErrUnknown
	}
	wait := time.Duration(0)
	if len(ask.Want) > 0 {
		wait = slotWait
	}
	slot, err := x.slots.take(ctx, wait)
	if err != nil {
		h.Close()
		return 0, 0, nil, err
	}
	piece = ask.Piece
	if len(ask.Want) > 0 {
		if piece, err = x.choose(d, h, ask); err != nil {
			slot.release()
			h.Close()
			return 0, 0, nil, err
		}
	}
	off, n := h.table.Span(piece)
	slot.size.Store(n)
	return piece, n, &sending{bound.Paced(ctx, io.NewSectionReader(h.r, off, n), x.o.Upload), h, slot}, nil
}

// choose picks the piece that was given out least of those that are wanted.
func (x *Exchange) choose(d digest.Digest, h *holding, ask Ask) (int, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	g, ok := x.given.Get(d)
	if !ok {
		g = &handout{counts: make([]int, h.table.Pieces())}
		x.given.Add(d, g)
	}
	return g.choose(ask.Want, h.have, x.o.Copies, ask.Urgent)
}

// handout counts how often each piece of a blob was given out.
type handout struct {
	counts []int
	next   int // where to look first, so that pieces go out in their order
	last   time.Time
}

// handoutPause is the time after which the nodes that ask are other ones.
const handoutPause = 30 * time.Second

func (g *handout) choose(want, have cut.Bitmap, copies int, urgent bool) (int, error) {
	now := time.Now()
	if now.Sub(g.last) > handoutPause {
		clear(g.counts)
	}
	best := -1
	for k := range g.counts {
		i := (g.next + k) % len(g.counts)
		if want.Has(i) && have.Has(i) && (best < 0 || g.counts[i] < g.counts[best]) {
			best = i
		}
	}
	switch {
	case best < 0:
		return 0, ErrUnknown
	case g.counts[best] >= copies && !urgent:
		return 0, ErrEnough
	}
	g.counts[best]++
	g.next = (best + 1) % len(g.counts)
	g.last = now
	return best, nil
}
