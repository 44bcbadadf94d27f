package agent

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/crawlbox/crawlbox/appliance/deploy"
	"github.com/crawlbox/crawlbox/appliance/fleet"
)

// pruneTimeout bounds the whole of it. What is left is dropped the next time.
const pruneTimeout = time.Minute

type pruneRequest struct {
	Images []string `json:"images"` // with their digests
}

type pruneAnswer struct {
	Held int `json:"held"` // images that are still there, since something uses them
}

// pruneCall lets a node drop images that no service goes back to.
var pruneCall = Call[pruneRequest, pruneAnswer]{
	Route:      routePrune,
	MaxRequest: 64 << 10,
	MaxAnswer:  4 << 10,
	Invalid:    "not a list of images",
}

// AnswerPrune removes the images that nothing on this node uses, and all of them from its
// mirror.
func AnswerPrune(engine interface {
	RemoveUnused(ctx context.Context, image string) (gone bool, err error)
}, pins Pins, log *slog.Logger,
) Handler {
	return pruneCall.Handler(func(ctx context.Context, _ Peer, r pruneRequest) (answer pruneAnswer, _ error) {
		for _, image := range r.Images {
			if d, ok := digestIn(image); ok {
				pins.Unpin(d)
			}
			gone, err := engine.RemoveUnused(ctx, image)
			if err != nil {
				log.Debug("failed to remove an image of an old version", "image", image, "error", err)
			}
			if !gone {
				answer.Held++
			}
		}
		return answer, nil
	})
}

// Prune drops images from all nodes that are up, of those that list returns, where nothing
// uses them, and reports whether none of those has one left.
func (p *Peers) Prune(ctx context.Context, list func(context.Context) ([]fleet.Node, error), images []string, log *slog.Logger) bool {
	ctx, cancel := context.WithTimeout(ctx, pruneTimeout)
	defer cancel()
	nodes, err := list(ctx)
	if err != nil {
		log.Debug("failed to remove images of old versions", "error", err)
		return false
	}
	var all sync.WaitGroup
	var held atomic.Int64
	for _, n := range nodes {
		if n.State != fleet.StateReady {
			continue
		}
		all.Go(func() {
			answer, err := pruneCall.Do(ctx, p, n, pruneRequest{images})
			if errors.Is(err, deploy.ErrNotStageable) {
				return // nothing will ever be removed there
			}
			if err != nil {
				log.Debug("failed to remove images of old versions", "node", n.Display, "error", err)
				answer.Held = len(images)
			}
			held.Add(int64(answer.Held))
		})
	}
	all.Wait()
	return held.Load() == 0
}
