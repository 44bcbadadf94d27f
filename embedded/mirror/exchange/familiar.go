package exchange

import (
	"slices"
	"sync"
)

// familiar counts with how many fetches each node exchanges something now. It is
// cheaper to exchange another blob with them too than to connect to more nodes.
type familiar struct {
	mu    sync.Mutex
	nodes map[string]int
}

func (f *familiar) add(node string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.nodes == nil {
		f.nodes = map[string]int{}
	}
	f.nodes[node]++
}

func (f *familiar) remove(node string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.nodes[node]--; f.nodes[node] <= 0 {
		delete(f.nodes, node)
	}
}

// first orders nodes, the familiar ones first.
func (f *familiar) first(nodes []string) []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	slices.SortStableFunc(nodes, func(a, b string) int { return min(f.nodes[b], 1) - min(f.nodes[a], 1) })
	return nodes
}
