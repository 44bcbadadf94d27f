package bound

import (
	"context"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"golang.org/x/time/rate"
)

// Rate bounds how often something is done for each of many. It is safe for
// concurrent use.
type Rate[Who comparable] struct {
	// Now is the clock of all but Wait, for tests; by default time.Now.
	Now func() time.Time

	every time.Duration
	burst int
	known *lru.Cache[Who, *rate.Limiter]
}

// NewRate allows each burst times at once, and then once every. It remembers most of
// them, at least 1; the one that was quiet for longest is forgotten for another.
func NewRate[Who comparable](every time.Duration, burst, most int) *Rate[Who] {
	known, _ := lru.New[Who, *rate.Limiter](max(most, 1)) // fails for sizes below 1 only
	return &Rate[Who]{Now: time.Now, every: every, burst: burst, known: known}
}

// Allow reports whether it may be done for who now, and counts it then.
func (r *Rate[Who]) Allow(who Who) bool { return r.of(who).AllowN(r.Now(), 1) }

// Delay returns how long it takes until it may be done for who, without counting it.
func (r *Rate[Who]) Delay(who Who) time.Duration {
	have, ok := r.known.Get(who)
	if !ok {
		return 0
	}
	return time.Duration((1 - min(1, have.TokensAt(r.Now()))) * float64(r.every))
}

// Forget makes who as good as one that was never seen.
func (r *Rate[Who]) Forget(who Who) { r.known.Remove(who) }

// Wait waits until it may be done for who, and counts it. The error is that of ctx, or
// that it would end before.
func (r *Rate[Who]) Wait(ctx context.Context, who Who) error { return r.of(who).Wait(ctx) }

// Len returns how many are remembered.
func (r *Rate[Who]) Len() int { return r.known.Len() }

func (r *Rate[Who]) of(who Who) *rate.Limiter {
	if have, ok := r.known.Get(who); ok {
		return have
	}
	fresh := rate.NewLimiter(rate.Every(r.every), r.burst)
	if have, ok, _ := r.known.PeekOrAdd(who, fresh); ok {
		return have
	}
	return fresh
}
