package gossip

import (
	"context"
	"math/rand/v2"
	"net/netip"
	"time"

	"github.com/hashicorp/memberlist"

	"github.com/crawlbox/crawlbox/appliance/base/clock"
)

// aliasPause is how long a seed is left alone that answered but is listed
// as no member: it is a member under another address, behind NAT for example.
const aliasPause = 5 * time.Minute

// seek dials seeds that are not among the living, until ctx ends. It never
// stops looking: members forget one another half a minute after they lost
// touch, so without it a split network would stay split.
func (g *Gossip) seek(ctx context.Context, list *memberlist.Memberlist) {
	answered := map[netip.AddrPort]time.Time{}
	pause := g.opts.retryMin
	for ctx.Err() == nil {
		missing := append(g.missingSeeds(answered), g.roster.lost()...)
		if len(missing) == 0 {
			_ = clock.Sleep(ctx, g.opts.retryMax)
			pause = g.opts.retryMin
			continue
		}
		for _, addr := range missing {
			// One that answered may have brought the others with it.
			if g.roster.states()[addr] != Alive && g.dial(ctx, list, addr) {
				answered[addr] = time.Now()
			}
		}
		// Half of it is chance, so that hundreds of workers do not call a manager
		// that comes back in the same instant.
		_ = clock.Sleep(ctx, pause/2+rand.N(pause/2+1))
		pause = min(2*pause, g.opts.retryMax)
	}
}

// dial exchanges the membership with an address and reports whether it answered.
func (g *Gossip) dial(ctx context.Context, list *memberlist.Memberlist, addr netip.AddrPort) bool {
	if ctx.Err() != nil {
		return false
	}
	if _, err := list.Join([]string{addr.String()}); err != nil {
		g.log.Debug("no gossip with seed", "addr", addr, "error", err)
		return false
	}
	return true
}

// missingSeeds returns the seeds that are no living members.
func (g *Gossip) missingSeeds(answered map[netip.AddrPort]time.Time) []netip.AddrPort {
	states := g.roster.states()
	states[g.LocalAddr()] = Alive
	var missing []netip.AddrPort
	for _, seed := range g.opts.Seeds() {
		seed = netip.AddrPortFrom(seed.Addr().Unmap(), seed.Port())
		state, known := states[seed]
		alias := !known && time.Since(answered[seed]) < aliasPause
		if !seed.IsValid() || state == Alive || alias {
			continue
		}
		states[seed] = Alive // listed twice is dialled once
		missing = append(missing, seed)
	}
	return missing
}

// states returns how the members are, by the address at which they listen.
func (r *roster) states() map[netip.AddrPort]State {
	r.mu.Lock()
	defer r.mu.Unlock()
	states := map[netip.AddrPort]State{}
	for _, e := range r.entries {
		addr := netip.AddrPortFrom(e.Addr, e.port)
		if states[addr] != Alive {
			states[addr] = e.State
		}
	}
	return states
}

// lost picks at most one failed member to try again. As in Serf, the chance is
// the share of the failed to the living, so that the whole cluster together
// tries each lost node at a steady rate.
func (r *roster) lost() []netip.AddrPort {
	r.mu.Lock()
	defer r.mu.Unlock()
	failed := r.count(Failed)
	if failed == 0 || rand.Float64() > float64(failed)/float64(max(1, r.count(Alive))) {
		return nil
	}
	skip := rand.IntN(failed)
	for _, e := range r.entries {
		if e.State != Failed {
			continue
		}
		if skip == 0 {
			return []netip.AddrPort{netip.AddrPortFrom(e.Addr, e.port)}
		}
		skip--
	}
	return nil
}
