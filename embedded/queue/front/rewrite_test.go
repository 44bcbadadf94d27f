package front

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/crawlbox/crawlbox/appliance/base/clock"
)

// reversing has LPOP take from the other end and BLPOP wait without blocking the engine.
type reversing struct {
	mu      sync.Mutex
	clients map[string]int // by address, while they are there
	seen    []Command
	lost    int // replies that did not arrive
	failed  atomic.Int32
}

func (r *reversing) Commands() []string  { return []string{"LPOP", "BLPOP", "FAILS", "LARGE", "SPOP"} }
func (r *reversing) Prepare() [][]string { return [][]string{{"SET", "prepared", "yes"}} }

func (r *reversing) Enter(client net.Conn, _ time.Time) Rewriting {
	r.mu.Lock()
	defer r.mu.Unlock()
	from := client.RemoteAddr().String()
	r.clients[from]++
	return &reversed{r, from}
}

type reversed struct {
	of     *reversing
	client string
}

func (r *reversed) Failed() { r.of.failed.Add(1) }

func (r *reversed) Leave() {
	r.of.mu.Lock()
	defer r.of.mu.Unlock()
	delete(r.of.clients, r.client)
}

func (r *reversed) Rewrite(c Command) Instead {
	r.of.mu.Lock()
	defer r.of.mu.Unlock()
	r.of.seen = append(r.of.seen, c)
	switch name := strings.ToUpper(c.Args[0]); {
	case name == "FAILS":
		return Instead{Serve: func(context.Context, Do) ([]byte, error) {
			return nil, errors.New("ERR as\r\nit should")
		}}
	case name == "LARGE":
		return Instead{Serve: func(ctx context.Context, do Do) ([]byte, error) { return do(ctx, "GET", "large") }}
	case len(c.Args) < 2:
		return Instead{}
	case name == "SPOP": // as many as there are, with one command
		return Instead{
			Args:        c.Args,
			Times:       c.Times,
			Queued:      func(reply []byte) []byte { return append([]byte("*2\r\n+popped\r\n"), reply...) },
			Undelivered: func() { r.of.mu.Lock(); defer r.of.mu.Unlock(); r.of.lost++ },
			Serve: func(ctx context.Context, do Do) (replies []byte, err error) {
				reply, err := do(ctx, "SPOP", c.Args[1], strconv.Itoa(c.Times))
				if err != nil || reply[0] != '*' && reply[0] != '~' {
					return reply, err
				}
				_, from, _ := number(reply)
				for replies = reply[from:]; bytes.Count(replies, []byte{'$'}) < c.Times; {
					replies = append(replies, "$-1\r\n"...)
				}
				return replies, nil
			},
		}
	case name == "LPOP":
		return Instead{Args: append([]string{"RPOP"}, c.Args[1:]...)}
	}
	return Instead{Args: []string{"RPOP", c.Args[1]}, Serve: func(ctx context.Context, do Do) ([]byte, error) {
		for {
			reply, err := do(ctx, "RPOP", c.Args[1])
			if err != nil || !strings.HasPrefix(string(reply), "$-1") && reply[0] != '_' {
				return reply, err
			}
			if err := clock.Sleep(ctx, time.Millisecond); err != nil {
				return nil, err
			}
		}
	}}
}

func startRewriting(t *testing.T, change func(*Options)) (*engineProcess, running, *reversing) {
	t.Helper()
	e, r := startEngine(t), &reversing{clients: map[string]int{}}
	opts := Options{Engine: e.engine(), Rewriter: r}
	change(&opts)
	return e, startFront(t, opts), r
}

func TestRewriter(t *testing.T) {
	t.Parallel()
	_, f, r := startRewriting(t, func(*Options) {})
	for _, proto := range []int{2, 3} {
		c, filler := f.talk(proto), f.talk(2)
		c.want("$3\r\nyes\r\n", "GET", "prepared")
		c.want("+OK\r\n", "SELECT", "1")
		c.want(":3\r\n", "RPUSH", "l", "a", "b", "c")
		c.write("LPOP l\r\n*2\r\n$4\r\nlpop\r\n$1\r\nl\r\nLPOP\r\nPING\r\n")
		if got := c.read() + c.read(); got != bulk("c")+bulk("b") {
			t.Errorf("got %q", got)
		}
		if got := c.read(); got != "-ERR wrong number of arguments for 'lpop' command\r\n" {
			t.Errorf("got %q", got)
		}
		if got := c.read(); got != "+PONG\r\n" {
			t.Errorf("got %q", got)
		}
		c.want("+OK\r\n", "MULTI")
		c.want("+QUEUED\r\n", "BLPOP", "l", "0")
		c.want("*1\r\n"+bulk("a"), "EXEC")
		c.write("PING\r\n*3\r\n$5\r\nBLPOP\r\n$1\r\nl\r\n$1\r\n0\r\nPING\r\nFAILS\r\n") // and what is behind it waits
		filler.want("+OK\r\n", "SELECT", "1")
		filler.want(":1\r\n", "RPUSH", "l", "late")
		got := c.read() + c.read() + c.read() + c.read()
		if got != "+PONG\r\n"+bulk("late")+"+PONG\r\n-ERR as  it should\r\n" {
			t.Errorf("got %q", got)
		}
		r.mu.Lock()
		last := r.seen[len(r.seen)-2]
		if last.Multi || last.Proto != proto || last.DB != 1 || fmt.Sprint(last.Args) != "[BLPOP l 0]" {
			t.Errorf("the rewriter saw %+v", last)
		}
		if queued := r.seen[len(r.seen)-3]; !queued.Multi {
			t.Errorf("the rewriter saw %+v", queued)
		}
		r.mu.Unlock()
		c.Close()
		filler.Close()
	}
	waitUntil(t, func() error {
		r.mu.Lock()
		defer r.mu.Unlock()
		if len(r.clients) > 0 {
			return fmt.Errorf("the rewriter was not told of the end of %v", r.clients)
		}
		return nil
	})
}

