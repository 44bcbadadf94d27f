package exchange

import (
	"slices"
	"sync"
)

// peerUse counts with how many fetches each node exchanges something now. It is
// cheaper to exchange another blob with them too than to connect to more nodes.
type peerUse struct {
	mu    sync.Mutex
	nodes map[string]int
}

func (u *peerUse) add(node string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.nodes == nil {
		u.nodes = map[string]int{}
	}
	u.nodes[node]++
}

func (u *peerUse) remove(node string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.nodes[node]--; u.nodes[node] <= 0 {
		delete(u.nodes, node)
	}
}

// first orders nodes, the nodes in use first.
func (u *peerUse) first(nodes []string) []string {
	u.mu.Lock()
	defer u.mu.Unlock()
	slices.SortStableFunc(nodes, func(a, b string) int { return min(u.nodes[b], 1) - min(u.nodes[a], 1) })
	return nodes
}
