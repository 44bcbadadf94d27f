package registry

import (
	"context"
	"errors"
	"time"

	"golang.org/x/sync/semaphore"
)

const (
	// smallManifest is the longest one that is small, in bytes: one of a hundred layers has 20 KiB.
	smallManifest = 64 << 10
	// roomForSmall and roomForLarge bound the manifests in memory that are pushed at the same time, in bytes. The
	// connections that one who pushes may have are too few to take the whole room for small ones from the others.
	roomForSmall = 32 << 20
	roomForLarge = 32 << 20
	// roomPatience is how long a push waits for room.
	roomPatience = 30 * time.Second
)

// errNoRoom is returned to a push that found no room.
var errNoRoom = errors.New("too many images are being pushed at the same time; push again in a moment")

// room bounds the manifests that are in memory until other registries have their images, which may take long.
type room struct {
	small, large *semaphore.Weighted
	patience     time.Duration
}

func newRoom() *room {
	return &room{semaphore.NewWeighted(roomForSmall), semaphore.NewWeighted(roomForLarge), roomPatience}
}

// enter waits until there is room for a manifest of a length in bytes; negative: it is not known. leave is to be
// called once.
func (m *room) enter(ctx context.Context, length int64) (leave func(), err error) {
	of, size := m.large, int64(maxManifest)
	switch {
	case length < 0 || length > maxManifest: // of which no more is read
	case length <= smallManifest:
		of, size = m.small, max(length, 1)
	default:
		size = length
	}
	waits, cancel := context.WithTimeoutCause(ctx, m.patience, errNoRoom)
	defer cancel()
	if of.Acquire(waits, size) != nil {
		return nil, context.Cause(waits)
	}
	return func() { of.Release(size) }, nil
}
