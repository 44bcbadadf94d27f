package queue

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"golang.org/x/sys/unix"

	"github.com/crawlbox/crawlbox/embedded/queue/journal"
)

// talk sends raw bytes and returns what comes back until the server is done or
// hangs up.
func talk(t *testing.T, q *queue, send string, lines int) string {
	t.Helper()
	conn, err := net.Dial("tcp", q.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := conn.Write([]byte(send)); err != nil {
		t.Fatal(err)
	}
	var got strings.Builder
	r := bufio.NewReader(conn)
	for range lines {
		line, err := r.ReadString('\n')
		got.WriteString(line)
		if err != nil {
			break
		}
	}
	return got.String()
}

func TestServer_Password(t *testing.T) {
	t.Parallel()
	q := startQueue(t, testOptions(t.TempDir()))
	quoted := fmt.Sprintf("$%d\r\n%s\r\n", len(testPassword), testPassword)
	for name, tc := range map[string]struct{ send, want string }{
		"none":             {"PING\r\n", "-NOAUTH"},
		"write without":    {"SET k v\r\n", "-NOAUTH"},
		"exec without":     {"EXEC\r\n", "-NOAUTH"},
		"AUTH":             {"*2\r\n$4\r\nAUTH\r\n" + quoted, "+OK"},
		"AUTH user":        {"*3\r\n$4\r\nauth\r\n$7\r\ndefault\r\n" + quoted, "+OK"},
		"AUTH other user":  {"*3\r\n$4\r\nAUTH\r\n$4\r\nroot\r\n" + quoted, "-WRONGPASS"},
		"AUTH wrong":       {"AUTH sesame\r\n", "-WRONGPASS"},
		"AUTH empty":       {"*2\r\n$4\r\nAUTH\r\n$0\r\n\r\n", "-WRONGPASS"},
		"HELLO AUTH":       {"*5\r\n$5\r\nHELLO\r\n$1\r\n3\r\n$4\r\nAUTH\r\n$7\r\ndefault\r\n" + quoted, "%7"},
		"HELLO wrong":      {"HELLO 3 AUTH default x\r\n", "-WRONGPASS"},
		"HELLO without":    {"HELLO 3\r\n", "-NOAUTH"},
		"large before":     {"*2\r\n$4\r\nAUTH\r\n$999999999\r\n", "-ERR Protocol error: request is larger"},
		"many before":      {"*999999999\r\n", "-ERR Protocol error: request is larger"},
		"not the protocol": {"*1\r\n:5\r\n", "-ERR Protocol error"},
		"empty array":      {"*0\r\n*-1\r\n\r\nPING\r\n", "-NOAUTH"},
	} {
		if got := talk(t, q, tc.send, 1); !strings.HasPrefix(got, tc.want) {
			t.Errorf("%s: got %q, want %q", name, got, tc.want)
		}
	}
}

func TestServer_PipelineInOneWrite(t *testing.T) {
	t.Parallel()
	q := startQueue(t, testOptions(t.TempDir()))
	send := "*2\r\n$4\r\nAUTH\r\n$11\r\nopen sesame\r\n" + strings.Repeat("INCR n\r\n", 300) + "QUIT\r\nINCR n\r\n"
	got := talk(t, q, send, 1000)
	if !strings.HasPrefix(got, "+OK\r\n:1\r\n") || !strings.HasSuffix(got, ":300\r\n+OK\r\n") {
		t.Errorf("got %q … %q", got[:min(20, len(got))], got[max(0, len(got)-20):])
	}
}

func TestNew_Refuses(t *testing.T) {
	t.Parallel()
	for want, spoil := range map[string]func(*Options){
		"no password":   func(o *Options) { o.Password = "" },
		"no address":    func(o *Options) { o.Addr = "" },
		"no data":       func(o *Options) { o.Dir = "" },
		"sync interval": func(o *Options) { o.SyncInterval = 2 * time.Second },
	} {
		opts := testOptions("dir")
		spoil(&opts)
		if _, err := New(opts, slog.Default()); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}

func TestRun_PortTaken(t *testing.T) {
	t.Parallel()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	opts := testOptions(t.TempDir())
	opts.Addr = taken.Addr().String()
	srv, err := New(opts, slog.Default())
	if err != nil {
		t.Fatal(err)
	}
	if err := srv.Run(context.Background()); !errors.Is(err, unix.EADDRINUSE) {
		t.Errorf("got %v, want that the address is in use", err)
	}
	startQueue(t, testOptions(opts.Dir)) // the folder is free again
}

func TestRun_DamagedFolder(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	q := startQueue(t, testOptions(dir))
	c := q.client(t)
	for i := range 5 {
		c.Set(within(t, 5*time.Second), fmt.Sprint("key", i), "value", 0)
	}
	if err := q.stop(); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "segment-0000000001")
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	data[40] ^= 0xff
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	srv, err := New(testOptions(dir), slog.Default())
	if err != nil {
		t.Fatal(err)
	}
	var corrupt *journal.CorruptError
	if err := srv.Run(context.Background()); !errors.As(err, &corrupt) || corrupt.File != path {
		t.Errorf("got %v, want the damaged file", err)
	}
}

func TestServer_Refuses(t *testing.T) {
	t.Parallel()
	ctx := within(t, 10*time.Second)
	c := startQueue(t, testOptions(t.TempDir())).client(t)
	for _, name := range []string{"PFADD", "HEXPIRE", "XGROUP", "XREADGROUP", "COPY", "MOVE", "SWAPDB", "RESTORE", "SUBSCRIBE", "nonsense"} {
		err := c.Do(ctx, name, "a", "b", "c").Err()
		if err == nil || !strings.Contains(err.Error(), "not served") && !strings.Contains(err.Error(), "unknown command") {
			t.Errorf("%s: %v", name, err)
		}
		err = c.Eval(ctx, "return redis.call(ARGV[1], 'a', 'b', 'c')", nil, name).Err()
		if err == nil {
			t.Errorf("%s went through in a script", name)
		}
	}
	if n := c.DBSize(ctx).Val(); n != 0 {
		t.Errorf("%d keys were made", n)
	}
}

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
		"set":      func() { other.Set(ctx, "n", 5, 0) },
		"deleted":  func() { other.Del(ctx, "n") },
		"flushed":  func() { other.FlushAll(ctx) },
		"renamed":  func() { other.Rename(ctx, "n", "m") },
		"pushed":   func() { other.LPush(ctx, "long", "x") },
		"scripted": func() { other.Eval(ctx, "redis.call('SET', 'n', 1)", nil) },
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
		go func() { done <- b.BRPopLPush(ctx, "mid", "out", 0).Val() }()
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

func TestServer_SurvivesPanics(t *testing.T) {
	t.Parallel()
	ctx := within(t, 20*time.Second)
	q := startQueue(t, testOptions(t.TempDir()))
	c := q.client(t)
	c.Set(ctx, "k", "v", 0)
	for _, cmd := range [][]any{
		{"XTRIM", "s", "MAXLEN", "~"},                              // over its arguments
		{"EVAL", "return function() end", 0},                       // with the lock
		{"EVAL", "return redis.call('XTRIM','s','MAXLEN','~')", 0}, // inside a script: loads again
	} {
		if err := c.Do(ctx, cmd...).Err(); err == nil {
			t.Errorf("%v went through", cmd)
		}
		await(t, func() error {
			if got, err := c.Get(ctx, "k").Result(); err != nil || got != "v" {
				return fmt.Errorf("after %v: %q %v", cmd, got, err)
			}
			return c.Incr(ctx, "n").Err()
		})
	}
	if got := c.Get(ctx, "n").Val(); got != "3" {
		t.Errorf("n is %s, want 3", got)
	}
}

func TestServer_FullDisk(t *testing.T) {
	t.Parallel()
	ctx := within(t, 30*time.Second)
	disk := t.TempDir()
	if err := unix.Mount("tmpfs", disk, "tmpfs", 0, "size=512k"); err != nil {
		t.Fatalf("mount a small tmpfs: %v (run the tests as root)", err)
	}
	t.Cleanup(func() { unix.Unmount(disk, unix.MNT_DETACH) })
	dir := filepath.Join(disk, "queue")
	q := startQueue(t, testOptions(dir))
	c := q.client(t)
	ballast := filepath.Join(disk, "ballast")
	if err := os.WriteFile(ballast, make([]byte, 400<<10), 0o600); err != nil {
		t.Fatal(err)
	}
	sent := 0
	await(t, func() error {
		err := c.RPush(ctx, "jobs", strings.Repeat("x", 1000)).Err()
		if err == nil {
			sent++
			return errors.New("still takes writes")
		}
		if !strings.HasPrefix(err.Error(), "MISCONF") || !strings.Contains(err.Error(), "no space left") {
			t.Fatalf("got %v, want MISCONF and the reason", err)
		}
		return nil
	})
	if n := c.LLen(ctx, "jobs").Val(); n != int64(sent) {
		t.Errorf("reads: %d items, want %d", n, sent)
	}
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	await(t, func() error { return c.RPush(ctx, "jobs", "last").Err() })
	if err := q.stop(); err != nil {
		t.Fatal(err)
	}
	if n := startQueue(t, testOptions(dir)).client(t).LLen(ctx, "jobs").Val(); n != int64(sent)+1 {
		t.Errorf("after a restart: %d items, want %d", n, sent+1)
	}
}

// TestServer_RewriteUnderLoad rewrites again and again while clients write.
func TestServer_RewriteUnderLoad(t *testing.T) {
	t.Parallel()
	ctx := within(t, 60*time.Second)
	opts := testOptions(t.TempDir())
	opts.RewriteSize = 8 << 10
	q := startQueue(t, opts)
	const clients, each = 4, 2000
	var group sync.WaitGroup
	for n := range clients {
		c := q.client(t)
		group.Go(func() {
			for i := range each {
				if err := c.LPush(ctx, "jobs", fmt.Sprint(n, " ", i)).Err(); err != nil {
					t.Error(err)
					return
				}
				c.Incr(ctx, "count")
				if i%3 == 0 {
					c.RPopLPush(ctx, "jobs", fmt.Sprint("done", n))
				}
			}
		})
	}
	group.Wait()
	c := q.client(t)
	before := dumpAll(t, c, 1, true)
	if got := c.Get(ctx, "count").Val(); got != fmt.Sprint(clients*each) {
		t.Errorf("count is %s", got)
	}
	await(t, func() error {
		if snapshots, _ := filepath.Glob(filepath.Join(opts.Dir, "snapshot-*")); len(snapshots) == 0 {
			return errors.New("no rewrite happened")
		}
		return nil
	})
	if err := q.stop(); err != nil {
		t.Fatal(err)
	}
	mustEqualData(t, dumpAll(t, startQueue(t, opts).client(t), 1, true), before)
}

func FuzzReadRequest(f *testing.F) {
	f.Add([]byte("*2\r\n$3\r\nGET\r\n$1\r\nk\r\n"))
	f.Add([]byte("PING\r\n*0\r\n*-1\r\n$-1\r\n"))
	f.Add([]byte("*1\r\n$99999999999\r\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		r := bufio.NewReader(strings.NewReader(string(data)))
		for {
			args, err := readRequest(r, strangerLimits)
			if err != nil {
				return
			}
			size := 0
			for _, arg := range args {
				size += len(arg)
			}
			if size > strangerLimits.size {
				t.Fatalf("request of %d bytes", size)
			}
		}
	})
}
