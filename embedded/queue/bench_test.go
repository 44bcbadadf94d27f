package queue

import (
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"time"
)

// benchRounds is how often the servers are measured in turn; the median counts.
const benchRounds = 3

// BenchmarkQueue measures the queue and a redis-server beside it: on the same
// machine, in the same run, in turn, with the same load. redis-server writes
// nothing to disk, the queue keeps its journal. A rate of 0 means that fillMax
// was not enough, or that no reply came within roundMax.
//
//	make bench BENCH=Queue
func BenchmarkQueue(b *testing.B) {
	for _, row := range loadRows {
		sizes := []int{300_000, 1_000_000}
		if row.once {
			sizes = []int{1}
		}
		for _, n := range sizes {
			b.Run(row.title(n), func(b *testing.B) {
				for b.Loop() {
					report(b, row, n)
				}
			})
		}
	}
	for _, n := range []int{300_000, 1_000_000} {
		b.Run(fmt.Sprintf("expiry-lag/%d", n), func(b *testing.B) {
			for b.Loop() {
				reportExpiry(b, n)
			}
		})
	}
	for _, row := range memoryRows {
		b.Run("memory-"+row.name, func(b *testing.B) {
			for b.Loop() {
				reportMemory(b, row)
			}
		})
	}
}

func (r loadRow) title(n int) string {
	if r.once {
		return r.name
	}
	return fmt.Sprintf("%s/%d", r.name, n)
}

// contender is one of the two servers, with what it did.
type contender struct {
	redisServer
	name    string
	rates   []float64
	slowest atomic.Int64 // of all exchanges, in ns
	out     bool         // an error ended it
}

// contenders starts both.
func contenders(b *testing.B) []*contender {
	return []*contender{
		{redisServer: startRedis(b), name: "redis"},
		{redisServer: startBenchQueue(b), name: "queue"},
	}
}

func report(b *testing.B, row loadRow, n int) {
	both := contenders(b)
	for _, c := range both {
		c.note(b, row.fillUp(c.redisServer, n))
	}
	const apart = 1 << 28 // more operations than any round has
	for round := range benchRounds {
		for _, c := range both {
			if c.out {
				continue
			}
			rate, err := row.round(c.redisServer, n, round*apart, &c.slowest)
			c.rates = append(c.rates, rate)
			c.note(b, err)
		}
	}
	reportRates(b, both)
	for _, c := range both {
		if took := c.slowest.Load(); took > 0 {
			b.ReportMetric(float64(took)/1e6, c.name+"-max-ms")
		}
	}
}

// note keeps the first error, which ends the server's rounds.
func (c *contender) note(b *testing.B, err error) {
	if err != nil && !c.out {
		b.Logf("%s: %v", c.name, err)
		c.out = true
	}
}

func (c *contender) median() float64 {
	if len(c.rates) == 0 {
		return 0
	}
	slices.Sort(c.rates)
	return c.rates[len(c.rates)/2]
}

func reportRates(b *testing.B, both []*contender) {
	redis, queue := both[0].median(), both[1].median()
	b.ReportMetric(queue, "queue/s")
	b.ReportMetric(redis, "redis/s")
	if redis > 0 {
		b.ReportMetric(queue/redis, "ratio")
	}
	b.ReportMetric(0, "ns/op")
}

const expiryMax = 10 * time.Second // a server that lags more is not waited for

// reportExpiry writes n keys that live half a second, at full rate, and measures
// how long after the last of them had to be gone it was.
func reportExpiry(b *testing.B, n int) {
	row := loadRow{fill: fillKeys(
		func(i int) []string { return []string{"SET", "seen:" + number(i), "1", "PX", "500"} })}
	both := contenders(b)
	for _, c := range both {
		start := time.Now()
		c.note(b, row.fillUp(c.redisServer, n))
		c.rates = append(c.rates, float64(n)/time.Since(start).Seconds())
		lag, left, err := expiryLag(c.redisServer, time.Now().Add(500*time.Millisecond))
		c.note(b, err)
		b.ReportMetric(lag.Seconds(), c.name+"-lag-s")
		b.ReportMetric(float64(left), c.name+"-left")
	}
	reportRates(b, both)
}

// expiryLag returns how long after due the last key went, and how many stayed.
func expiryLag(server redisServer, due time.Time) (lag time.Duration, left int, err error) {
	c, err := dialServer(server, 2)
	if err != nil {
		return 0, 0, err
	}
	defer c.Close()
	for {
		reply, err := c.do("DBSIZE")
		lag := max(0, time.Since(due))
		if err != nil || reply.raw == ":0\r\n" || lag > expiryMax {
			return lag, smallNumber([]byte(reply.text)), err
		}
		time.Sleep(10 * time.Millisecond) // a pause of the measurement, not a wait for it
	}
}
