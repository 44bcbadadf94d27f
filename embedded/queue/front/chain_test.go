package front

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"
)

// chained starts a front of an engine, and another that gets to it by that.
func chained(t *testing.T, near, far Rewriter) (e *engineProcess, first running) {
	e = startEngine(t)
	to := e.engine()
	to.DB = 2
	beside := startFront(t, Options{Engine: to, Rewriter: far})
	return e, startFront(t, Options{Engine: beside.engine(2), Rewriter: near})
}

// engine is the front as one of another front.
func (f running) engine(db int) Engine {
	return Engine{
		Name: "the other front",
		Dial: func(ctx context.Context) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "tcp", f.Addr())
		},
		Password: clusterPassword,
		DB:       db,
		Front:    true,
	}
}

// TestChain_RewritesOnce wants the front of the client to rewrite, and the one beside the engine not to; in the
// database that the client chose, also where that is not the one in which both begin.
func TestChain_RewritesOnce(t *testing.T) {
	t.Parallel()
	near := &reversing{clients: map[string]int{}}
	far := &reversing{clients: map[string]int{}}
	e, f := chained(t, near, far)
	c := f.talk(2)
	c.want(":3\r\n", "RPUSH", "list", "a", "b", "c")
	c.want(bulk("c"), "LPOP", "list")
	c.want("+OK\r\n", "MULTI")
	c.want("+QUEUED\r\n", "LPOP", "list")
	if got := c.do("EXEC"); !strings.Contains(got, bulk("b")) {
		t.Errorf("in a transaction: %q", got)
	}
	c.want("+OK\r\n", "SELECT", "0")
	c.want("+OK\r\n", "SET", "zero", "1")
	f.SetEngine(f.engineNow())
	c.want(bulk("1"), "GET", "zero")
	if n := e.direct().Exists(t.Context(), "zero").Val(); n != 1 {
		t.Error("what was written to database 0 is not there")
	}
	near.mu.Lock()
	defer near.mu.Unlock()
	far.mu.Lock()
	defer far.mu.Unlock()
	if len(near.seen) != 2 || len(far.seen) != 0 {
		t.Errorf("the first has seen %v, the second %v", near.seen, far.seen)
	}
}

func (f running) engineNow() Engine { return f.Server.engine.now().Engine }

// TestChain_Refused wants a front before the password to be a stranger.
func TestChain_Refused(t *testing.T) {
	t.Parallel()
	_, f := start(t)
	f.stranger().want("-NOAUTH Authentication required.\r\n", Through)
}

// TestSetEngine wants clients that wait for nothing to go on with the other engine, and who waits to hear of it.
func TestSetEngine(t *testing.T) {
	t.Parallel()
	one, other := startEngine(t), startEngine(t)
	f := startFront(t, Options{Engine: one.engine()})
	idle, waits, multi := f.talk(3), f.talk(2), f.talk(2)
	idle.want("+OK\r\n", "SELECT", "3")
	idle.want("+OK\r\n", "SET", "k", "one")
	multi.want("+OK\r\n", "MULTI")
	waits.send("BLPOP", "none", "0")
	direct := one.direct()
	waitUntil(t, func() error { return blocked(direct, 1) })
	f.SetEngine(other.engine())
	waits.wantEnd("")
	multi.wantEnd("")
	idle.want("_\r\n", "GET", "k")
	idle.want("+OK\r\n", "SET", "k", "other")
	if got := idle.do("CLIENT", "INFO"); !strings.Contains(got, " db=3 ") || !strings.Contains(got, " resp=3") {
		t.Errorf("the engine knows %q", got)
	}
	waitUntil(t, func() error { return blocked(direct, 0) })
}

// TestSetEngine_WhileDown wants a client that waits for an engine which does not answer to get to the other one.
func TestSetEngine_WhileDown(t *testing.T) {
	t.Parallel()
	e := startEngine(t)
	gone, asked := e.engine(), make(chan struct{}, 1000)
	gone.Dial = func(ctx context.Context) (net.Conn, error) {
		asked <- struct{}{}
		<-ctx.Done()
		return nil, ctx.Err()
	}
	f := startFront(t, Options{Engine: gone, Patience: patience})
	c := f.talk(2)
	c.send("PING")
	<-asked
	f.SetEngine(e.engine())
	if got := c.read(); got != "+PONG\r\n" {
		t.Errorf("got %q", got)
	}
	if p := f.Progress(); p.Problem != "" {
		t.Errorf("there is a problem: %s", p.Problem)
	}
}

// blocked returns an error unless an engine has so many clients that wait.
func blocked(direct *redis.Client, want int) error {
	info, err := direct.Info(context.Background(), "clients").Result()
	if err == nil && !strings.Contains(info, fmt.Sprintf("blocked_clients:%d\r\n", want)) {
		err = errors.New(info)
	}
	return err
}
