package agent

import (
	"context"
	"time"

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
