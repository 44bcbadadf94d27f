package agent

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/crawlbox/crawlbox/appliance/deploy"
	"github.com/crawlbox/crawlbox/appliance/fleet"
)

// holdersTimeout bounds the question to all nodes together. The caller waits for it.
const holdersTimeout = 3 * time.Second

type imagesAnswer struct {
	Digests []string `json:"digests"`
}

// imagesCall asks which images a node's engine has.
var imagesCall = Call[None, imagesAnswer]{
	Route:     routeImages,
	MaxAnswer: 1 << 20, // some 10,000 images
}

func (n node) images(ctx context.Context, _ Peer, _ None) (imagesAnswer, error) {
	digests, err := n.engine.ImageDigests(ctx)
	return imagesAnswer{digests}, err
}

// holders counts the nodes that have an image.
type holders struct {
	all     int            // nodes of the cluster
	unknown int            // of these, those that did not answer
	have    map[string]int // by digest
}

// of returns the count for one image.
func (h holders) of(digest string) *fleet.Holders {
	return &fleet.Holders{Have: h.have[digest], All: h.all, Unknown: h.unknown}
}

// Holders asks all nodes at once which images they have. Nodes that are down, that have no
// crawlbox or that do not answer in time are unknown.
func (p *Peers) Holders(ctx context.Context) (of func(digest string) *fleet.Holders, err error) {
	ctx, cancel := context.WithTimeout(ctx, holdersTimeout)
	defer cancel()
	answers, err := imagesCall.DoAll(ctx, p, None{})
	if err != nil {
		return nil, err
	}
	h := holders{all: len(answers), have: map[string]int{}}
	for _, a := range answers {
		if a.Err != nil {
			h.unknown++
		}
		for _, d := range a.Resp.Digests {
			h.have[d]++
		}
	}
	return h.of, nil
}

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
