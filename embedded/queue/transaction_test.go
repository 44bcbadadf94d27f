package queue

import (
	"errors"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

func TestTransaction(t *testing.T) {
	t.Parallel()
	ctx := within(t, 10*time.Second)
	q := startQueue(t, testOptions(t.TempDir()))
	c := q.client(t)
	other := q.client(t)
	increase := func(tx *redis.Tx) error {
		_, err := tx.TxPipelined(ctx, func(p redis.Pipeliner) error { p.Incr(ctx, "n"); return nil })
		return err
	}
	for name, touch := range map[string]func(){
		"set":     func() { other.Set(ctx, "n", 5, 0) },
		"deleted": func() { other.Del(ctx, "n") },
		"flushed": func() { other.FlushAll(ctx) },
		"renamed": func() { other.Rename(ctx, "n", "m") },
		"pushed":  func() { other.LPush(ctx, "long", "x") },
		"expired": func() {
			other.PExpire(ctx, "n", time.Millisecond)
			time.Sleep(2 * time.Millisecond)
			other.Get(ctx, "n")
		},
	} {
		other.FlushAll(ctx)
		other.Set(ctx, "n", 1, 0)
		other.RPush(ctx, "long", make([]any, 200)...)
		for i := range 200 {
			other.RPush(ctx, "long", i)
		}
		err := c.Watch(ctx, func(tx *redis.Tx) error { touch(); return increase(tx) }, "n", "long")
		if !errors.Is(err, redis.TxFailedErr) {
			t.Errorf("%s: got %v, want a failed transaction", name, err)
		}
	}
	other.Set(ctx, "n", 1, 0)
	err := c.Watch(ctx, func(tx *redis.Tx) error { other.Set(ctx, "unrelated", 5, 0); return increase(tx) }, "n")
	if err != nil || c.Get(ctx, "n").Val() != "2" {
		t.Errorf("untouched: %v, n is %s", err, c.Get(ctx, "n").Val())
	}
	_, err = c.TxPipelined(ctx, func(p redis.Pipeliner) error {
		p.Incr(ctx, "n")
		p.Do(ctx, "PFADD", "h", 1)
		return nil
	})
	if err == nil || c.Get(ctx, "n").Val() != "2" {
		t.Errorf("a refused command did not abort: %v, n is %s", err, c.Get(ctx, "n").Val())
	}
}
