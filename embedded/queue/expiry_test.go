package queue

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

func TestExpiry(t *testing.T) {
	t.Parallel()
	ctx := within(t, 20*time.Second)
	dir := t.TempDir()
	q := startQueue(t, testOptions(dir))
	c := q.client(t)
	c.Set(ctx, "soon", "x", 30*time.Millisecond)
	c.Set(ctx, "later", "x", time.Hour)
	c.RPush(ctx, "list", "a")
	c.PExpire(ctx, "list", 30*time.Millisecond)
	c.Set(ctx, "kept", "x", 30*time.Millisecond)
	c.Persist(ctx, "kept")
	c.Set(ctx, "moved", "x", 30*time.Millisecond)
	c.Rename(ctx, "moved", "there")
	c.Eval(ctx, "redis.call('SET', 'lua', 'x', 'PX', 30)", nil)
	if got := c.ExpireAt(ctx, "later", time.Unix(1, 0)).Val(); !got {
		t.Error("EXPIREAT in the past was not taken")
	}
	if n := c.Exists(ctx, "later").Val(); n != 0 {
		t.Error("a key outlives EXPIREAT in the past")
	}
	c.Set(ctx, "down", "x", 200*time.Millisecond)
	c.Set(ctx, "long", "x", time.Hour)
	deadline := c.PExpireTime(ctx, "long").Val()
	await(t, func() error { // without a look at the keys themselves
		if keys := c.Keys(ctx, "*").Val(); strings.Contains(strings.Join(keys, " "), "there") || len(keys) > 3 {
			return fmt.Errorf("%v", keys)
		}
		return nil
	})
	if err := q.stop(); err != nil {
		t.Fatal(err)
	}
	time.Sleep(220 * time.Millisecond) // the deadline passes while the queue is down
	c = startQueue(t, testOptions(dir)).client(t)
	if n := c.Exists(ctx, "down").Val(); n != 0 {
		t.Error("a key outlives its deadline over a restart")
	}
	if got := c.PExpireTime(ctx, "long").Val(); got != deadline {
		t.Errorf("deadline %v became %v", deadline, got)
	}
	if ttl := c.TTL(ctx, "long").Val(); ttl < 59*time.Minute || ttl > time.Hour {
		t.Errorf("time to live %v", ttl)
	}
	if got := c.Get(ctx, "kept").Val(); got != "x" {
		t.Error("a persisted key is gone")
	}
}
