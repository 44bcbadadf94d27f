package bound

import (
	"context"
	"sync"
)

// Places bounds how many of each do something at a time. It is safe for
// concurrent use.
type Places[Who comparable] struct {
	most int

	mu sync.Mutex
	of map[Who]*places // those that are in or wait
}

type places struct {
	taken chan struct{}
	users int // in or waiting
}

// NewPlaces lets most of each in at a time.
func NewPlaces[Who comparable](most int) *Places[Who] {
	return &Places[Who]{most: most, of: map[Who]*places{}}
}

// Enter waits for a place. leave is to be called once; the error is that of ctx.
func (p *Places[Who]) Enter(ctx context.Context, who Who) (leave func(), err error) {
	mine := p.use(who)
	select {
	case mine.taken <- struct{}{}:
		return func() { <-mine.taken; p.release(who) }, nil
	case <-ctx.Done():
		p.release(who)
		return nil, ctx.Err()
	}
}

// Len returns how many are in or wait.
func (p *Places[Who]) Len() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.of)
}

func (p *Places[Who]) use(who Who) *places {
	p.mu.Lock()
	defer p.mu.Unlock()
	mine := p.of[who]
	if mine == nil {
		mine = &places{taken: make(chan struct{}, p.most)}
		p.of[who] = mine
	}
	mine.users++
	return mine
}

func (p *Places[Who]) release(who Who) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.of[who].users--; p.of[who].users == 0 {
		delete(p.of, who)
	}
}
