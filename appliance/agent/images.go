package agent

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/crawlbox/crawlbox/appliance/fleet"
)

// holdersTimeout bounds the question to all nodes together. Who asks waits for it.
const holdersTimeout = 3 * time.Second

type imagesAnswer struct {
	Digests []string `json:"digests"`
}

// imagesCall asks which images a node's engine has.
var imagesCall = Call[None, imagesAnswer]{
	Route:     routeImages,
	MaxAnswer: 1 << 20, // some 10,000 images
	Timeout:   holdersTimeout,
}

// AnswerImages answers which images this node's engine has.
func AnswerImages(engine interface {
	ImageDigests(ctx context.Context) ([]string, error)
},
) Handler {
	return imagesCall.Handler(func(ctx context.Context, _ Peer, _ None) (imagesAnswer, error) {
		digests, err := engine.ImageDigests(ctx)
		return imagesAnswer{digests}, err
	})
}

// holders is how many nodes have which images.
type holders struct {
	all     int            // nodes of the cluster
	unknown int            // of these, those that did not answer
	have    map[string]int // by digest
}

// of returns the count for one image.
func (h holders) of(digest string) *fleet.Holders {
	return &fleet.Holders{Have: h.have[digest], All: h.all, Unknown: h.unknown}
}

// Holders asks all nodes at once, those that list returns, which images they have. Nodes
// that are down, that have no crawlbox or that do not answer in time are unknown.
func (p *Peers) Holders(ctx context.Context, list func(context.Context) ([]fleet.Node, error), log *slog.Logger) (of func(digest string) *fleet.Holders, err error) {
	ctx, cancel := context.WithTimeout(ctx, holdersTimeout)
	defer cancel()
	nodes, err := list(ctx)
	if err != nil {
		return nil, err
	}
	return countHolders(nodes, func(n fleet.Node) ([]string, error) {
		answer, err := imagesCall.Do(ctx, p, n, None{})
		if err != nil {
			log.Debug("failed to ask which images a node has", "node", n.Display, "error", err)
		}
		return answer.Digests, err
	}).of, nil
}

func countHolders(nodes []fleet.Node, ask func(fleet.Node) ([]string, error)) holders {
	h := holders{all: len(nodes), have: map[string]int{}}
	var mu sync.Mutex
	var all sync.WaitGroup
	for _, n := range nodes {
		if n.State != fleet.StateReady {
			h.unknown++
			continue
		}
		all.Go(func() {
			digests, err := ask(n)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				h.unknown++
			}
			for _, d := range digests {
				h.have[d]++
			}
		})
	}
	all.Wait()
	return h
}
