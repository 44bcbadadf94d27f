package member

import (
	"sync"
	"time"
)

// catchUp is how much faster than time itself the clock may run while it is behind.
const catchUp = 2

// clock is a time that no jump of the machine's clock moves far: it follows that clock,
// but no faster than catchUp times the time that crawlbox has really run. It stands while
// crawlbox does not run, so it is late rather than early, and so is what ends by it: a
// clock that is 90 days ahead for a day ends nothing but what a day would.
type clock struct {
	wall func() time.Time     // the machine's clock
	ran  func() time.Duration // how long crawlbox has run

	mu  sync.Mutex
	at  time.Time
	had time.Duration // of ran, when at was set
}

func newClock(at time.Time) *clock {
	started := time.Now()
	return &clock{wall: time.Now, ran: func() time.Duration { return time.Since(started) }, at: at.Round(0)}
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	ran := c.ran()
	more := min(c.wall().Round(0).Sub(c.at), catchUp*(ran-c.had))
	c.had = ran
	if more > 0 {
		c.at = c.at.Add(more)
	}
	return c.at
}
