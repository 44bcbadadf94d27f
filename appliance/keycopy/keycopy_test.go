package keycopy

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/crawlbox/crawlbox/appliance/base/testenv"
	"github.com/crawlbox/crawlbox/embedded/queue"
	"github.com/crawlbox/crawlbox/embedded/queue/front"
)

// open returns a server at a URL, and a client that looks at it.
func open(t *testing.T, url string) (*Server, *redis.Client) {
	t.Helper()
	s, err := Open(url, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s, s.client
}

func redisServer(t *testing.T, settings ...string) (*Server, *redis.Client) {
	t.Helper()
	return open(t, "redis://"+testenv.Redis(t, settings...))
}

// embedded returns crawlbox's own queue.
func embedded(t *testing.T, maxMemory int64) (*Server, *redis.Client) {
	t.Helper()
	log := slog.New(slog.NewTextHandler(t.Output(), nil))
	q, err := queue.New(queue.Options{
		Addr: "127.0.0.1:0", Password: "p/w", Dir: t.TempDir(), MaxMemory: maxMemory,
	}, log)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- q.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	<-q.Ready()
	return open(t, "redis://default:p%2Fw@"+q.Addr())
}

// fronted returns a front over a server, as clients of the cluster's queue reach it.
func fronted(t *testing.T, engine *redis.Client) (*Server, *redis.Client) {
	t.Helper()
	is := engine.Options()
	dial := func(ctx context.Context) (net.Conn, error) { return new(net.Dialer).DialContext(ctx, "tcp", is.Addr) }
	f, err := front.New(front.Options{
		Addr:      "127.0.0.1:0",
		Password:  "p/w",
		MaxMemory: 64 << 20,
		Engine:    front.Engine{Name: "the engine", Dial: dial, User: is.Username, Password: is.Password},
	}, slog.New(slog.NewTextHandler(t.Output(), nil)))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- f.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	<-f.Ready()
	return open(t, "redis://default:p%2Fw@"+f.Addr())
}

const binary = "\x00\xff\r\n$-1\r\n"

// fill puts values of all types and sizes into a server.
func fill(t *testing.T, c *redis.Client, at time.Time) {
	t.Helper()
	ctx := t.Context()
	many := func(n, width int) (args []any) {
		for i := range n {
			for w := range width {
				args = append(args, fmt.Sprintf("%d:%d:%s", i, w, binary))
			}
		}
		return args
	}
	var members []redis.Z
	for i := range 11_000 {
		members = append(members, redis.Z{Score: float64(i) / 3, Member: fmt.Sprint(i, binary)})
	}
	members = append(members, redis.Z{Score: math.Inf(1), Member: "inf"}, redis.Z{Score: math.Inf(-1), Member: "-inf"})
	_, err := c.Pipelined(ctx, func(p redis.Pipeliner) error {
		p.Set(ctx, "string", binary, 0)
		p.Set(ctx, "empty", "", 0)
		p.Set(ctx, "long", strings.Repeat("0123456789abcdef", 200_000), 0)
		p.Set(ctx, "passing", "x", 0)
		p.RPush(ctx, "list", "a", "", binary, "a")
		p.RPush(ctx, "long list", many(11_000, 1)...)
		y, z := strings.Repeat("y", 700_000), strings.Repeat("z", 700_000)
		p.RPush(ctx, "wide list", strings.Repeat("w", 3<<20), "x", y, z)
		p.SAdd(ctx, binary, "1", "2", "3")
		p.SAdd(ctx, "long set", many(11_000, 1)...)
		p.ZAdd(ctx, "zset", redis.Z{Score: 0.1, Member: binary}, redis.Z{Score: -5, Member: ""})
		p.ZAdd(ctx, "long zset", members...)
		p.HSet(ctx, "hash", binary, binary, "", "")
		p.HSet(ctx, "long hash", many(11_000, 2)...)
		p.RPush(ctx, "crawlbox:held:x", "own")
		for _, key := range []string{"passing", "list", "long list", "long set"} {
			p.Do(ctx, "PEXPIREAT", key, at.UnixMilli())
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

const filled = 13 // keys, without the queue's own

// dump returns all that a server holds, by key.
func dump(t *testing.T, c *redis.Client) map[string]string {
	t.Helper()
	ctx, all := t.Context(), map[string]string{}
	keys, err := c.Keys(ctx, "*").Result()
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range keys {
		var items []string
		kind := c.Type(ctx, key).Val()
		switch kind {
		case "string":
			items = []string{c.Get(ctx, key).Val()}
		case "list":
			items = c.LRange(ctx, key, 0, -1).Val()
		case "set":
			items = c.SMembers(ctx, key).Val()
			slices.Sort(items)
		case "zset":
			for _, z := range c.ZRangeWithScores(ctx, key, 0, -1).Val() {
				items = append(items, fmt.Sprintf("%v=%q", z.Score, z.Member))
			}
		case "hash":
			for field, value := range c.HGetAll(ctx, key).Val() {
				items = append(items, fmt.Sprintf("%q=%q", field, value))
			}
			slices.Sort(items)
		default:
			items = []string{c.Dump(ctx, key).Val()}
		}
		until, err := c.Do(ctx, "PEXPIRETIME", key).Int64()
		if err != nil {
			t.Fatal(err)
		}
		all[key] = fmt.Sprintf("%s until %d: %q", kind, until, items)
	}
	return all
}

// wantSame compares what two servers hold, without the source's own.
func wantSame(t *testing.T, from, to map[string]string) {
	t.Helper()
	delete(from, "crawlbox:held:x")
	for key, want := range from {
		if to[key] != want {
			t.Errorf("%q is %.200s (%d bytes), want %.200s (%d bytes)", key, to[key], len(to[key]), want, len(want))
		}
	}
	for key := range to {
		if _, ok := from[key]; !ok {
			t.Errorf("%q is only at the target", key)
		}
	}
}

// TestCopy_AllWays copies values of all types between both kinds of servers, twice.
func TestCopy_AllWays(t *testing.T) {
	t.Parallel()
	servers := map[string]func(t *testing.T) (*Server, *redis.Client){
		"redis":    func(t *testing.T) (*Server, *redis.Client) { return redisServer(t) },
		"embedded": func(t *testing.T) (*Server, *redis.Client) { return embedded(t, 0) },
	}
	for a, from := range servers {
		for b, to := range servers {
			t.Run(a+" to "+b, func(t *testing.T) {
				t.Parallel()
				source, c := from(t)
				target, d := to(t)
				fill(t, c, time.Now().Add(time.Hour))
				run := &Copy{From: source, To: target}
				if err := run.Run(t.Context()); err != nil {
					t.Fatal(err)
				}
				want := dump(t, c)
				wantSame(t, want, dump(t, d))
				is := run.Progress()
				if is.Keys != filled || is.AllKeys != filled || is.Items != is.AllItems || is.Items < 44_000 ||
					is.Bytes < 3<<20 {
					t.Errorf("it says %+v", is)
				}
				if left := run.Left(); left.Own != 1 || len(left.Unserved)+len(left.Changed)+len(left.Appeared) > 0 {
					t.Errorf("left are %+v", left)
				}

				before := dump(t, d)
				exists := (*ExistsError)(nil)
				again := &Copy{From: source, To: target}
				if err := again.Run(t.Context()); !errors.As(err, &exists) || len(exists.Keys) != filled {
					t.Fatalf("over what is there: %v", err)
				}
				wantSame(t, before, dump(t, d))
				if err := d.RPush(t.Context(), "list", "more").Err(); err != nil {
					t.Fatal(err)
				}
				again = &Copy{From: source, To: target, Replace: true}
				if err := again.Run(t.Context()); err != nil {
					t.Fatal(err)
				}
				wantSame(t, want, dump(t, d))
			})
		}
	}
}

// TestCopy_ThroughFront copies over the front of the cluster's queue, in and out.
func TestCopy_ThroughFront(t *testing.T) {
	t.Parallel()
	source, c := redisServer(t)
	fill(t, c, time.Now().Add(time.Hour))
	_, engine := embedded(t, 0)
	middle, _ := fronted(t, engine)
	target, d := redisServer(t)
	for _, run := range []*Copy{{From: source, To: middle}, {From: middle, To: target}} {
		if err := run.Run(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	wantSame(t, dump(t, c), dump(t, d))
	counts, err := middle.client.Do(t.Context(), "CRAWLBOX.FLOW", "list").Int64Slice()
	if err != nil || len(counts) != 2 {
		t.Errorf("it says %v, %v, of what comes and goes", counts, err)
	}
}

// TestCopy_Match wants only the keys of a pattern, of the database of the URL, and others at the
// target left alone.
func TestCopy_Match(t *testing.T) {
	t.Parallel()
	addr := testenv.Redis(t)
	source, c := open(t, "redis://"+addr+"/3")
	target, d := embedded(t, 0)
	for _, key := range []string{"a:1", "a:2", "b:1"} {
		c.Set(t.Context(), key, key, 0)
	}
	d.Set(t.Context(), "b:1", "mine", 0)
	if err := (&Copy{From: source, To: target, Match: "a:*"}).Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	got := d.MGet(t.Context(), "a:1", "a:2", "b:1").Val()
	if fmt.Sprint(got) != "[a:1 a:2 mine]" {
		t.Errorf("the target has %q", got)
	}
	exists := (*ExistsError)(nil)
	err := (&Copy{From: source, To: target}).Run(t.Context())
	if !errors.As(err, &exists) || len(exists.Keys) != 3 || d.DBSize(t.Context()).Val() != 3 {
		t.Errorf("got %v", err)
	}
}

// TestCopy_OldServer wants deadlines of a server that tells only how long they are.
func TestCopy_OldServer(t *testing.T) {
	t.Parallel()
	source, c := redisServer(t, "--rename-command", "PEXPIRETIME", "")
	target, d := redisServer(t)
	c.RPush(t.Context(), "list", "a")
	c.Set(t.Context(), "for ever", "a", 0)
	c.PExpire(t.Context(), "list", time.Hour)
	if err := (&Copy{From: source, To: target}).Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	left := d.PTTL(t.Context(), "list").Val()
	if left > time.Hour || left < 55*time.Minute || d.PTTL(t.Context(), "for ever").Val() != -1 {
		t.Errorf("it is deleted in %v", left)
	}
}

// TestCopy_OtherTypes: streams go to a server that has them, and are named where there is none.
func TestCopy_OtherTypes(t *testing.T) {
	t.Parallel()
	source, c := redisServer(t)
	for i := range 100 {
		c.XAdd(t.Context(), &redis.XAddArgs{Stream: "stream", Values: []any{"n", i}})
	}
	c.Set(t.Context(), "string", "x", 0)
	c.PFAdd(t.Context(), "counted", "x", "y")
	like, d := redisServer(t)
	if err := (&Copy{From: source, To: like}).Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	wantSame(t, dump(t, c), dump(t, d))
	if n := d.PFCount(t.Context(), "counted").Val(); n != 2 {
		t.Errorf("%d are counted", n)
	}
	own, e := embedded(t, 0)
	run := &Copy{From: source, To: own}
	if err := run.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	if left := run.Left(); !slices.Equal(left.Unserved, []string{"stream (stream)"}) || run.Progress().Keys != 2 ||
		run.Progress().Items != 2 {
		t.Errorf("left are %+v of %+v", left, run.Progress())
	}
	if n := e.DBSize(t.Context()).Val(); n != 2 {
		t.Errorf("the target has %d keys", n)
	}
}

// relay passes connections on to a server, and calls each with what a client sends.
func relay(t *testing.T, addr string, each func(sent []byte) error) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return relayFrom(t, l, addr, each)
}

func relayFrom(t *testing.T, l net.Listener, addr string, each func(sent []byte) error) string {
	t.Helper()
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			up, err := net.Dial("tcp", addr)
			if err != nil {
				c.Close()
				return
			}
			go func() {
				_, _ = io.Copy(c, up)
				c.Close()
			}()
			go func() {
				defer up.Close()
				buf := make([]byte, 64<<10)
				for {
					n, err := c.Read(buf)
					if err != nil || each(buf[:n]) != nil {
						c.Close()
						return
					}
					if _, err := up.Write(buf[:n]); err != nil {
						return
					}
				}
			}()
		}
	}()
	return l.Addr().String()
}

// TestCopy_Changing wants a list that changes while it is read to be whole at the target or not to be
// there, however often it changes.
func TestCopy_Changing(t *testing.T) {
	t.Parallel()
	for _, changes := range []int{1, 1 << 30} {
		addr := testenv.Redis(t)
		_, c := open(t, "redis://"+addr)
		var items []any
		for i := range 2000 {
			items = append(items, fmt.Sprintf("%010000d", i)) // 20 MB: more than is read at once
		}
		c.RPush(t.Context(), "list", items...)
		c.RPush(t.Context(), "short", items[:500]...)
		done := atomic.Int64{}
		source, _ := open(t, "redis://"+relay(t, addr, func(sent []byte) error {
			for _, key := range []string{"list", "short"} {
				if strings.Contains(strings.ToLower(string(sent)), "lrange\r\n$"+fmt.Sprint(len(key))+"\r\n"+key) &&
					done.Add(1) <= int64(changes) {
					c.LPop(t.Context(), key)
					c.RPush(t.Context(), key, "new")
				}
			}
			return nil
		}))
		target, d := embedded(t, 0)
		run := &Copy{From: source, To: target}
		if err := run.Run(t.Context()); err != nil {
			t.Fatal(err)
		}
		want := []string(nil)
		if changes > 1 {
			want = []string{"list"}
		}
		if left := run.Left().Changed; !slices.Equal(left, want) {
			t.Errorf("after %d changes %q have changed", changes, left)
		}
		got := dump(t, d)
		for key := range got {
			if key == "short" || changes == 1 {
				continue
			}
			t.Errorf("%q is at the target", key)
		}
		for key, is := range dump(t, c) {
			// A change that came as the last chunk was asked for is before it.
			if got[key] != is && !(changes > 1 && key == "list") {
				t.Errorf("after %d changes %s has %d bytes, want %d", changes, key, len(got[key]), len(is))
			}
		}
		if is := run.Progress(); changes == 1 && is.Items != is.AllItems {
			t.Errorf("it says %+v", is)
		}
	}
}

// TestCopy_Interrupted ends a copy at any byte that it sends, by its context and by its connection.
// What is at the target is whole, and copied again it is what it is at the source.
func TestCopy_Interrupted(t *testing.T) {
	t.Parallel()
	source, c := redisServer(t)
	fill(t, c, time.Now().Add(time.Hour))
	want := dump(t, c)
	addr := testenv.Redis(t)
	_, d := open(t, "redis://"+addr)
	for n, step := 0, int64(1); ; n, step = n+1, step*2 {
		ctx, cancel := context.WithCancel(t.Context())
		sent := atomic.Int64{}
		target, _ := open(t, "redis://"+relay(t, addr, func(some []byte) error {
			switch {
			case sent.Add(int64(len(some))) < step*1000:
				return nil
			case n%2 == 0:
				cancel()
				return nil
			}
			return io.EOF
		}))
		run := &Copy{From: source, To: target, Replace: true}
		err := run.Run(ctx)
		cancel()
		got := dump(t, d)
		for key, is := range got {
			switch {
			case strings.HasPrefix(key, ownPrefix+"copy:"):
				if left := d.PTTL(t.Context(), key).Val(); left <= 0 || left > unused || n%2 == 0 {
					t.Errorf("%q is left for %v", key, left)
				}
				d.Del(t.Context(), key)
			case is != want[key]:
				t.Errorf("after %d bytes %q is %.200s", sent.Load(), key, is)
			}
		}
		if err == nil {
			wantSame(t, want, dump(t, d))
			break
		}
		if n%2 == 0 && !errors.Is(err, context.Canceled) {
			t.Errorf("interrupted: %v", err)
		}
		d.FlushAll(t.Context())
	}
}

// TestCopy_Appeared leaves a key alone that comes to the target while it is copied.
func TestCopy_Appeared(t *testing.T) {
	t.Parallel()
	source, c := redisServer(t)
	fill(t, c, time.Now().Add(time.Hour))
	addr := testenv.Redis(t)
	_, d := open(t, "redis://"+addr)
	target, _ := open(t, "redis://"+relay(t, addr, func(sent []byte) error {
		if strings.Contains(strings.ToLower(string(sent)), "renamenx") {
			d.SetNX(t.Context(), "long list", "mine", 0)
			d.SetNX(t.Context(), "hash", "mine", 0)
		}
		return nil
	}))
	run := &Copy{From: source, To: target}
	if err := run.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	left := run.Left().Appeared
	if !slices.Contains(left, "long list") || d.Get(t.Context(), "long list").Val() != "mine" ||
		d.PTTL(t.Context(), "long list").Val() != -1 {
		t.Errorf("left are %q", left)
	}
	if keys := d.Keys(t.Context(), ownPrefix+"*").Val(); len(keys) > 0 {
		t.Errorf("there are %q", keys)
	}
}

// TestCopy_Passed: a key whose deadline passes meanwhile is gone at both.
func TestCopy_Passed(t *testing.T) {
	t.Parallel()
	source, c := redisServer(t)
	addr := testenv.Redis(t)
	_, d := open(t, "redis://"+addr)
	c.RPush(t.Context(), "list", "a")
	c.PExpire(t.Context(), "list", 300*time.Millisecond)
	target, _ := open(t, "redis://"+relay(t, addr, func(sent []byte) error {
		if strings.Contains(strings.ToLower(string(sent)), "rpush") {
			for c.Exists(t.Context(), "list").Val() > 0 { // Redis' clock goes by itself
			}
		}
		return nil
	}))
	if err := (&Copy{From: source, To: target}).Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := d.DBSize(t.Context()).Val(); n != 0 {
		t.Errorf("the target has %d keys", n)
	}
}

// TestCopy_Full names the server that is full, and leaves nothing half.
func TestCopy_Full(t *testing.T) {
	t.Parallel()
	source, c := redisServer(t)
	c.RPush(t.Context(), "small", "a")
	for i := range 200_000 / 1000 {
		c.RPush(t.Context(), "list", slices.Repeat([]any{fmt.Sprintf("%0100d", i)}, 1000)...)
	}
	for name, to := range map[string]func() (*Server, *redis.Client){
		"redis":    func() (*Server, *redis.Client) { return redisServer(t, "--maxmemory", "10mb") },
		"embedded": func() (*Server, *redis.Client) { return embedded(t, 16<<20) },
	} {
		target, d := to()
		err := (&Copy{From: source, To: target}).Run(t.Context())
		if err == nil || !strings.Contains(err.Error(), "is full; take items out") ||
			!strings.Contains(err.Error(), "copy list: "+target.Name) {
			t.Errorf("%s: %v", name, err)
		}
		keys := d.Keys(t.Context(), "*").Val()
		if slices.Contains(keys, "list") || slices.ContainsFunc(keys, func(key string) bool { return key != "small" }) {
			t.Errorf("%s: there are %q", name, keys)
		}
	}
}

// TestServer_TLS copies from a server with TLS, which the CA has to vouch for that is named.
func TestServer_TLS(t *testing.T) {
	t.Parallel()
	certified := httptest.NewTLSServer(nil) // for its certificate
	defer certified.Close()
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: certified.TLS.Certificates})
	if err != nil {
		t.Fatal(err)
	}
	addr := testenv.Redis(t, "--requirepass", "geheim")
	at := relayFrom(t, l, addr, func([]byte) error { return nil })
	_, c := open(t, "redis://:geheim@"+addr)
	c.RPush(t.Context(), "list", 1, 2)
	roots := x509.NewCertPool()
	roots.AddCert(certified.Certificate())
	for want, roots := range map[string]*x509.CertPool{"": roots, "name the CA's with --ca": nil} {
		target, d := redisServer(t)
		source, err := Open("rediss://:geheim@"+at, roots)
		if err != nil {
			t.Fatal(err)
		}
		err = (&Copy{From: source, To: target}).Run(t.Context())
		source.Close()
		if n := d.LLen(t.Context(), "list").Val(); want == "" && (err != nil || n != 2) ||
			want != "" && (err == nil || !strings.Contains(err.Error(), want) || n != 0) {
			t.Errorf("%d items, %v; want %q", n, err, want)
		}
	}
}

// TestServer_Faults says what is wrong with a server, and never a password.
func TestServer_Faults(t *testing.T) {
	t.Parallel()
	addr := testenv.Redis(t, "--requirepass", "geheim")
	cluster := testenv.Redis(t, "--cluster-enabled", "yes")
	for url, want := range map[string]string{
		"redis://" + addr:                       "wants a password",
		"redis://:falsch@" + addr:               "refuses the user or the password",
		"redis://me:falsch@" + addr:             "refuses the user or the password",
		"redis://:geheim@" + addr + "/99":       "DB index is out of range",
		"redis://" + cluster:                    "",
		"redis://127.0.0.1:1":                   "127.0.0.1:1: dial tcp 127.0.0.1:1: connect: connection refused",
		"rediss://:geheim@" + addr:              "",
		"redis://:geheim@" + addr + "/x":        "number of a database",
		"redis://:ge heim@" + addr:              "no URL",
		"redis://:ge%heim@" + addr:              "no URL",
		"redis://:geheim@" + addr + "?a=b":      "parameters",
		"redis://:geheim@:6379":                 "no URL of a Redis server",
		"redis://:geheim@127.0.0.1:99999":       "no URL of a Redis server",
		"http://:geheim@" + addr:                "no URL of a Redis server",
		"unix:///run/redis?geheim":              "no URL of a Redis server",
		"geheim":                                "no URL of a Redis server",
		"":                                      "no URL of a Redis server",
		"redis://:geheim@" + addr + "/-1":       "number of a database",
		"redis://:geheim@" + addr + "/1/geheim": "number of a database",
	} {
		target, _ := redisServer(t)
		s, err := Open(url, nil)
		if err == nil {
			err = (&Copy{From: s, To: target}).Run(t.Context())
			s.Close()
		}
		said := fmt.Sprint(err)
		if url == "redis://"+cluster {
			continue // one that is empty answers as any other
		}
		secret := strings.Contains(strings.ReplaceAll(said, "/geheim", ""), "heim")
		if err == nil || !strings.Contains(said, want) || secret || len(testenv.Raw(said)) > 0 ||
			strings.Contains(said, "\n") {
			t.Errorf("%s: %s", url, said)
		}
	}
}
