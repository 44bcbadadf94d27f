package queue

import (
	"errors"
	"fmt"
	"net"
	"slices"
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
	t.Run("a key counts once, however often it is mentioned", func(t *testing.T) {
		got := make(chan []string, 1)
		c := q.client(t)
		go func() { got <- c.BLPop(ctx, 0, "often", "often", "often", "often").Val() }()
		await(t, func() error { return blocked(q, 1) })
		producer.RPush(ctx, "often", 1, 2, 3, 4, 5)
		if item := <-got; fmt.Sprint(item) != "[often 1]" {
			t.Errorf("got %v", item)
		}
		if left := producer.LRange(ctx, "often", 0, -1).Val(); fmt.Sprint(left) != "[2 3 4 5]" {
			t.Errorf("%v is left", left)
		}
		producer.Del(ctx, "often")
	})
	t.Run("a client that left with requests behind its wait gets nothing", func(t *testing.T) {
		conn := dial(t, q)
		fmt.Fprintf(conn, "*2\r\n$4\r\nAUTH\r\n$11\r\nopen sesame\r\nBLPOP behind 0\r\n%s",
			strings.Repeat("PING\r\n", 3000))
		await(t, func() error { return blocked(q, 1) })
		conn.Close()
		await(t, func() error { return blocked(q, 0) })
		producer.RPush(ctx, "behind", "x")
		if n := producer.LLen(ctx, "behind").Val(); n != 1 {
			t.Errorf("%d items are left, want 1", n)
		}
		producer.Del(ctx, "behind")
	})
	t.Run("a client that was killed gets nothing", func(t *testing.T) {
		for range 50 {
			waits := q.client(t)
			id := waits.ClientID(ctx).Val()
			ended := make(chan struct{})
			go func() { defer close(ended); waits.BLPop(ctx, 0, "killed") }()
			await(t, func() error { return blocked(q, 1) })
			if _, err := producer.TxPipelined(ctx, func(p redis.Pipeliner) error {
				p.ClientKillByFilter(ctx, "ID", fmt.Sprint(id))
				p.RPush(ctx, "killed", "x")
				return nil
			}); err != nil {
				t.Fatal(err)
			}
			<-ended
			if n := producer.Del(ctx, "killed").Val(); n != 1 {
				t.Fatal("the item is lost")
			}
		}
	})
	t.Run("a transaction serves several", func(t *testing.T) {
		done := make(chan []string, 2)
		for range 2 {
			c := q.client(t)
			go func() { done <- c.BRPop(ctx, 0, "tx").Val() }()
		}
		await(t, func() error { return blocked(q, 2) })
		producer.TxPipelined(ctx, func(p redis.Pipeliner) error { p.LPush(ctx, "tx", "1", "2"); return nil })
		if a, b := <-done, <-done; len(a) != 2 || len(b) != 2 {
			t.Errorf("got %v and %v", a, b)
		}
	})
	waiting := make(chan error, 1)
	last := q.client(t)
	go func() { waiting <- last.BLPop(ctx, 0, "never").Err() }()
	await(t, func() error { return blocked(q, 1) })
	if err := q.stop(); err != nil {
		t.Fatal(err)
	}
	if err := <-waiting; err == nil || errors.Is(err, redis.Nil) {
		t.Errorf("who waits when the queue stops gets %v, want that the connection ends", err)
	}
	again := startQueue(t, testOptions(dir)).client(t)
	keys := again.Keys(ctx, "*").Val()
	slices.Sort(keys)
	if strings.Join(keys, " ") != "gone out" {
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
