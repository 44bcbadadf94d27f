package queue

import (
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

func TestBlocking(t *testing.T) {
	t.Parallel()
	ctx := within(t, 20*time.Second)
	dir := t.TempDir()
	q := startQueue(t, testOptions(dir))
	producer := q.client(t)

	t.Run("each item goes to one, the longest waiting first", func(t *testing.T) {
		const clients = 8
		got := make(chan int, clients)
		for i := range clients {
			conn := q.client(t)
			go func() {
				if conn.BLPop(ctx, 0, "jobs", "other").Err() == nil {
					got <- i
				}
			}()
			await(t, func() error { return blocked(q, int64(i+1)) })
		}
		for i := range clients {
			if err := producer.RPush(ctx, "jobs", i).Err(); err != nil {
				t.Fatal(err)
			}
			if first := <-got; first != i {
				t.Errorf("item %d went to client %d", i, first)
			}
		}
		if n := producer.Exists(ctx, "jobs").Val(); n != 0 {
			t.Error("the list is still there")
		}
	})
	t.Run("a chain of moves", func(t *testing.T) {
		done := make(chan string, 2)
		a, b := q.client(t), q.client(t)
		go func() { done <- a.BLMove(ctx, "in", "mid", "LEFT", "RIGHT", 0).Val() }()
		go func() { done <- fmt.Sprint(b.Do(ctx, "BRPOPLPUSH", "mid", "out", 0).Val()) }()
		await(t, func() error { return blocked(q, 2) })
		producer.RPush(ctx, "in", "x")
		if x, y := <-done, <-done; x != "x" || y != "x" {
			t.Errorf("got %q and %q", x, y)
		}
		if got := producer.LRange(ctx, "out", 0, -1).Val(); len(got) != 1 || got[0] != "x" {
			t.Errorf("out is %v", got)
		}
	})
	t.Run("a client that left gets nothing", func(t *testing.T) {
		conn, err := net.Dial("tcp", q.Addr())
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(conn, "*2\r\n$4\r\nAUTH\r\n$11\r\nopen sesame\r\nBLPOP gone 0\r\n")
		await(t, func() error { return blocked(q, 1) })
		conn.Close()
		await(t, func() error { return blocked(q, 0) })
		producer.RPush(ctx, "gone", "x")
		if n := producer.LLen(ctx, "gone").Val(); n != 1 {
			t.Errorf("%d items are left, want 1", n)
		}
	})
	t.Run("streams serve all", func(t *testing.T) {
		got := make(chan string, 2)
		for range 2 {
			c := q.client(t)
			go func() {
				res, err := c.XRead(ctx, &redis.XReadArgs{Streams: []string{"news", "$"}, Block: 0}).Result()
				if err != nil {
					got <- err.Error()
					return
				}
				got <- fmt.Sprint(res[0].Messages[0].Values["f"])
			}()
		}
		await(t, func() error { return blocked(q, 2) })
		producer.XAdd(ctx, &redis.XAddArgs{Stream: "news", Values: []string{"f", "v"}})
		if a, b := <-got, <-got; a != "v" || b != "v" {
			t.Errorf("got %s and %s", a, b)
		}
	})
	t.Run("a transaction and a script serve them too", func(t *testing.T) {
		done := make(chan []string, 2)
		for range 2 {
			c := q.client(t)
			go func() { done <- c.BRPop(ctx, 0, "tx").Val() }()
		}
		await(t, func() error { return blocked(q, 2) })
		producer.TxPipelined(ctx, func(p redis.Pipeliner) error { p.LPush(ctx, "tx", "1"); return nil })
		producer.Eval(ctx, "redis.call('LPUSH', 'tx', '2')", nil)
		if a, b := <-done, <-done; len(a) != 2 || len(b) != 2 {
			t.Errorf("got %v and %v", a, b)
		}
	})
	if err := q.stop(); err != nil {
		t.Fatal(err)
	}
	again := startQueue(t, testOptions(dir)).client(t)
	if keys := again.Keys(ctx, "*").Val(); strings.Join(keys, " ") != "gone news out" {
		t.Errorf("after a restart: %v, want what nobody took", keys)
	}
}

// blocked wants n clients to wait.
func blocked(q *queue, n int64) error {
	if got := q.blocked.Load(); got != n {
		return fmt.Errorf("%d clients wait, want %d", got, n)
	}
	return nil
}
