package agent

import (
	"context"
	"errors"
	"slices"
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

// prune removes the images that nothing on this node uses, and all of them from its mirror.
func (n node) prune(ctx context.Context, _ Peer, r pruneRequest) (answer pruneAnswer, _ error) {
	for _, image := range r.Images {
		if d, ok := digestIn(image); ok {
			n.pins.Unpin(d)
		}
		gone, err := n.engine.RemoveUnused(ctx, image)
		if err != nil {
			n.log.Debug("failed to remove an image of an old version", "image", image, "error", err)
		}
		if !gone {
			answer.Held++
		}
	}
	return answer, nil
}

// Prune drops images from all nodes that are up, where nothing uses them, and reports
// whether none of those has one left.
func (p *Peers) Prune(ctx context.Context, images []string) bool {
	ctx, cancel := context.WithTimeout(ctx, pruneTimeout)
	defer cancel()
	answers, err := pruneCall.DoAll(ctx, p, pruneRequest{images})
	if err != nil {
		p.log.Debug("failed to remove images of old versions", "error", err)
		return false
	}
	return !slices.ContainsFunc(answers, func(a Answered[pruneAnswer]) bool {
		never := a.Node.State != fleet.StateReady || errors.Is(a.Err, deploy.ErrNoAgent)
		return !never && (a.Err != nil || a.Resp.Held > 0)
	})
}
