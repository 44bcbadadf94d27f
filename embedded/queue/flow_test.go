package queue

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/crawlbox/crawlbox/embedded/queue/engine/flow"
)

// TestFlow wants what comes into keys and goes out of them to be counted by whatever command does it,
// from the first question on.
func TestFlow(t *testing.T) {
	t.Parallel()
	ctx := within(t, 20*time.Second)
	q := startQueue(t, testOptions(t.TempDir()))
	c, taker := q.client(t), q.client(t)
	ask := func(keys ...any) []int64 {
		t.Helper()
		counts, err := c.Do(ctx, append([]any{"CRAWLBOX.FLOW"}, keys...)...).Int64Slice()
		if err != nil {
			t.Fatal(err)
		}
		return counts
	}
	c.RPush(ctx, "list", 1, 2, 3)
	if got := ask("list", "set", "zset", "hash", "other"); !slices.Equal(got, make([]int64, 10)) {
		t.Fatalf("at first it says %v", got)
	}
	taken := make(chan error, 1)
	go func() { taken <- taker.BLPop(ctx, 0, "waiting", "other").Err() }()
	await(t, func() error { return blocked(q, 1) })
	_, err := c.Pipelined(ctx, func(p redis.Pipeliner) error {
		p.RPush(ctx, "list", 4, 5)        // 2 in
		p.LPopCount(ctx, "list", 3)       // 3 out
		p.LTrim(ctx, "list", 1, -1)       // 1 out
		p.SAdd(ctx, "set", 1, 2, 2)       // 2 in
		p.SPop(ctx, "set")                // 1 out
		p.Rename(ctx, "set", "elsewhere") // 1 out
		p.ZAdd(ctx, "zset", redis.Z{Score: 1, Member: 1}, redis.Z{Score: 2, Member: 2})
		p.ZAdd(ctx, "zset", redis.Z{Score: 3, Member: 1}) // changes one
		p.ZPopMin(ctx, "zset", 2)
		p.HSet(ctx, "hash", 1, 1, 2, 2)
		p.Del(ctx, "hash")
		p.RPush(ctx, "other", 1) // and goes to who waits
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := <-taken; err != nil {
		t.Fatal(err)
	}
	if got := ask("list", "set", "zset", "hash", "other"); !slices.Equal(got, []int64{2, 4, 2, 2, 2, 2, 2, 2, 1, 1}) {
		t.Errorf("it says %v", got)
	}
	c.FlushAll(ctx)
	if got := ask("list", "elsewhere"); !slices.Equal(got, []int64{2, 5, 0, 0}) {
		t.Errorf("after all is deleted it says %v", got)
	}
	long := strings.Repeat("x", 1025)
	ask(long)
	c.RPush(ctx, long, 1)
	if got := ask(long); got[0] != 0 {
		t.Errorf("for a key with a long name it says %v", got)
	}
	if err := c.Do(ctx, append([]any{"CRAWLBOX.FLOW"}, make([]any, flow.MaxKeys+1)...)...).Err(); err == nil {
		t.Error("it counts for any number of keys")
	}
	if err := c.Do(ctx, "CRAWLBOX.FLOW").Err(); fmt.Sprint(err) !=
		"ERR wrong number of arguments for 'crawlbox.flow' command" {
		t.Errorf("without a key: %v", err)
	}
}
