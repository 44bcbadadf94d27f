//go:build !race

package exchange

import (
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/opencontainers/go-digest"
)

const mbit = 1e6

// cluster is a manager and nodes that know it, with network cards of so many bits
// a second.
type cluster struct {
	*world
	t       testing.TB
	manager *simNode
	nodes   []*simNode
	begun   time.Time
}

func newCluster(t testing.TB, nodes int, bits float64) *cluster {
	w := newWorld(1)
	c := &cluster{world: w, t: t, manager: w.add("manager", bits, Options{}), begun: time.Now()}
	for range nodes {
		c.addNode(bits)
	}
	return c
}

func (c *cluster) addNode(bits float64) *simNode {
	addr := fmt.Sprintf("n%03d", len(c.nodes))
	n := c.add(addr, bits, Options{
		Trackers: func() []string { return []string{"manager"} },
		Nodes:    func() []string { return c.names(addr) },
	})
	c.nodes = append(c.nodes, n)
	return n
}

// push puts a blob of so many pieces on the manager.
func (c *cluster) push(pieces int) image {
	data, d := c.blob(pieces)
	c.manager.set(func() { c.manager.blobs[d] = data })
	return image{data, d}
}

type image struct {
	data   []byte
	digest digest.Digest
}

// oneCopy returns how long an image takes through one network card.
func (i image) oneCopy(bits float64) float64 { return float64(len(i.data)) * simScale * 8 / bits }

// wants begins a fetch on each of the nodes; the result waits for all, which must
// end well.
func (c *cluster) wants(i image, nodes ...*simNode) (wait func()) {
	c.t.Helper()
	var wg sync.WaitGroup
	for _, n := range nodes {
		wg.Go(func() {
			if err := n.fetch(c.t.Context(), i.digest, i.data); err != nil {
				c.t.Error(err)
			}
		})
	}
	return wg.Wait
}

// took returns how many seconds have passed since the cluster was made.
func (c *cluster) took() float64 { return time.Since(c.begun).Seconds() }

// The time hardly grows with the nodes, nor does what the manager sends.
func TestManyNodes(t *testing.T) {
	for _, tc := range []struct {
		nodes, pieces int
		bits          float64
		most          float64 // copies that it may take
	}{{1, 42, 100 * mbit, 1.05}, {19, 42, 100 * mbit, 1.6}, {49, 42, 100 * mbit, 1.8}, {19, 42, 20 * mbit, 1.6}} {
		t.Run(fmt.Sprintf("%d nodes of %.0f Mbit", tc.nodes, tc.bits/mbit), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newCluster(t, tc.nodes, tc.bits)
				img := c.push(tc.pieces)
				c.wants(img, c.nodes...)()
				took := c.took() / img.oneCopy(tc.bits)
				sent := float64(c.manager.Stats().Sent) / float64(len(img.data))
				t.Logf("%.2f × one copy; the manager sent %.2f ×", took, sent)
				if took > tc.most || sent > 2.5 {
					t.Errorf("%.2f × one copy, want at most %.2f; the manager sent %.2f ×", took, tc.most, sent)
				}
			})
		})
	}
}

func TestTwoImagesAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 9, 100*mbit)
		a, b := c.push(20), c.push(20)
		first := c.wants(a, c.nodes...)
		c.wants(b, c.nodes...)()
		first()
		if took := c.took() / a.oneCopy(100*mbit); took > 3.5 {
			t.Errorf("%.2f × one copy of one of them", took)
		}
	})
}

func TestJoinsDuringADistribution(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 9, 100*mbit)
		img := c.push(42)
		wait := c.wants(img, c.nodes...)
		time.Sleep(2 * time.Second)
		late := c.addNode(100 * mbit)
		begun := time.Now()
		c.wants(img, late)()
		wait()
		if took := time.Since(begun).Seconds() / img.oneCopy(100*mbit); took > 1.6 {
			t.Errorf("it took the late one %.2f × one copy", took)
		}
		if late.Stats().FromPeers == 0 {
			t.Error("it got nothing from the others")
		}
	})
}

// What is there already is given on by those who have it: the manager sends little
// more than before.
func TestLaterWave(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 10, 100*mbit)
		img := c.push(42)
		c.wants(img, c.nodes[:5]...)()
		before := c.manager.Stats().Sent
		c.wants(img, c.nodes[5:]...)()
		if more := float64(c.manager.Stats().Sent-before) / float64(len(img.data)); more > 1.5 {
			t.Errorf("the manager sent %.2f copies more", more)
		}
	})
}

func TestUnknownBlob(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 1, 100*mbit)
		data, d := c.blob(3)
		if err := c.nodes[0].fetch(t.Context(), d, data); err == nil || time.Since(c.begun) > time.Second {
			t.Errorf("%v after %.1f s", err, c.took())
		}
	})
}

// Slots hold also where many want pieces of one node.
func TestSlots(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 30, 100*mbit)
		c.wants(c.push(42), c.nodes...)()
		for _, n := range append(c.nodes, c.manager) {
			if n.most > n.o.Slots {
				t.Errorf("%s sent %d pieces at a time, want at most %d", n.addr, n.most, n.o.Slots)
			}
		}
	})
}

// BenchmarkManyNodes gives what 500 nodes with network cards of 100 Mbit/s take, in
// simulated time and in copies of an image of 42 MiB.
func BenchmarkManyNodes(b *testing.B) {
	for _, nodes := range []int{19, 49, 200, 500} {
		b.Run(fmt.Sprintf("%d-nodes", nodes), func(b *testing.B) {
			var took, sent float64
			for b.Loop() {
				simulate(b, func(t testing.TB) {
					c := newCluster(t, nodes, 100*mbit)
					img := c.push(42)
					c.wants(img, c.nodes...)()
					took += c.took() / img.oneCopy(100*mbit)
					sent += float64(c.manager.Stats().Sent) / float64(len(img.data))
				})
			}
			b.ReportMetric(took/float64(b.N), "copies")
			b.ReportMetric(sent/float64(b.N), "copies-sent")
			b.ReportMetric(0, "ns/op")
		})
	}
}

// simulate runs a benchmark's body with the simulated clock, for which a test is
// needed.
func simulate(b *testing.B, do func(t testing.TB)) {
	b.Helper()
	ok := testing.RunTests(func(string, string) (bool, error) { return true, nil }, []testing.InternalTest{{
		Name: b.Name(), F: func(t *testing.T) { synctest.Test(t, func(t *testing.T) { do(t) }) },
	}})
	if !ok {
		b.Fatal("the simulation failed")
	}
}
