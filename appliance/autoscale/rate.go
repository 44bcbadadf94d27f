package autoscale

import (
	"math"
	"time"
)

const (
	// rateHalf is after how much of the work of one replica what was measured counts half.
	rateHalf = 10 * time.Minute
	// rateItems and rateTime are the least from which a rate is told: some three items, of which older ones count less.
	rateItems = 2.5
	rateTime  = 20 * time.Second
	// longestGap is between two looks that are compared.
	longestGap = time.Minute
)

// rate measures how many items a replica takes in a second, while there are items to take: a replica that waits for
// some says nothing about how fast it is.
type rate struct {
	items, seconds float64 // of one replica each, the older the less

	at      time.Time // of the last look; zero: there was none
	running int
	queue   Queue
}

// see takes a look at the queue into account.
func (r *rate) see(now time.Time, running int, q Queue) {
	last := *r
	r.at, r.running, r.queue = now, running, q
	passed := now.Sub(last.at)
	switch {
	case last.at.IsZero() || passed <= 0 || passed > longestGap:
		return
	case last.queue.Waiting == 0 || q.Waiting == 0 || last.running == 0 || running == 0:
		return
	}
	out := last.queue.Waiting - q.Waiting // those that came in meanwhile are missing
	if q.Counted && last.queue.Counted {
		out = q.Out - last.queue.Out
	}
	if out < 0 { // the counts began anew, or the queue only grew
		return
	}
	work := passed.Seconds() * float64(last.running+running) / 2
	fade := math.Exp2(-passed.Seconds() / rateHalf.Seconds())
	r.items, r.seconds = last.items*fade+float64(out), last.seconds*fade+work
}

// perSecond returns how many items a replica takes in a second; 0: that is not known yet.
func (r *rate) perSecond() float64 {
	if r.items < rateItems || r.seconds < rateTime.Seconds() {
		return 0
	}
	return r.items / r.seconds
}
