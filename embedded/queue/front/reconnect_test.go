package front

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// told is a connection that tells of its end.
type told struct {
	net.Conn
	closed chan struct{}
	once   sync.Once
}

func (c *told) NetConn() net.Conn { return c.Conn }

func (c *told) Close() error {
	c.once.Do(func() { close(c.closed) })
	return c.Conn.Close()
}

func TestReconnect_AnIdleClientSurvives(t *testing.T) {
	t.Parallel()
	e := startEngine(t)
	opts, links := Options{Engine: e.engine()}, make(chan *told, 100)
	opts.Engine.Dial = func(ctx context.Context) (net.Conn, error) {
		conn, err := e.dial(ctx)
		if err != nil {
			return nil, err
		}
		link := &told{Conn: conn, closed: make(chan struct{})}
		links <- link
		return link, nil
	}
	f := startFront(t, opts)
	two, three, used := f.talk(2), f.talk(3), f.talk(2)
	two.want("+OK\r\n", "SELECT", "4")
	two.want("+OK\r\n", "CLIENT", "SETNAME", "me")
	three.want("+OK\r\n", "SELECT", "5")
	used.want("+OK\r\n", "WATCH", "k")
	used.want("+OK\r\n", "MULTI")
	used.want("+QUEUED\r\n", "PING")
	used.want("*1\r\n+PONG\r\n", "EXEC")
	for range 3 {
		e.kill()
		for len(links) > 0 { // what is sent before the front knows counts as under way
			<-(<-links).closed
		}
		e.start()
		two.want("$-1\r\n", "GET", "k")
		if got := two.do("CLIENT", "INFO"); !strings.Contains(got, " name=me ") || !strings.Contains(got, " db=4 ") ||
			!strings.Contains(got, " resp=2") {
			t.Errorf("the engine knows %q", got)
		}
		three.want("_\r\n", "GET", "k")
		if got := three.do("CLIENT", "INFO"); !strings.Contains(got, " db=5 ") || !strings.Contains(got, " resp=3") {
			t.Errorf("the engine knows %q", got)
		}
		used.want("$-1\r\n", "GET", "k")
	}
}

// TestReconnect_WhoWaitsHears wants those to hear of it that the engine owes something.
func TestReconnect_WhoWaitsHears(t *testing.T) {
	t.Parallel()
	for name, send := range map[string]string{
		"blocked":           "BLPOP none 0\r\n",
		"pipelined":         "BLPOP none 0\r\nPING\r\n",
		"transaction":       "MULTI\r\n",
		"watching":          "WATCH k\r\n",
		"subscribed":        "SUBSCRIBE k\r\n",
		"monitoring":        "MONITOR\r\n",
		"tracking":          "CLIENT TRACKING ON\r\n",
		"without replies":   "CLIENT REPLY OFF\r\nPING\r\n",
		"database, perhaps": "MULTI\r\nSELECT 1\r\nEXEC\r\n",
		"in a request":      "*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$100\r\nxxx",
		"behind the front":  "BLPOP none 0\r\nAUTH x\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e, f := start(t)
			c := f.talk(2)
			before := f.passed.Load()
			c.write("PING\r\n" + send)
			if got := c.read(); got != "+PONG\r\n" {
				t.Fatalf("got %q", got)
			}
			waitUntil(t, func() error {
				if f.passed.Load() < before+2 {
					return errors.New("the front has not sent it yet")
				}
				return nil
			})
			e.kill()
			for {
				if got, err := c.tryRead(); err != nil {
					if got != "" {
						t.Errorf("at the end there came %q", got)
					}
					break
				} else if strings.HasPrefix(got, "-") {
					t.Errorf("got %q", got)
				}
			}
		})
	}
}

