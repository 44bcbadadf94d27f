//go:build !race

package exchange

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/crawlbox/crawlbox/appliance/base/testenv"
)

// layers are an image of some blobs.
type layers []image

func (c *cluster) pushLayers(pieces ...int) (l layers) {
	for _, n := range pieces {
		l = append(l, c.push(n))
	}
	return l
}

func (l layers) bytes() (n int) {
	for _, i := range l {
		n += len(i.data)
	}
	return n
}

func (l layers) oneCopy(bits float64) (seconds float64) {
	for _, i := range l {
		seconds += i.oneCopy(bits)
	}
	return seconds
}

// pulls brings an image to all nodes as Docker pulls it: three layers at a time, the
// next one when one has come.
func (c *cluster) pulls(l layers) {
	delays := rand.New(rand.NewPCG(testenv.Seed(c.t), 2))
	var wg sync.WaitGroup
	for _, n := range c.nodes {
		delay := time.Duration(delays.Int64N(int64(300 * time.Millisecond)))
		wg.Go(func() {
			time.Sleep(delay)
			room := make(chan struct{}, 3)
			var wg sync.WaitGroup
			for _, i := range l {
				room <- struct{}{}
				wg.Go(func() { c.wants(i, n)(); <-room })
			}
			wg.Wait()
		})
	}
	wg.Wait()
}

// Where all cards are slow, pieces take many seconds. That is no reason to send more of
// them at a time, nor to give up.
func TestSlowCards(t *testing.T) {
	for _, bits := range []float64{20 * mbit, 5 * mbit, 2 * mbit} {
		t.Run(fmt.Sprintf("%.0f Mbit", bits/mbit), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newCluster(t, 19, bits)
				img := c.pushLayers(2, 15, 15, 10)
				c.pulls(img)
				took := c.took() / img.oneCopy(bits)
				t.Logf("%.2f × one copy", took)
				if took > 2 {
					t.Errorf("%.2f × one copy, want at most 2", took)
				}
				if most := c.manager.most; most > 2*c.manager.o.Slots {
					t.Errorf("the manager sent %d pieces at a time", most)
				}
			})
		})
	}
}

// Some nodes with slow lines, which take all slots of the manager first, do not keep
// it from serving the others for longer than it takes to see that they are slow.
func TestSlowTakers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 10, 100*mbit)
		img := c.push(42)
		var slow []*simNode
		for range 8 {
			slow = append(slow, c.addNode(mbit/2))
		}
		wait := c.wants(img, slow...)
		delays := rand.New(rand.NewPCG(testenv.Seed(t), 2))
		time.Sleep(time.Second + time.Duration(delays.Int64N(int64(100*time.Millisecond))))
		begun := time.Now()
		c.wants(img, c.nodes[:10]...)()
		took := time.Since(begun).Seconds() / img.oneCopy(100*mbit)
		t.Logf("%.2f × one copy", took)
		if took > 10 {
			t.Errorf("%.2f × one copy, want at most 10", took)
		}
		wait()
	})
}

// BenchmarkLayers brings an image of four layers, 42 MB, to nodes with network cards of
// the rate given, in copies of the image.
func BenchmarkLayers(b *testing.B) {
	for _, tc := range []struct {
		nodes int
		bits  float64
	}{{19, 100 * mbit}, {49, 100 * mbit}, {19, 20 * mbit}, {19, 2 * mbit}} {
		b.Run(fmt.Sprintf("%d-nodes-%.0f-mbit", tc.nodes, tc.bits/mbit), func(b *testing.B) {
			var took, sent float64
			for b.Loop() {
				simulate(b, func(t testing.TB) {
					c := newCluster(t, tc.nodes, tc.bits)
					img := c.pushLayers(2, 15, 15, 10)
					c.pulls(img)
					took += c.took() / img.oneCopy(tc.bits)
					sent += float64(c.manager.Stats().Sent) / float64(img.bytes())
				})
			}
			b.ReportMetric(took/float64(b.N), "copies")
			b.ReportMetric(sent/float64(b.N), "copies-sent")
			b.ReportMetric(0, "ns/op")
		})
	}
}
