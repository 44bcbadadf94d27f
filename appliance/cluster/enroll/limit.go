package enroll

import (
	"math/rand/v2"
	"net/netip"
	"time"

	"golang.org/x/time/rate"

	"github.com/crawlbox/crawlbox/appliance/base/bound"
	"github.com/crawlbox/crawlbox/appliance/cluster/pki"
)

const (
	// limitBurst is how many tries may fail at once: enough for mistakes with
	// several machines behind one address.
	limitBurst = 10
	// limitPause is the time after which one more may fail.
	limitPause = 5 * time.Second
	// limitAddrs bounds the addresses that are known to have failed. The one that
	// was quiet for longest is forgotten for another.
	limitAddrs = 4096
)

// What a node may ask of a manager: as much as it needs where its Docker does not come
// into the swarm, or where many nodes are removed, and no more.
const (
	signBurst = 30
	askBurst  = 60
	askEvery  = time.Second / 2
)

// signEvery is how often a node may get a certificate, which it needs twice in its life.
func signEvery() time.Duration { return min(time.Minute, pki.NodeLife()/20) }

// authLimiter bounds the tries to join that fail, per address. Those that succeed
// are free, so a whole rack may join through one NAT. Its methods may be called
// at the same time.
type authLimiter struct {
	failures *bound.Rate[netip.Prefix]
}

func newAuthLimiter() *authLimiter {
	return &authLimiter{bound.NewRate[netip.Prefix](limitPause, limitBurst, limitAddrs)}
}

// allow reports whether an address may try. If not, it may in limitPause.
func (l *authLimiter) allow(addr netip.Addr) bool { return l.failures.Delay(bound.Prefix(addr)) == 0 }

// failed counts a try that was refused.
func (l *authLimiter) failed(addr netip.Addr) { l.failures.Allow(bound.Prefix(addr)) }

const (
	// joinBurst nodes may start at once when they join at the same moment, and one more
	// every joinEvery.
	joinBurst = 5
	joinEvery = 2 * time.Second
	// minStartDelay is how long each of the others waits at least; at most half as much more.
	minStartDelay = 10 * time.Second
)

// newJoinRate tells nodes that join one by one from those that join all together.
func newJoinRate() *rate.Limiter { return rate.NewLimiter(rate.Every(joinEvery), joinBurst) }

// startDelay is how long the node that is let in now waits, once it is in the swarm,
// before it begins what its tasks do not need. Gossip costs each node the more,
// the more others are new, and would take from many at once what they need to get
// into the swarm.
func (s *Server) startDelay() time.Duration {
	if s.joinRate.Allow() {
		return 0
	}
	return minStartDelay + rand.N(minStartDelay/2)
}