// TestReconnect_RequestsAreNotTorn ends the engine's connection while it has half of a request: the rest is not taken
// for one of its own.
func TestReconnect_RequestsAreNotTorn(t *testing.T) {
	t.Parallel()
	e := startEngine(t)
	var links sync.Map
	opts := Options{Engine: e.engine()}
	opts.Engine.Dial = func(ctx context.Context) (net.Conn, error) {
		conn, err := e.dial(ctx)
		if err == nil {
			links.Store(conn, true)
		}
		return conn, err
	}
	f := startFront(t, opts)
	c := f.talk(2)
	c.want("+OK\r\n", "SET", "k", "v")
	inner := "\r\n" + string(appendRequest(nil, "FLUSHALL"))
	c.write(fmt.Sprintf("*3\r\n$3\r\nSET\r\n$1\r\nl\r\n$%d\r\nx", 1+len(inner)))
	waitUntil(t, func() error {
		if f.passed.Load() < 2 {
			return errors.New("nothing was sent yet")
		}
		return nil
	})
	links.Range(func(conn, _ any) bool { conn.(net.Conn).Close(); return true })
	_, _ = c.Write([]byte(inner + "\r\n"))
	c.wantEnd("")
	if got := e.direct().Get(t.Context(), "k").Val(); got != "v" {
		t.Errorf("k is %q", got)
	}
	if n := e.direct().Exists(t.Context(), "l").Val(); n != 0 {
		t.Error("half a request was done")
	}
}

