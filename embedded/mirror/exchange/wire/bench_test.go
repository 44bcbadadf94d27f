package wire

import (
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/crawlbox/crawlbox/embedded/mirror/exchange"
)

// BenchmarkHTTP brings 42 MB to 19 nodes over TLS on loopback, and gives what that
// costs of processor time for a GB that arrives: both ends and the file included.
func BenchmarkHTTP(b *testing.B) {
	var used time.Duration
	var bytes int64
	for b.Loop() {
		b.StopTimer()
		manager, sites := newSites(b, 19, exchange.Options{})
		data, d := manager.put(42e6)
		before := cpu(b)
		b.StartTimer()
		var wg sync.WaitGroup
		for _, s := range sites {
			wg.Go(func() {
				if err := s.get(b.Context(), d, data); err != nil {
					b.Error(err)
				}
			})
		}
		wg.Wait()
		b.StopTimer()
		used += cpu(b) - before
		bytes += int64(len(sites) * len(data))
		b.StartTimer()
	}
	b.ReportMetric(used.Seconds()/float64(bytes)*1e9, "cpu-s/GB")
}

// cpu returns the processor time that this process has used.
func cpu(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
