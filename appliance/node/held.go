package node

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/crawlbox/crawlbox/appliance/base/bound"
	"github.com/crawlbox/crawlbox/appliance/fleet"
)

// pathHeld is where a manager asks a node which images its engine has.
const pathHeld = "/v1/held"

const (
	// heldTimeout bounds the question to all nodes together. Who asks waits for it.
	heldTimeout = 3 * time.Second
	// maxHeld bounds an answer: some 10,000 images.
	maxHeld = 1 << 20
)

type heldAnswer struct {
	Digests []string `json:"digests"`
}

// answerHeld tells a manager which images this node's engine has.
func (w *Worker) answerHeld(rw http.ResponseWriter, r *http.Request) {
	digests, err := w.engine.ImageDigests(r.Context())
	if err != nil {
		http.Error(rw, err.Error(), http.StatusServiceUnavailable)
		return
	}
	_ = json.NewEncoder(rw).Encode(heldAnswer{digests})
}

// holders is how many nodes have which images.
type holders struct {
	all     int            // nodes of the cluster
	unknown int            // of these, those that did not answer
	have    map[string]int // by digest
}

// of says it of one image.
func (h holders) of(digest string) *fleet.Holders {
	return &fleet.Holders{Have: h.have[digest], All: h.all, Unknown: h.unknown}
}

// holders asks all nodes at once. Those that are down, that have no crawlbox or that
// do not answer in time are unknown.
func (m *Manager) holders(ctx context.Context) (of func(digest string) *fleet.Holders, err error) {
	ctx, cancel := context.WithTimeout(ctx, heldTimeout)
	defer cancel()
	nodes, err := m.engine.Nodes(ctx)
	if err != nil {
		return nil, err
	}
	return countHolders(nodes, func(n fleet.Node) ([]string, error) {
		digests, err := m.heldOn(ctx, n)
		if err != nil {
			m.log.Debug("ask which images a node has", "node", n.Display, "error", err)
		}
		return digests, err
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

func (m *Manager) heldOn(ctx context.Context, n fleet.Node) ([]string, error) {
	if n.Addr == m.addr.String() {
		return m.engine.ImageDigests(ctx)
	}
	body, err := m.tellNode(ctx, n, pathHeld, nil)
	if err != nil {
		return nil, err
	}
	defer body.Close()
	var answer heldAnswer
	if err := bound.JSON(body, maxHeld, &answer); err != nil {
		return nil, fmt.Errorf("read which images %s has: %w", n.Display, err)
	}
	return answer.Digests, nil
}
