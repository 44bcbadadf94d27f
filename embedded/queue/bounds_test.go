package queue

import (
	"context"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/crawlbox/crawlbox/embedded/queue/engine"
)

const smallMemory = 64 << 20

func boundedQueue(t *testing.T) *queue {
	t.Helper()
	opts := testOptions(t.TempDir())
	opts.MaxMemory = smallMemory
	return startQueue(t, opts)
}

// TestBounds_Commands has single commands ask for more memory than there is: each
// is refused in Redis' words, and nothing is set aside for it.
func TestBounds_Commands(t *testing.T) {
	t.Parallel()
	ctx := within(t, time.Minute)
	q := boundedQueue(t)
	c := q.client(t)
	c.Set(ctx, "s", strings.Repeat("x", 1000), 0)
	c.Do(ctx, "SETBIT", "big", 30<<23, 1) // 30 MB of 48
	for _, tc := range []struct{ cmd, want string }{
		{"SETRANGE k 200000000000 x", "ERR string exceeds"},
		{"SETRANGE k 9000000000000000000 x", "ERR string exceeds"},
		{"SETRANGE k 500000000 x", "OOM"},
		{"SETRANGE s 500000000 x", "OOM"},
		{"SETRANGE big 400000000 x", "OOM"},
		{"SETBIT k 4000000000000 1", "ERR bit offset"},
		{"SETBIT k 4294967295 1", "OOM"},
		{"BITOP NOT k big", "OOM"},
		{"COPY big k", "OOM"},
		{"LPOP missing 9223372036854775807", "redis: nil"},
		{"SRANDMEMBER missing -9223372036854775807", ""},
		{"EVAL return 0", "ERR"},
	} {
		var args []any
		for _, word := range strings.Fields(tc.cmd) {
			args = append(args, word)
		}
		got := ""
		if err := c.Do(ctx, args...).Err(); err != nil {
			got = err.Error()
		}
		if !strings.HasPrefix(got, tc.want) || (got == "") != (tc.want == "") {
			t.Errorf("%s: got %q, want %q", tc.cmd, got, tc.want)
		}
	}
	if used := q.Progress().Memory; used > smallMemory/2 {
		t.Errorf("%d bytes of data", used)
	}
}

// TestBounds_Full fills the queue with each kind of data: it refuses more, goes on
// reading and deleting, and takes writes again.
func TestBounds_Full(t *testing.T) {
	t.Parallel()
	ctx := within(t, 2*time.Minute)
	opts := testOptions(t.TempDir())
	opts.MaxMemory = smallMemory
	q := startQueue(t, opts)
	c := redis.NewClient(&redis.Options{
		Addr:         q.Addr(),
		Password:     testPassword,
		MaxRetries:   -1,
		ReadTimeout:  -1,
		WriteTimeout: -1,
	})
	defer c.Close()
	item := strings.Repeat("x", 10_000)
	for kind, fill := range map[string]func(p redis.Pipeliner, n int){
		"strings": func(p redis.Pipeliner, n int) { p.Set(ctx, fmt.Sprint("k", n), item, 0) },
		"list":    func(p redis.Pipeliner, _ int) { p.RPush(ctx, "l", item) },
		"set":     func(p redis.Pipeliner, n int) { p.SAdd(ctx, "s", fmt.Sprint(n, item)) },
		"hash":    func(p redis.Pipeliner, n int) { p.HSet(ctx, "h", fmt.Sprint(n), item) },
		"sorted set": func(p redis.Pipeliner, n int) {
			p.ZAdd(ctx, "z", redis.Z{Score: 1, Member: fmt.Sprint(n, item)})
		},
		"appended":    func(p redis.Pipeliner, _ int) { p.Append(ctx, "a", item) },
		"small items": func(p redis.Pipeliner, n int) { p.SAdd(ctx, "s", n*3, n*3+1, n*3+2) },
	} {
		n, err := 0, error(nil)
		for err == nil {
			_, err = c.Pipelined(ctx, func(p redis.Pipeliner) error {
				for range 1000 {
					fill(p, n)
					n++
				}
				return nil
			})
		}
		if !strings.HasPrefix(err.Error(), "OOM command not allowed when used memory > 'maxmemory'") {
			t.Fatalf("%s: %v", kind, err)
		}
		if used := q.Progress().Memory; used > smallMemory*4/5 {
			t.Errorf("%s: %d bytes of data", kind, used)
		}
		full := q.Progress().Memory > opts.dataBound()
		if err := c.Set(ctx, "last", strings.Repeat("x", smallMemory/16), 0).Err(); full && err == nil {
			t.Errorf("%s: it takes a large item when it is full", kind)
		}
		keys, err := c.DBSize(ctx).Result()
		if err != nil || keys == 0 {
			t.Errorf("%s: reading: %d keys, %v", kind, keys, err)
		}
		if err := q.stop(); err != nil {
			t.Fatal(err)
		}
		q = startQueue(t, opts)
		c = redis.NewClient(&redis.Options{
			Addr:         q.Addr(),
			Password:     testPassword,
			MaxRetries:   -1,
			ReadTimeout:  -1,
			WriteTimeout: -1,
		})
		defer c.Close()
		if again := c.DBSize(ctx).Val(); again != keys {
			t.Errorf("%s: %d keys after a restart, were %d", kind, again, keys)
		}
		if err := c.FlushAll(ctx).Err(); err != nil {
			t.Errorf("%s: %v", kind, err)
		}
		if err := c.Set(ctx, "k", "v", 0).Err(); err != nil {
			t.Errorf("%s: after it is empty: %v", kind, err)
		}
	}
}

