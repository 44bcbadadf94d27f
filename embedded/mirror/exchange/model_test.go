//go:build !race

package exchange

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// troubled is how long things go wrong in a schedule of the model test.
const troubled = 40 * time.Second

// TestModel plays random schedules of nodes, bandwidths and failures. Whatever
// happens, nothing wrong can be read, no node sends more at a time than it may, and
// all nodes have the blob soon after the last failure is mended.
func TestModel(t *testing.T) {
	for seed := range uint64(25) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { play(t, rand.New(rand.NewPCG(seed, 7))) })
		})
	}
}

func play(t *testing.T, rng *rand.Rand) {
	rates := []float64{1 * mbit, 10 * mbit, 100 * mbit, 1000 * mbit}
	c := newCluster(t, 0, rates[1+rng.IntN(3)])
	slowest := rates[3]
	for range 2 + rng.IntN(12) {
		rate := rates[rng.IntN(4)]
		slowest = min(slowest, rate)
		c.addNode(rate)
	}
	img := c.push(1 + rng.IntN(40))
	// A minute for what was banned or left alone to be tried again.
	healedIn := time.Minute + time.Duration(4*img.oneCopy(slowest)*float64(time.Second))
	all := append([]*simNode{c.manager}, c.nodes...)

	var wg sync.WaitGroup
	for _, n := range c.nodes {
		begin := time.Duration(rng.Int64N(int64(troubled)))
		wg.Go(func() {
			time.Sleep(begin)
			persist(t, n, img)
		})
	}
	wg.Go(func() {
		for time.Since(c.begun) < troubled {
			time.Sleep(time.Duration(rng.Int64N(int64(3 * time.Second))))
			trouble(rng, all[rng.IntN(len(all))])
		}
		for _, n := range all {
			n.set(func() { n.dead, n.island, n.give = false, 0, nil })
		}
	})
	wg.Wait()
	if took := time.Since(c.begun); took > troubled+healedIn {
		t.Errorf("all had the blob %v after the last failure, want %v", took-troubled, healedIn)
	}
	for _, n := range all {
		if most := n.o.Slots * slotMost; n.most > most {
			t.Errorf("%s sent %d pieces at a time, want at most %d", n.addr, n.most, most)
		}
	}
}

// persist fetches until it succeeds, as Docker tries a pull again. What is wrong
// ends the test.
func persist(t *testing.T, n *simNode, img image) {
	for {
		f := &memFile{n: n, want: img.data, d: img.digest}
		err := n.Fetch(t.Context(), img.digest, f)
		if f.wrong != nil {
			t.Errorf("%s: %v", n.addr, f.wrong)
		}
		if err == nil || t.Context().Err() != nil {
			return
		}
		time.Sleep(5 * time.Second)
	}
}

// trouble lets something happen to a node.
func trouble(rng *rand.Rand, n *simNode) {
	kind, island := rng.IntN(6), rng.IntN(2)
	n.set(func() {
		switch kind {
		case 0:
			n.dead = true
		case 1:
			n.island = island
		case 2:
			n.give = func(_ context.Context, body io.ReadCloser) (io.ReadCloser, error) { return wrong{body}, nil }
		case 3:
			n.give = func(ctx context.Context, body io.ReadCloser) (io.ReadCloser, error) {
				return hanging{body, ctx}, nil
			}
		default:
			n.dead, n.island, n.give = false, 0, nil
		}
	})
}
