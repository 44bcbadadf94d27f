package statetest

import (
	"context"
	"sync"

	"github.com/crawlbox/crawlbox/appliance/cluster/state"
)

// Busy is a store in which somebody else is faster: Other is called between what was read and
// the commit, as often as Times says.
type Busy struct {
	state.Store
	Other func() error

	mu    sync.Mutex
	times int
}

// Times has Other called before each of the next n commits.
func (b *Busy) Times(n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.times = n
}

// Left returns before how many more Other will be called.
func (b *Busy) Left() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.times
}

// Commit implements state.Store.
func (b *Busy) Commit(
	ctx context.Context, base state.Version, changes state.Contents, message string, read ...string,
) (state.Version, error) {
	b.mu.Lock()
	faster := b.times > 0
	b.times = max(0, b.times-1)
	b.mu.Unlock()
	if faster {
		if err := b.Other(); err != nil {
			return "", err
		}
	}
	return b.Store.Commit(ctx, base, changes, message, read...)
}