// TestBounds_Clients has clients leave waiting what they can: their connections
// end, or the command is refused, and others are served.
func TestBounds_Clients(t *testing.T) {
	t.Parallel()
	ctx := within(t, 2*time.Minute)
	q := boundedQueue(t)
	c := q.client(t)
	big := strings.Repeat("x", 1<<20)
	if err := c.Set(ctx, "big", big, 0).Err(); err != nil {
		t.Fatal(err)
	}
	arg := fmt.Sprintf("*2\r\n$4\r\nECHO\r\n$%d\r\n%s\r\n", len(big), big)
	for name, tc := range map[string]struct{ first, again string }{
		"replies that nobody reads":   {"", "GET big\r\n"},
		"a transaction":               {"MULTI\r\n", arg},
		"a transaction of small ones": {"MULTI\r\n", strings.Repeat("GET k\r\n", 1000)},
		"requests behind a wait":      {"BLPOP nothing 0\r\n", arg},
		"one large request":           {"*2\r\n$4\r\nECHO\r\n$500000000\r\n", big},
		"a request of many arguments": {"*2000000000\r\n", strings.Repeat("$1\r\nx\r\n", 10_000)},
		"channels without end":        {"", "SUBSCRIBE " + strings.Repeat("c", 1000) + "%d\r\n"},
		"messages that nobody reads":  {"SUBSCRIBE news\r\n", ""},
		"many short channels": {"", "SUBSCRIBE" + strings.Repeat(" %[1]d%[1]dx %[1]dy %[1]dz",
			300) + "\r\n"},
		"watches without end":            {"", "WATCH " + strings.Repeat("w", 1000) + "%d\r\n"},
		"a line without end":             {"", big},
		"the number of a line, no end":   {"*", strings.Repeat("1", 1<<20)},
		"subscriptions that nobody ends": {"", "PSUBSCRIBE " + strings.Repeat("p", 1000) + "%d\r\n"},
	} {
		t.Run(name, func(t *testing.T) {
			conn := dial(t, q)
			fmt.Fprintf(conn, "*2\r\n$4\r\nAUTH\r\n$%d\r\n%s\r\n%s", len(testPassword), testPassword, tc.first)
			ended := make(chan struct{})
			go func() {
				defer close(ended)
				for n := range min(100_000, 64<<20/max(1, len(tc.again))) {
					again := tc.again
					if strings.Contains(again, "%d") {
						again = fmt.Sprintf(again, n)
					}
					if _, err := conn.Write([]byte(again)); err != nil || again == "" {
						return
					}
				}
			}()
			if tc.again == "" {
				flood(ctx, c, big)
			}
			select {
			case <-ended:
			case <-ctx.Done():
				t.Error("it is still served")
			}
			conn.(*net.TCPConn).SetLinger(0)
			conn.Close()
			if err := c.Ping(ctx).Err(); err != nil {
				t.Error(err)
			}
			if most := q.memory.Most(); q.memory.Held() > most {
				t.Errorf("clients hold %d bytes, more than %d", q.memory.Held(), most)
			}
			await(t, func() error {
				if used := q.memory.Held(); used != 0 {
					return fmt.Errorf("%d bytes are still held", used)
				}
				return nil
			})
		})
	}
}

