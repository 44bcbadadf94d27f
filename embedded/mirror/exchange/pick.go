package exchange

import (
	"math/rand/v2"
	"time"

	"github.com/crawlbox/crawlbox/embedded/mirror/exchange/cut"
)

const (
	// randomFirst is how many pieces are taken at random at first, so that
	// those that begin together soon have something for each other.
	randomFirst = 2
	// aloneFor is the time without another node that has a piece after which a tracker is
	// asked urgently.
	aloneFor = 500 * time.Millisecond
	// endFor is the least time after which the last pieces are asked for twice.
	endFor = 250 * time.Millisecond
)

// assign asks for pieces as long as there is whom to ask and what for.
func (f *fetch) assign() {
	now := time.Now()
	open, late := f.open(now)
	for f.hasRoom() {
		p, piece := f.pick(now, open)
		if p == nil {
			p, piece = f.pick(now, late)
		}
		if p == nil {
			break
		}
		open.Unset(piece)
		late.Unset(piece)
		f.launch(p, Ask{Piece: piece})
	}
	f.askTrackers(now, open, late)
}

// open returns the pieces that nobody is asked for and, of the others, those that
// take too long and that only one is asked for. Once all others
// are asked for, what takes longer than it should counts as such: the end must not hang on
// one node.
func (f *fetch) open(now time.Time) (open, late cut.Bitmap) {
	have, _, _ := f.part.State()
	n := f.part.Table.Pieces()
	open, late = cut.NewBitmap(n), cut.NewBitmap(n)
	asked := make([]int, n)
	for fl := range f.flights {
		if fl.piece >= 0 {
			asked[fl.piece]++
		}
	}
	for i := range n {
		if !have.Has(i) && asked[i] == 0 {
			open.Set(i)
		}
	}
	end := open.Count() == 0
	for fl := range f.flights {
		if i := fl.piece; i >= 0 && asked[i] == 1 && !have.Has(i) &&
			(fl.slow || end && now.Sub(fl.began) > f.patient()) {
			late.Set(i)
		}
	}
	return open, late
}

// patient returns how long a piece may take at the end.
func (f *fetch) patient() time.Duration { return max(endFor, 2*f.typical) }

// hasRoom reports whether a peer can be asked for one more piece. Slow ones leave room
// for others, and where all crawl there is room to find out whether one does not.
func (f *fetch) hasRoom() bool {
	all, slow, crawl := 0, 0, 0
	for fl := range f.flights {
		if fl.peer.tracker {
			continue
		}
		all++
		if fl.slow {
			slow++
		}
		if fl.crawls {
			crawl++
		}
	}
	most := f.x.o.Flights
	if crawl == all && all == most {
		most++
	}
	return all-slow < most && all < 2*f.x.o.Flights
}

// pick chooses the rarest of the pieces that a free peer has, and of these peers
// the one that is likely to be quick.
func (f *fetch) pick(now time.Time, of cut.Bitmap) (*peer, int) {
	n := f.part.Table.Pieces()
	have, offered := make([]int, n), make([]bool, n)
	for _, p := range f.peers {
		if p.tracker {
			continue
		}
		for i := range n {
			if p.have.Has(i) {
				have[i]++
				offered[i] = offered[i] || of.Has(i) && f.gives(p, i, now)
			}
		}
	}
	best, ties := -1, 0
	mine, _, _ := f.part.State()
	random := mine.Count() < randomFirst
	for i := range n {
		switch {
		case !offered[i]:
		case best < 0 || !random && have[i] < have[best]:
			best, ties = i, 1
		case random || have[i] == have[best]:
			if ties++; rand.N(ties) == 0 {
				best = i
			}
		}
	}
	if best < 0 {
		return nil, 0
	}
	var quickest *peer
	ties = 0
	for _, p := range f.peers {
		if !f.gives(p, best, now) {
			continue
		}
		switch {
		case quickest != nil && quicker(quickest, p):
		case quickest != nil && !quicker(p, quickest): // a tie
			if ties++; rand.N(ties) == 0 {
				quickest = p
			}
		default:
			quickest, ties = p, 1
		}
	}
	return quickest, best
}

// gives reports whether a peer that is no tracker can be asked for a piece.
func (f *fetch) gives(p *peer, piece int, now time.Time) bool {
	return !p.tracker && p.free(now) && p.have.Has(piece) && !f.asks(p, piece)
}

// asks reports whether a piece is under way from a peer.
func (f *fetch) asks(p *peer, piece int) bool {
	for fl := range f.flights {
		if fl.peer == p && fl.piece == piece {
			return true
		}
	}
	return false
}

// askTrackers asks a tracker for any piece that nobody else is asked for.
func (f *fetch) askTrackers(now time.Time, open, late cut.Bitmap) {
	want := open
	if want.Count() == 0 {
		want = late
	}
	if want.Count() == 0 {
		return
	}
	urgent := f.urgent(now, want)
	for _, p := range f.peers {
		if p.tracker && p.free(now) && f.choosing(p) == 0 {
			f.launch(p, Ask{Piece: -1, Want: want, Urgent: urgent})
			return
		}
	}
}

// choosing counts the questions to a tracker of which it is not known yet what
// piece they bring.
func (f *fetch) choosing(p *peer) (n int) {
	for fl := range f.flights {
		if fl.peer == p && fl.piece < 0 {
			n++
		}
	}
	return n
}

// urgent reports whether one of the wanted pieces was for some time with nobody but
// trackers.
func (f *fetch) urgent(now time.Time, want cut.Bitmap) bool {
	offered := cut.NewBitmap(f.part.Table.Pieces())
	for _, p := range f.peers {
		if p.tracker || p.banned || p.slow || p.strikes > 0 {
			continue
		}
		for i := range p.have {
			offered[i] |= p.have[i]
		}
	}
	for i := range want {
		if want[i]&^offered[i] != 0 {
			if f.alone.IsZero() {
				f.alone = now
			}
			return now.Sub(f.alone) > aloneFor
		}
	}
	f.alone = time.Time{}
	return false
}
