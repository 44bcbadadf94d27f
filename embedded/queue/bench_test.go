package queue

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// BenchmarkWrite measures one write at a time through a client over loopback,
// with the journal on, at 100,000 items.
func BenchmarkWrite(b *testing.B) {
	const items = 100_000
	value := func(i int) string { return "https://example.org/page/" + strconv.Itoa(i) }
	fill := map[string]func(p redis.Pipeliner, i int){
		"list": func(p redis.Pipeliner, i int) { p.RPush(b.Context(), "k", value(i)) },
		"set":  func(p redis.Pipeliner, i int) { p.SAdd(b.Context(), "k", value(i)) },
		"zset": func(p redis.Pipeliner, i int) { p.ZAdd(b.Context(), "k", redis.Z{Score: float64(i), Member: value(i)}) },
		"keys": func(p redis.Pipeliner, i int) { p.Set(b.Context(), value(i), "x", time.Hour) },
	}
	for _, bench := range []struct {
		name, fill string
		op         func(c *redis.Client, i int) error
	}{
		{"lpush", "list", func(c *redis.Client, i int) error { return c.LPush(b.Context(), "k", value(i)).Err() }},
		{"rpush", "list", func(c *redis.Client, i int) error { return c.RPush(b.Context(), "k", value(i)).Err() }},
		{"lpop", "list", func(c *redis.Client, i int) error { return popAgain(c.LPop(b.Context(), "k"), c, b) }},
		{"rpop", "list", func(c *redis.Client, i int) error { return popAgain(c.RPop(b.Context(), "k"), c, b) }},
		{"sadd", "set", func(c *redis.Client, i int) error { return c.SAdd(b.Context(), "k", value(items+i)).Err() }},
		{"zadd", "zset", func(c *redis.Client, i int) error {
			return c.ZAdd(b.Context(), "k", redis.Z{Score: float64(i), Member: value(items + i)}).Err()
		}},
		{"set-ttl", "keys", func(c *redis.Client, i int) error { return c.Set(b.Context(), value(i), "y", time.Hour).Err() }},
		{"rpush-rewriting", "list", func(c *redis.Client, i int) error {
			if i%100 == 0 { // one rewrite after the other
				c.Do(b.Context(), "BGREWRITEAOF")
			}
			return c.RPush(b.Context(), "k", value(i)).Err()
		}},
		{"spop", "set", func(c *redis.Client, i int) error { return c.SPop(b.Context(), "k").Err() }},
		{"zpopmin", "zset", func(c *redis.Client, i int) error { return c.ZPopMin(b.Context(), "k").Err() }},
	} {
		b.Run(bench.name+"-100k", func(b *testing.B) {
			opts := testOptions(b.TempDir())
			opts.SyncInterval = 0
			c := startQueue(b, opts).client(b)
			for part := range slices.Chunk(slices.Collect(numbers(items)), 1000) {
				p := c.Pipeline()
				for _, i := range part {
					fill[bench.fill](p, i)
				}
				if _, err := p.Exec(b.Context()); err != nil {
					b.Fatal(err)
				}
			}
			took := make([]time.Duration, 0, b.N)
			for i := 0; b.Loop(); i++ {
				start := time.Now()
				if err := bench.op(c, i); err != nil {
					b.Fatal(err)
				}
				took = append(took, time.Since(start))
			}
			slices.Sort(took)
			b.ReportMetric(float64(took[len(took)*99/100].Microseconds()), "p99-µs")
			b.ReportMetric(float64(took[len(took)-1].Microseconds()), "max-µs")
		})
	}
}

// popAgain fails when the list ran dry: the number would mean nothing.
func popAgain(cmd *redis.StringCmd, c *redis.Client, b *testing.B) error {
	if errors.Is(cmd.Err(), redis.Nil) {
		return fmt.Errorf("the list is empty: run with -benchtime below 100000x")
	}
	return cmd.Err()
}

func numbers(n int) func(func(int) bool) {
	return func(yield func(int) bool) {
		for i := range n {
			if !yield(i) {
				return
			}
		}
	}
}
