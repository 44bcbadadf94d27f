package join

import (
	"math/rand/v2"
	"time"

	"golang.org/x/time/rate"
)

const (
	// crowdSize is how many nodes that join at the same moment are no crowd, and
	// crowdPause after what time one more is none.
	crowdSize  = 5
	crowdPause = 2 * time.Second
	// crowdWait is what a node of a crowd waits, at least; at most half as much more.
	crowdWait = 10 * time.Second
)

// newCrowd tells nodes that join one by one from those that join all together.
func newCrowd() *rate.Limiter { return rate.NewLimiter(rate.Every(crowdPause), crowdSize) }

// settle is how long the node that is let in now waits, once it is in the swarm,
// before it begins what its tasks do not need. Gossip costs each node the more,
// the more others are new, and would take from a crowd what it needs to get into
// the swarm.
func (s *Server) settle() time.Duration {
	if s.crowd.Allow() {
		return 0
	}
	return crowdWait + rand.N(crowdWait/2)
}
