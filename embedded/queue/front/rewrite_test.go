package front

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/crawlbox/crawlbox/appliance/base/clock"
)

// reversing has LPOP take from the other end and BLPOP wait without blocking the engine.
type reversing struct {
	mu      sync.Mutex
	clients map[string]int // by address, while they are there
	seen    []Command
}

func (r *reversing) Commands() []string  { return []string{"LPOP", "BLPOP", "FAILS", "LARGE"} }
func (r *reversing) Prepare() [][]string { return [][]string{{"SET", "prepared", "yes"}} }

func (r *reversing) Enter(client net.Addr) Rewriting {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.clients[client.String()]++
	return &reversed{r, client.String()}
}

type reversed struct {
	of     *reversing
	client string
}

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