// TestRewriter_ManyAtOnce has the same commands in a row done by one.
func TestRewriter_ManyAtOnce(t *testing.T) {
	t.Parallel()
	e, f, r := startRewriting(t, func(*Options) {})
	c := f.talk(2)
	c.want(":3\r\n", "SADD", "s", "m", "n", "o")
	pop := string(appendRequest(nil, "SPOP", "s"))
	c.write(strings.Repeat(pop, 5) + "*1\r\n$4\r\nPING\r\n" + pop + "SPOP s\r\n")
	got := make([]string, 8)
	for i := range got {
		got[i] = c.read()
	}
	slices.Sort(got[:3])
	want := bulk("m") + bulk("n") + bulk("o") + "$-1\r\n$-1\r\n+PONG\r\n$-1\r\n$-1\r\n"
	if strings.Join(got, "") != want {
		t.Errorf("got %q", got)
	}
	r.mu.Lock()
	if n := len(r.seen); n != 3 || r.seen[0].Times != 5 {
		t.Errorf("the rewriter saw %+v", r.seen)
	}
	r.mu.Unlock()
	if calls := e.direct().Info(t.Context(), "commandstats").Val(); !strings.Contains(calls, "cmdstat_spop:calls=3,") {
		t.Errorf("the engine did %s", calls)
	}
}

// TestRewriter_InTransactions changes single parts of EXEC's reply.
func TestRewriter_InTransactions(t *testing.T) {
	t.Parallel()
	_, f, _ := startRewriting(t, func(*Options) {})
	for _, proto := range []int{2, 3} {
		c, null := f.talk(proto), "$-1\r\n"
		if proto == 3 {
			null = "_\r\n"
		}
		c.write("SADD s m\r\nMULTI\r\n*1\r\n$5\r\nMULTI\r\n*1\r\n$7\r\nUNWATCH\r\n" +
			"*1\r\n$4\r\nPING\r\nWATCH k\r\n" +
			"SPOP s\r\nPING\r\nCLIENT GETNAME\r\n*2\r\n$4\r\nSPOP\r\n$1\r\ns\r\nEXEC\r\nPING\r\n")
		want := ":1\r\n+OK\r\n-ERR MULTI calls can not be nested\r\n+QUEUED\r\n+QUEUED\r\n" +
			"-ERR WATCH inside MULTI is not allowed\r\n+QUEUED\r\n+QUEUED\r\n+QUEUED\r\n+QUEUED\r\n" +
			"*6\r\n+OK\r\n+PONG\r\n*2\r\n+popped\r\n" + bulk("m") + "+PONG\r\n" + null + "*2\r\n+popped\r\n" + null +
			"+PONG\r\n"
		got := ""
		for range 12 {
			got += c.read()
		}
		if got != want {
			t.Errorf("got  %q\nwant %q", got, want)
		}
		c.want("+OK\r\n", "WATCH", "k")
		f.talk(2).want("+OK\r\n", "SET", "k", fmt.Sprint(proto))
		c.want("+OK\r\n", "MULTI")
		c.want("+QUEUED\r\n", "SPOP", "s")
		if got := c.do("EXEC"); got != strings.Replace(null, "$", "*", 1) {
			t.Errorf("with a changed key: got %q", got)
		}
		c.want("+OK\r\n", "MULTI")
		c.want("+QUEUED\r\n", "SPOP", "s")
		c.want("+OK\r\n", "DISCARD")
		c.want("+OK\r\n", "MULTI")
		c.want("*0\r\n", "EXEC")
	}
	waitUntil(t, func() error {
		if held := f.memory.Held(); held != 0 {
			return fmt.Errorf("%d bytes are kept", held)
		}
		return nil
	})
}