// TestReconnect_ClientsGoOn has clients of a library at work while the engine is killed again and again: with its
// retries they see no error.
func TestReconnect_ClientsGoOn(t *testing.T) {
	t.Parallel()
	e, f := start(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var done atomic.Int64
	var group sync.WaitGroup
	for i := range 4 {
		c := f.client(func(o *redis.Options) {
			o.MaxRetries, o.Protocol, o.DB, o.PoolSize = 10, 2+i%2, i, 2
			o.DialerRetries = 10
		})
		group.Go(func() {
			for ctx.Err() == nil {
				if err := c.Incr(ctx, "n").Err(); err != nil && ctx.Err() == nil {
					t.Errorf("client %d: %v", i, err)
					return
				}
				if got, err := c.ClientInfo(ctx).Result(); ctx.Err() == nil && (err != nil || got.DB != i) {
					t.Errorf("client %d: %+v, %v", i, got, err)
					return
				}
				done.Add(1)
			}
		})
	}
	for range 5 {
		before := done.Load()
		waitUntil(t, func() error {
			if done.Load() < before+50 {
				return errors.New("nobody gets on")
			}
			return nil
		})
		e.kill()
		e.start()
	}
	cancel()
	group.Wait()
}

func TestEngine_Unreachable(t *testing.T) {
	t.Parallel()
	e := startEngine(t)
	e.kill()
	f := startFront(t, Options{Engine: e.engine(), Patience: 100 * time.Millisecond})
	c := f.talk(2) // the password is the front's own matter
	want := "-LOADING the queue's engine at engine.test:6379 can't be reached (dial unix " + e.socket() +
		": connect: connection refused): start it, or correct its address\r\n"
	c.write(strings.Repeat("PING\r\n", 300) + "SHUTDOWN\r\nMULTI\r\n" +
		"*2\r\n$3\r\nGET\r\n$1\r\nk\r\nEXEC\r\nSELECT 3\r\nHELLO\r\n")
	for range 300 {
		if got := c.read(); got != want {
			t.Fatalf("got %q", got)
		}
	}
	if got := c.read(); !strings.HasPrefix(got, "-NOPERM SHUTDOWN") {
		t.Errorf("got %q", got)
	}
	for range 5 {
		if got := c.read(); got != want {
			t.Errorf("got %q", got)
		}
	}
	waitUntil(t, func() error {
		if got := f.Progress().Problem; "-LOADING "+got+"\r\n" != want {
			return fmt.Errorf("the problem is %q", got)
		}
		return nil
	})
	s := f.stranger()
	if got := s.do("HELLO", "3", "AUTH", "default", clusterPassword); got != want {
		t.Errorf("HELLO: got %q", got)
	}
	e.start()
	waitUntil(t, func() error {
		if got := f.Progress().Problem; got != "" {
			return errors.New(got)
		}
		return nil
	})
	c.want("+PONG\r\n", "PING")
	c.want("+OK\r\n", "SET", "k", "v")
	s.want("+PONG\r\n", "PING")
}

// TestEngine_Patience has a command wait for an engine that comes back.
func TestEngine_Patience(t *testing.T) {
	t.Parallel()
	e := startEngine(t)
	f := startFront(t, Options{Engine: e.engine(), Patience: patience})
	e.kill()
	waitUntil(t, func() error {
		if f.Progress().Problem == "" {
			return errors.New("the front does not know yet")
		}
		return nil
	})
	c := f.talk(2)
	c.send("PING")
	e.start()
	if got := c.read(); got != "+PONG\r\n" {
		t.Errorf("got %q", got)
	}
}

func TestEngine_Refuses(t *testing.T) {
	t.Parallel()
	e := startEngine(t)
	for want, change := range map[string]func(*Engine){
		"refuses the user or password (WRONGPASS ":               func(e *Engine) { e.Password = "wrong" },
		"refuses the user or password (WRONGPASS":                func(e *Engine) { e.User = "nobody" },
		"wants a password, and there is none (NOAUTH ":           func(e *Engine) { e.Password = "" },
		"can't be used (ERR DB index is out of range to SELECT)": func(e *Engine) { e.DB = 99 },
	} {
		opts := Options{Engine: e.engine(), Patience: 100 * time.Millisecond}
		change(&opts.Engine)
		f := startFront(t, opts)
		got := f.talk(2).do("GET", "k")
		if !strings.HasPrefix(got, "-LOADING the queue's engine at engine.test:6379 "+want) ||
			strings.Count(got, "\n") != 1 {
			t.Errorf("got %q, want %q", got, want)
		}
		waitUntil(t, func() error {
			if got := f.Progress().Problem; !strings.Contains(got, want) {
				return fmt.Errorf("the problem is %q", got)
			}
			return nil
		})
	}
}

// TestEngine_Advice: what is to be done is what who runs the engine says, and a front before another one says what that
// does.
func TestEngine_Advice(t *testing.T) {
	t.Parallel()
	advice := Advice{Away: "wait a little", Login: "in the file", Refused: "write others"}
	for _, c := range []struct {
		change func(*engineProcess, *Engine)
		want   string
	}{
		{func(e *engineProcess, _ *Engine) { e.kill() }, ": connect: connection refused): wait a little\r\n"},
		{func(_ *engineProcess, to *Engine) { to.User = "nobody" }, "the user or password in the file (WRONGPASS "},
		{func(_ *engineProcess, to *Engine) { to.Password = "wrong" }, "): write others\r\n"},
		{func(_ *engineProcess, to *Engine) { to.Password = "" }, "and there is none in the file (NOAUTH "},
	} {
		e := startEngine(t)
		opts := Options{Engine: e.engine(), Patience: 100 * time.Millisecond}
		opts.Engine.Advice = advice
		c.change(e, &opts.Engine)
		near := startFront(t, opts)
		far := startFront(t, Options{Patience: time.Second, Engine: Engine{
			Name: "the other front", Password: clusterPassword, Front: true,
			Dial: func(ctx context.Context) (net.Conn, error) {
				var d net.Dialer
				return d.DialContext(ctx, "tcp", near.Addr())
			},
		}})
		for _, f := range []running{near, far} {
			got, until := "", time.Now().Add(patience)
			for ok := false; !ok && time.Now().Before(until); { // on a busy machine an engine may answer late
				got = f.talk(2).do("GET", "k")
				ok = strings.Contains(got, c.want) && !strings.Contains(got, "the other front")
			}
			if !strings.Contains(got, c.want) || strings.Contains(got, "the other front") {
				t.Errorf("got %q, want %q", got, c.want)
			}
		}
	}
}

// TestEngine_IsNone has servers that are none of Redis.
func TestEngine_IsNone(t *testing.T) {
	t.Parallel()
	for says, want := range map[string]string{
		"HTTP/1.1 400 Bad Request\r\n\r\n": "not of the Redis protocol",
		"":                                 "it closed the connection",
		strings.Repeat("+", 2<<20):         "not of the Redis protocol",
		"$2000000000\r\n":                  "it closed the connection",
		"*2000000000\r\n*2000000000\r\n":   "it closed the connection",
		"-ERR max number of clients\x1b\x00 reached\r\n": "(ERR max number of clients   reached",
	} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.Close() })
		go func() {
			for {
				conn, err := l.Accept()
				if err != nil {
					return
				}
				_, _ = conn.Read(make([]byte, 1000))
				_, _ = conn.Write([]byte(says))
				conn.Close()
			}
		}()
		f := startFront(t, Options{
			Engine: Engine{Name: "x", Password: "p", Dial: func(ctx context.Context) (net.Conn, error) {
				var d net.Dialer
				return d.DialContext(ctx, "tcp", l.Addr().String())
			}},
			Patience: 100 * time.Millisecond,
		})
		if got := f.talk(2).do("GET", "k"); !strings.HasPrefix(got, "-LOADING the queue's engine at x ") ||
			!strings.Contains(got, want) {
			t.Errorf("to %.30q: got %q", says, got)
		}
	}
}