// TestBounds_Reply asks for more than there is room for a reply, and is told.
func TestBounds_Reply(t *testing.T) {
	t.Parallel()
	ctx := within(t, 30*time.Second)
	q := boundedQueue(t)
	c := q.client(t)
	c.SAdd(ctx, "few", "a")
	c.Set(ctx, "big", strings.Repeat("x", 1<<20), 0)
	if err := c.SRandMemberN(ctx, "few", -9223372036854775807).Err(); err == nil ||
		err.Error() != engine.ErrLargeReply {
		t.Errorf("a reply without end: %v", err)
	}
	_, err := c.TxPipelined(ctx, func(p redis.Pipeliner) error {
		for range 500 {
			p.Get(ctx, "big")
		}
		return nil
	})
	if err == nil || err.Error() != engine.ErrLargeReply {
		t.Errorf("replies of a transaction: %v", err)
	}
	for range 30 {
		c.RPush(ctx, "items", strings.Repeat("x", 1<<20))
	}
	waits := q.client(t)
	waited := make(chan error, 1)
	go func() { waited <- waits.Do(ctx, "BLMPOP", 0, 1, "moved", "LEFT", "COUNT", 30).Err() }()
	await(t, func() error { return blocked(q, 1) })
	pop := c.LPopCount(ctx, "items", 30).Err()
	_, tx := c.TxPipelined(ctx, func(p redis.Pipeliner) error {
		p.LRange(ctx, "items", 0, -1)
		p.LTrim(ctx, "items", 30, -1)
		return nil
	})
	c.Rename(ctx, "items", "moved")
	for name, err := range map[string]error{"a pop": pop, "a transaction": tx, "a wait": <-waited} {
		if err == nil || err.Error() != engine.ErrLargeReply {
			t.Errorf("%s of more than fits: %v", name, err)
		}
	}
	if n := c.LLen(ctx, "moved").Val(); n != 30 {
		t.Errorf("%d items are left, want all 30", n)
	}
	err = c.Set(ctx, "k", strings.Repeat("x", smallMemory/2), 0).Err()
	if err == nil || err.Error() != errNoRoom.Error() {
		t.Errorf("a large request: %v", err)
	}
	if err := c.Ping(ctx).Err(); err != nil {
		t.Error(err)
	}
}

// flood publishes until the subscriber who does not read is cut off.
func flood(ctx context.Context, c *redis.Client, message string) {
	for heard := false; ctx.Err() == nil; {
		if n, err := c.Publish(ctx, "news", message).Result(); err == nil && n == 0 && heard {
			return
		} else if n > 0 {
			heard = true
		}
	}
}

// TestBounds_TooManyClients turns away the client that is one too many, in Redis' words.
func TestBounds_TooManyClients(t *testing.T) {
	t.Parallel()
	opts := testOptions(t.TempDir())
	opts.MaxMemory = 1 << 20
	q := startQueue(t, opts)
	most := q.door.Most()
	for range most {
		dial(t, q)
	}
	await(t, func() error {
		if got := talk(t, q, "", 1); got != "-ERR max number of clients reached\r\n" {
			return fmt.Errorf("the one too many got %q", got)
		}
		return nil
	})
}

// TestConn_IsFreed has clients end in the middle of what they do: nothing of them
// stays.
func TestConn_IsFreed(t *testing.T) {
	t.Parallel()
	q := boundedQueue(t)
	login := fmt.Sprintf("*2\r\n$4\r\nAUTH\r\n$%d\r\n%s\r\n", len(testPassword), testPassword)
	item := strings.Repeat("x", 100<<10)
	for name, payload := range map[string]string{
		"QUIT and what follows": "QUIT\r\n" + strings.Repeat("PING\r\n", 200),
		"amid a pipeline": strings.Repeat(fmt.Sprintf("*2\r\n$4\r\nECHO\r\n$%d\r\n%s\r\n", len(item), item),
			20),
		"in a transaction":           "MULTI\r\n" + strings.Repeat("SET k v\r\n", 100),
		"while it waits":             "BLPOP nothing 0\r\n" + strings.Repeat("PING\r\n", 100),
		"while it listens":           "SUBSCRIBE a b c\r\n",
		"while it watches":           "WATCH a b c\r\nMULTI\r\n",
		"amid a request":             "*2\r\n$4\r\nECHO\r\n$100000\r\nxxx",
		"while it waits, in a group": "BLPOP a b c 0\r\nSUBSCRIBE x\r\n",
	} {
		for range 10 {
			conn := dial(t, q)
			conn.Write([]byte(login + payload))
			conn.(*net.TCPConn).SetLinger(0)
			conn.Close()
		}
		await(t, func() error {
			core := q.core.Load()
			core.mu.Lock()
			defer core.mu.Unlock()
			if n := q.door.Open.Load(); n != 0 ||
				len(core.sessions)+len(core.waiters)+len(core.watchers)+len(core.hub.channels) > 0 ||
				q.memory.Held() != 0 {
				return fmt.Errorf("%s: %d connections, %d sessions, %d waits, %d watches, %d channels, %d bytes stay",
					name,
					n, len(core.sessions), len(core.waiters), len(core.watchers), len(core.hub.channels),
					q.memory.Held())
			}
			return nil
		})
	}
}

// TestBounds_ManyKeys waits for as many keys as a request may name: others are served
// meanwhile.
func TestBounds_ManyKeys(t *testing.T) {
	t.Parallel()
	ctx := within(t, 20*time.Second)
	q := startQueue(t, testOptions(t.TempDir()))
	args := []any{"BLPOP"}
	for n := range 300_000 {
		args = append(args, n)
	}
	waits := q.client(t)
	got := make(chan error, 1)
	go func() { got <- waits.Do(ctx, append(args, 0)...).Err() }()
	await(t, func() error { return blocked(q, 1) })
	c := q.client(t)
	if err := c.RPush(ctx, "299999", "x").Err(); err != nil {
		t.Fatal(err)
	}
	if err := <-got; err != nil {
		t.Error(err)
	}
}