// TestRewriter_Undelivered tells the rewriter of replies that its client did not get.
func TestRewriter_Undelivered(t *testing.T) {
	t.Parallel()
	e, f, r := startRewriting(t, func(*Options) {})
	for i, send := range []string{"SPOP s\r\n", "MULTI\r\nSPOP s\r\nPING\r\nEXEC\r\n"} {
		noSocketTakesIt := strings.Repeat("x", 20<<20)
		if err := e.direct().SAdd(t.Context(), "s", noSocketTakesIt).Err(); err != nil {
			t.Fatal(err)
		}
		c := f.talk(2)
		c.write(send)
		waitUntil(t, func() error {
			if n := e.direct().SCard(t.Context(), "s").Val(); n != 0 {
				return errors.New("it is not popped yet")
			}
			return nil
		})
		c.Close()
		waitUntil(t, func() error {
			r.mu.Lock()
			defer r.mu.Unlock()
			if r.lost != i+1 {
				return fmt.Errorf("the rewriter was told of %d", r.lost)
			}
			return nil
		})
	}
}

// TestRewriter_EndOfAWaitingClient wants no item to go to a client that is gone, nor a wait to go on.
func TestRewriter_EndOfAWaitingClient(t *testing.T) {
	t.Parallel()
	_, f, r := startRewriting(t, func(*Options) {})
	c := f.talk(2)
	c.write("BLPOP l 0\r\n" + strings.Repeat("PING\r\n", 1000))
	waitUntil(t, func() error {
		r.mu.Lock()
		defer r.mu.Unlock()
		if len(r.seen) == 0 {
			return errors.New("it does not wait yet")
		}
		return nil
	})
	c.Close()
	waitUntil(t, func() error {
		r.mu.Lock()
		defer r.mu.Unlock()
		if len(r.clients) > 0 {
			return errors.New("the client is there")
		}
		return nil
	})
	f.talk(2).want(":1\r\n", "RPUSH", "l", "x")
	f.talk(2).want(":1\r\n", "LLEN", "l")
}

// TestRewriter_EngineGone loses the engine's connection in the middle of a wait: the client hears of it, or, where
// the engine owes nothing, the wait goes on.
func TestRewriter_EngineGone(t *testing.T) {
	t.Parallel()
	e, f, _ := startRewriting(t, func(o *Options) { o.Patience = patience })
	c := f.talk(2)
	c.want("+PONG\r\n", "PING")
	c.send("BLPOP", "l", "0")
	e.kill()
	e.start()
	f.talk(2).want(":1\r\n", "RPUSH", "l", "x")
	if got, err := c.tryRead(); err == nil && got != bulk("x") {
		t.Errorf("got %q", got)
	}
}

// TestRewriter_Failed tells of clients that hear of the engine's end, and of no others.
func TestRewriter_Failed(t *testing.T) {
	t.Parallel()
	e, f, r := startRewriting(t, func(o *Options) { o.Patience = patience })
	idle, leaves, hears := f.talk(2), f.talk(2), f.talk(2)
	idle.want("+PONG\r\n", "PING")
	for _, c := range []*talker{leaves, hears} {
		c.want("+PONG\r\n", "PING")
		c.send("BRPOP", "nothing", "0")
	}
	waitUntil(t, func() error {
		if n := e.direct().Info(t.Context(), "clients").Val(); !strings.Contains(n, "blocked_clients:2") {
			return errors.New(n)
		}
		return nil
	})
	leaves.Close()
	left := func(n int) func() error {
		return func() error {
			r.mu.Lock()
			defer r.mu.Unlock()
			if len(r.clients) != n {
				return fmt.Errorf("%d clients are there, want %d", len(r.clients), n)
			}
			return nil
		}
	}
	waitUntil(t, left(2))
	if n := r.failed.Load(); n != 0 {
		t.Errorf("%d clients have met no engine, though it is there", n)
	}
	e.kill()
	waitUntil(t, left(1))
	e.start()
	idle.want("+PONG\r\n", "PING")
	if n := r.failed.Load(); n != 1 {
		t.Errorf("%d clients have met no engine, want 1", n)
	}
}

// TestRewriter_LargeReply wants a reply that is kept for the rewriter to be bounded.
func TestRewriter_LargeReply(t *testing.T) {
	t.Parallel()
	e, f, _ := startRewriting(t, func(o *Options) { o.MaxMemory = 64 << 20 })
	if err := e.direct().Set(t.Context(), "large", strings.Repeat("x", 20<<20), 0).Err(); err != nil {
		t.Fatal(err)
	}
	c := f.talk(2)
	c.want("-"+errNoRoom.Error()+"\r\n", "LARGE")
	c.want("+PONG\r\n", "PING")
	if held := f.memory.Held(); held != 0 {
		t.Errorf("%d bytes are kept", held)
	}
}