// TestEngine_Progress is what status shows.
func TestEngine_Progress(t *testing.T) {
	t.Parallel()
	e := startEngine(t, "--maxmemory", "100mb")
	opts := Options{Engine: e.engine()}
	opts.Engine.DB = 2
	f := startFront(t, opts)
	c := f.client()
	for i := range 7 {
		if err := c.Set(t.Context(), fmt.Sprint(i), "x", 0).Err(); err != nil {
			t.Fatal(err)
		}
	}
	waitUntil(t, func() error {
		is := f.Progress()
		if is.Keys != 7 || is.Bound != 100<<20 || is.Memory < 100_000 || is.Clients != 1 || is.Problem != "" ||
			is.Commands < 7 {
			return fmt.Errorf("progress is %+v", is)
		}
		return nil
	})
}

// TestNotNow has an engine that takes no writes now, since it wants a replica or is one: clients are told to try again,
// whatever comes beside it, and who rewrites hears of it before they do.
func TestNotNow(t *testing.T) {
	t.Parallel()
	if len(noReplicas) != len(replicaLess) || len(readOnly) != len(isReplica) {
		t.Fatal("not in its place")
	}
	for name, is := range map[string]struct {
		make  []any
		reply string // to a write
	}{
		"wants a replica": {
			[]any{"CONFIG", "SET", "min-replicas-to-write", 1}, replicaLess,
		},
		"is a replica": {
			[]any{"REPLICAOF", "127.0.0.1", 1}, isReplica,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e, f, r := startRewriting(t, func(*Options) {})
			c := f.talk(2)
			c.want(":1\r\n", "RPUSH", "k", "v")
			if err := e.direct().Do(t.Context(), is.make...).Err(); err != nil {
				t.Fatal(err)
			}
			for i, args := range [][]string{
				{"SET", "k", "v"},
				{"BLPOP", "k", "0"}, // which is rewritten
				{"EVAL", "return redis.call('set', 'k', 'v')", "0"},
			} {
				c.send(args...)
				if got := c.read(); !strings.HasPrefix(got, "-LOADING ") {
					t.Errorf("%s: %q", args[0], got)
				}
				if n := r.failed.Load(); n != int32(i)+1 {
					t.Errorf("%s: who rewrites has heard of it %d times, want %d", args[0], n, i+1)
				}
			}
			text := "-NOREPLICAS none\r\n"
			c.want(fmt.Sprintf("$%d\r\n%s\r\n", len(text), text), "ECHO", text)
			c.write(string(appendRequest(appendRequest(nil, "SET", "k", "v"), "PING")))
			if got := c.read() + c.read(); got != is.reply+"\r\n+PONG\r\n" {
				t.Errorf("pipelined: %q", got)
			}
		})
	}
}

// TestSoften takes errors for what they are.
func TestSoften(t *testing.T) {
	t.Parallel()
	for reply, want := range map[string]string{
		"-LOADING Redis is loading\r\n":    "-LOADING Redis is loading\r\n",
		"-MASTERDOWN Link with MASTER\r\n": "-LOADING    Link with MASTER\r\n",
		"-EXECABORT Transaction discarded because of: READONLY You can't\r\n": "-LOADING   Transaction discarded " +
			"because of: READONLY You can't\r\n",
		"-EXECABORT Transaction discarded because of previous errors.\r\n": "",
		"-ERR READONLY \r\n":     "",
		"-READONLYX is none\r\n": "",
		"-READONLY\r\n":          "",
		"+READONLY is\r\n":       "",
		"$-1\r\n":                "",
	} {
		got := []byte(reply)
		if is := soften(got); is != (want != "") || is && string(got) != want || !is && string(got) != reply {
			t.Errorf("%q is %v and %q, want %q", reply, is, got, want)
		}
	}
}
