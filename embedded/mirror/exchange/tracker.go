package exchange

import (
	"sync"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"github.com/opencontainers/go-digest"
)

const (
	// trackedFor is how long a node counts as one that has a blob after it asked for
	// it. A node that asks it in vain goes on to others.
	trackedFor = time.Hour
	// trackedSome is how many nodes are named to one that asks.
	trackedSome = 30
	// trackedMost bounds the nodes of one blob.
	trackedMost = 2000
)

// tracker knows which nodes take part in the exchange of which blobs.
type tracker struct {
	mu    sync.Mutex
	blobs *lru.Cache[digest.Digest, map[string]time.Time]
}

func newTracker() *tracker {
	c, _ := lru.New[digest.Digest, map[string]time.Time](remembered)
	return &tracker{blobs: c}
}

// note remembers that a node takes part, and returns some others that do.
func (t *tracker) note(d digest.Digest, node string) []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	nodes, ok := t.blobs.Get(d)
	if !ok {
		nodes = map[string]time.Time{}
		t.blobs.Add(d, nodes)
	}
	now := time.Now()
	var others []string
	for n, seen := range nodes {
		switch {
		case now.Sub(seen) > trackedFor:
			delete(nodes, n)
		case n != node:
			others = append(others, n)
		}
	}
	if node != "" && len(nodes) < trackedMost {
		nodes[node] = now
	}
	return shuffled(others)[:min(trackedSome, len(others))]
}
