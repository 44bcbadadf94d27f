package keeper_test

import (
	"fmt"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/crawlbox/crawlbox/embedded/queue/front"
)

// BenchmarkKeeper measures pops a second through a front with leases beside those of the same
// front without, by clients that wait for each reply and by ones that pipeline.
//
//	make bench BENCH=Keeper
func BenchmarkKeeper(b *testing.B) {
	for name, start := range map[string]func(testing.TB) front.Engine{"embedded": startEmbedded, "redis": startRedis} {
		for _, depth := range []int{1, 16} {
			b.Run(fmt.Sprintf("%s/%d", name, depth), func(b *testing.B) {
				n := startNode(b, start(b), newContainers(), rules)
				for b.Loop() {
					var on, off float64
					for range 3 {
						on, off = max(on, n.rate(b, "jobs", depth)), max(off, n.rate(b, "plain", depth))
					}
					b.ReportMetric(on, "on/s")
					b.ReportMetric(off, "off/s")
					b.ReportMetric(on/off, "ratio")
					b.ReportMetric(0, "ns/op")
				}
			})
		}
	}
}

// rate fills a queue, has several clients empty it, and returns pops a second.
func (n *node) rate(b *testing.B, key string, depth int) float64 {
	const clients, items = 20, 64_000
	batch := make([]any, 1000)
	for i := 0; i < items; i += len(batch) {
		for at := range batch {
			batch[at] = "https://example.com/some/page/" + strconv.Itoa(i+at)
		}
		n.push(key, batch...)
	}
	var group sync.WaitGroup
	began := time.Now()
	for i := range clients {
		client := n.in("c" + strconv.Itoa(i))
		group.Go(func() {
			for range items / clients / depth {
				_, err := client.Pipelined(b.Context(), func(p redis.Pipeliner) error {
					for range depth {
						p.LPop(b.Context(), key)
					}
					return nil
				})
				if err != nil {
					b.Error(err)
				}
			}
		})
	}
	group.Wait()
	return items / time.Since(began).Seconds()
}
