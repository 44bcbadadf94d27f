package exchange

import (
	"context"
	"errors"
	"maps"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/crawlbox/crawlbox/embedded/mirror/exchange/cut"
)

const (
	// perPeer is how many pieces are asked of one node at a time: the next is on its
	// way while one is checked.
	perPeer = 2
	// busyRest is how long a busy node is left alone, and enoughRest one
	// that leaves a piece to others.
	busyRest   = 30 * time.Millisecond
	enoughRest = 250 * time.Millisecond
	// strikeRest is how long a node that failed is left alone; it doubles with each
	// failure in a row. After strikesOut of them another takes its place.
	strikeRest = 500 * time.Millisecond
	strikesOut = 5
	// strangersMost bounds those that come by themselves, beyond Options.Peers.
	strangersMost = 4
	// uselessFor is how long a peer may have nothing to give, at least, before another
	// takes its place, and silentFor how long it may say nothing: a connection takes
	// its time where all are made at once. knownMost bounds those that wait for a place.
	uselessFor = 2 * time.Second
	silentFor  = 10 * time.Second
	knownMost  = 200
)

// peer is another node as a fetch sees it.
type peer struct {
	addr      string
	tracker   bool // has all, and chooses itself what it gives
	have      cut.Bitmap
	following bool
	unfollow  context.CancelFunc
	heard     bool      // it has said what it has
	useful    time.Time // when it had something to give last
	flights   int
	rest      time.Time // until when it is not asked
	strikes   int       // in a row
	slow      bool      // did not send what it should lately
	banned    bool      // sent wrong bytes
}

// free reports whether a peer can be asked for a piece.
func (p *peer) free(now time.Time) bool {
	most := perPeer
	if p.slow {
		most = 1
	}
	return !p.banned && p.flights < most && !now.Before(p.rest)
}

// strike lets a peer rest after a failure.
func (p *peer) strike(now time.Time) {
	p.rest = now.Add(strikeRest << min(p.strikes, 6))
	p.strikes++
}

// pauseFor lets a peer rest for about so long: many that were told the same should not
// come back at the same moment.
func (p *peer) pauseFor(now time.Time, d time.Duration) {
	p.rest = now.Add(d/2 + rand.N(d))
}

// meet remembers a node that takes part, and begins the exchange with it if there
// is room. One that came by itself finds more room.
func (f *fetch) meet(node string, came bool) {
	if node == "" || node == f.x.o.Self {
		return
	}
	p := f.peers[node]
	if p == nil {
		most := f.x.o.Peers
		if came {
			most += strangersMost
		}
		if len(f.peers) >= most {
			if len(f.known) < knownMost {
				f.known[node] = struct{}{}
			}
			return
		}
		p = &peer{addr: node, have: cut.NewBitmap(f.part.Table.Pieces()), useful: time.Now()}
		f.peers[node] = p
		f.x.peerUse.add(node)
		delete(f.known, node)
	}
	f.resume(p)
}

// meetAll meets nodes, those first with which another blob is exchanged: there is a
// connection to them.
func (f *fetch) meetAll(nodes []string) {
	for _, node := range f.x.peerUse.first(nodes) {
		f.meet(node, false)
	}
}

// resume follows a peer, unless it is followed or there is no use in it.
func (f *fetch) resume(p *peer) {
	if p.tracker || p.banned || p.following || time.Now().Before(p.rest) || p.have.Count() == f.part.Table.Pieces() {
		return
	}
	p.following = true
	ctx, cancel := context.WithCancel(f.ctx)
	p.unfollow = cancel
	f.wg.Go(func() { defer cancel(); f.follow(ctx, p) })
}

// refresh puts another in the place of the peer that had nothing to give for longest, if
// that is long. Where none has, the others will hardly have more.
func (f *fetch) refresh(now time.Time) {
	have, _, _ := f.part.State()
	patience := max(uselessFor, 8*f.typical)
	var worst *peer
	useful := false
	for _, p := range f.peers {
		if p.tracker {
			continue
		}
		f.resume(p)
		if p.flights > 0 || p.has(have) {
			p.useful, useful = now, true
		}
		if p.idle(now) > patience && (worst == nil || p.useful.Before(worst.useful)) {
			worst = p
		}
	}
	if worst != nil && len(f.known) > 0 && (useful || now.Sub(f.replaced) > patience) {
		f.replaced = now
		f.drop(worst)
	}
	if len(f.peers) < f.x.o.Peers {
		f.meetAll(slices.Collect(maps.Keys(f.known)))
	}
}

// idle returns for how long a peer had nothing to give that has said what it has, or that
// should have by now.
func (p *peer) idle(now time.Time) time.Duration {
	since := now.Sub(p.useful)
	if !p.heard && since < silentFor {
		return 0
	}
	return since
}

// has reports whether a peer has pieces beyond these.
func (p *peer) has(beyond cut.Bitmap) bool {
	for i := range beyond {
		if p.have[i]&^beyond[i] != 0 {
			return true
		}
	}
	return false
}

// follow takes up what a peer has for as long as it says so.
func (f *fetch) follow(ctx context.Context, p *peer) {
	err := f.x.o.Network.Follow(ctx, p.addr, f.part.Digest, func(n News) {
		f.later(func() {
			f.hear(p, n)
		})
	})
	f.later(func() {
		p.following = false
		switch {
		case err == nil, errors.Is(err, context.Canceled):
		case errors.Is(err, ErrUnknown): // it may have it later
			p.pauseFor(time.Now(), 2*meetEvery)
			f.drop(p)
		default:
			f.lastFail = err
			p.strike(time.Now())
			if p.strikes > strikesOut {
				f.drop(p)
			}
		}
	})
}

// hear takes up news of a peer.
func (f *fetch) hear(p *peer, n News) {
	p.heard = true
	if len(n.Have) == len(p.have) {
		p.have = n.Have
		f.theirs.Store(p.addr, n.Have.Clone())
	}
	f.meetAll(n.Nodes)
}

// helps reports whether a node has not all that is here beyond what it was told. What it
// has itself it need not hear of: that is half of all news.
func (f *fetch) helps(node string, have, told cut.Bitmap) bool {
	theirs, ok := f.theirs.Load(node)
	if !ok {
		return true
	}
	for i, its := range theirs.(cut.Bitmap) {
		if have[i]&^told[i]&^its != 0 {
			return true
		}
	}
	return false
}

// drop makes room for another peer, unless pieces of this one are under way.
func (f *fetch) drop(p *peer) {
	if p.flights > 0 || p.banned {
		return
	}
	if p.unfollow != nil {
		p.unfollow()
	}
	if p.strikes == 0 {
		f.known[p.addr] = struct{}{}
	}
	delete(f.peers, p.addr)
	f.x.peerUse.remove(p.addr)
}

// quicker reports whether a is likely to give a piece sooner than b.
func quicker(a, b *peer) bool {
	if a.slow != b.slow {
		return b.slow
	}
	return a.flights < b.flights
}
