package front

import (
	"errors"
	"fmt"
	"net"
	"regexp"
	"strings"
	"testing"
	"time"
)

// step is something that one of two clients sends, and how many replies are awaited then.
type step struct {
	who     int // 0 or 1
	args    []string
	replies int
	of      int // whose replies are read
}

// says is a command of the first client with one reply.
func says(line string) step { return step{args: strings.Fields(line), replies: 1} }

func other(line string) step {
	s := says(line)
	s.who, s.of = 1, 1
	return s
}

// sent awaits nothing yet, or what another has brought about.
func sent(line string, replies, of int) step {
	return step{args: strings.Fields(line), replies: replies, of: of}
}

// conversations go through the front as they go to the engine.
var conversations = map[string][]step{
	"keys": {
		says("SET k v EX 100"), says("TYPE k"), says("SCAN 0 COUNT 10"), says("OBJECT ENCODING k"),
		says("GETRANGE k 0 0"), says("LPUSH k x"), says("NOSUCH command"), says("GET"), says("DUMP none"),
		says("COPY k l"), says("HSET h a 1 b 2"), says("HGETALL h"), says("ZADD z 1.5 m"),
		says("ZRANGE z 0 -1 WITHSCORES"), says("SMEMBERS none"), says("GETDEL k"),
		says("CLIENT GETNAME"), says("CLIENT SETNAME me"), says("CLIENT GETNAME"), says("CONFIG GET maxmemory"),
		says("COMMAND COUNT"), says("WAIT 0 10"), says("ACL WHOAMI"), says("PING"), says("ECHO x"),
	},
	"databases": {
		says("SELECT 3"), says("SET k v"), says("SELECT 0"), says("GET k"), says("SELECT 99"), says("SELECT x"),
		says("SELECT"), says("MULTI"), says("SELECT 3"), says("GET k"), says("EXEC"), says("GET k"), says("MOVE k 0"),
	},
	"streams": {
		says("XADD s 1-1 a 1"), says("XADD s 2-1 b 2 c 3"), says("XRANGE s - +"), says("XGROUP CREATE s g 0"),
		says("XREADGROUP GROUP g me COUNT 1 STREAMS s >"), says("XPENDING s g"), says("XACK s g 1-1"),
		says("XREADGROUP GROUP g me COUNT 9 STREAMS s >"), says("XREAD BLOCK 10 STREAMS s $"), says("XLEN s"),
		sent("XREAD BLOCK 0 STREAMS s 2-1", 0, 0), {who: 1, args: []string{"XADD", "s", "3-1", "d", "4"}, replies: 1},
	},
	"scripts": {
		{args: []string{"EVAL", "return {1,'x',{ok='fine'},redis.call('INCR',KEYS[1]),false}", "1", "n"}, replies: 1},
		{args: []string{"SCRIPT", "LOAD", "return redis.call('GET', KEYS[1])"}, replies: 1},
		says("EVALSHA d3c21d0c2b9ca22f82737626a27bcaf5d288f99f 1 n"), says("SCRIPT EXISTS aa"), says("EVALSHA aa 0"),
		{args: []string{"EVAL", "redis.setresp(3) return redis.call('HGETALL', KEYS[1])", "1", "none"}, replies: 1},
		{args: []string{"EVAL", "return redis.error_reply('MY own')", "0"}, replies: 1},
		{
			args:    []string{"FUNCTION", "LOAD", "#!lua name=l\nredis.register_function('f', type)"},
			replies: 1,
		},
		says("FCALL f 0 x"),
	},
	"transactions": {
		says("MULTI"), says("SET a 1"), says("INCR a"), says("EXEC"), says("MULTI"), says("NOSUCH"), says("EXEC"),
		says("WATCH a"), other("SET a 5"), says("MULTI"), says("GET a"), says("EXEC"), says("WATCH a"), says("UNWATCH"),
		other("SET a 6"), says("MULTI"), says("GET a"), says("EXEC"), says("MULTI"), says("MULTI"), says("DISCARD"),
		says("EXEC"), says("DISCARD"), says("MULTI"), says("LPUSH a x"), says("GET a"), says("EXEC"),
	},
	"blocking": {
		says("BLPOP none 0.01"), sent("BLPOP l 0", 0, 0), {who: 1, args: []string{"RPUSH", "l", "x", "y"}, replies: 1},
		says("LRANGE l 0 -1"), says("BRPOP l 1"), says("BZPOPMIN z 0.01"), says("BLMOVE l m LEFT RIGHT 0.01"),
		says("BLMPOP 0.01 1 l LEFT COUNT 2"),
		sent("BLPOP l 0", 0, 0), sent("PING", 0, 0), {who: 1, args: []string{"RPUSH", "l", "z"}, replies: 2},
	},
	"subscriptions": {
		sent("SUBSCRIBE a b", 2, 0), sent("PSUBSCRIBE p*", 1, 0),
		{who: 1, args: []string{"PUBLISH", "a", "hello"}, replies: 1},
		{who: 1, args: []string{"PUBLISH", "px", "there"}, replies: 1}, says("PING"), sent("UNSUBSCRIBE a", 1, 0),
		sent("UNSUBSCRIBE b", 1, 0), sent("PUNSUBSCRIBE", 1, 0), says("GET k"),
	},
	"replies off": {
		sent("CLIENT REPLY OFF", 0, 0), sent("SET a 1", 0, 0), says("CLIENT REPLY ON"), sent("CLIENT REPLY SKIP", 0, 0),
		sent("SET a 2", 0, 0), says("GET a"),
	},
	"replies off, of the front's own too": {
		sent("SUBSCRIBE a", 1, 0), sent("UNSUBSCRIBE", 1, 0), sent("CLIENT REPLY OFF", 0, 0), sent("SET a 1", 0, 0),
		sent("SAVE x", 0, 0), sent("CLIENT REPLY SKIP", 0, 0), sent("MULTI", 0, 0), sent("SET a 2", 0, 0),
		sent("EXEC", 0, 0), says("CLIENT REPLY ON"), says("GET a"), sent("CLIENT REPLY SKIP", 0, 0),
		sent("SAVE x", 0, 0), says("PING"), sent("CLIENT REPLY SKIP", 0, 0), sent("CLIENT REPLY SKIP", 0, 0),
		sent("SELECT 3", 0, 0), says("GET a"), sent("CLIENT REPLY SKIP", 0, 0), says("CLIENT REPLY ON"), says("GET a"),
		says("CLIENT REPLY other"), says("CLIENT REPLY"), sent("CLIENT REPLY OFF", 0, 0), sent("SELECT 0", 0, 0),
		sent("MULTI", 0, 0), sent("SET a", 0, 0), sent("EXEC", 0, 0), says("CLIENT REPLY ON"), says("GET a"),
		sent("CLIENT REPLY OFF", 0, 0), says("RESET"), says("GET a"),
	},
	"transactions of a subscriber": {
		sent("SUBSCRIBE a", 1, 0), {who: 1, args: []string{"PUBLISH", "a", "hello"}, replies: 1}, says("SELECT 2"),
		says("CLIENT SETNAME me"), says("MULTI"), says("SET a"), says("EXEC"), says("MULTI"), says("GET a"),
		says("EXEC"), says("CLIENT GETNAME"),
	},
}

// TestFront_AnswersAsTheEngine holds conversations with an engine and through a front, in both versions of the
// protocol, and wants the same bytes.
func TestFront_AnswersAsTheEngine(t *testing.T) {
	t.Parallel()
	for name, steps := range conversations {
		for _, proto := range []int{2, 3} {
			t.Run(fmt.Sprint(name, " ", proto), func(t *testing.T) {
				t.Parallel()
				alone, behind := startEngine(t), startEngine(t)
				f := startFront(t, Options{Engine: behind.engine()})
				want := converse(t, alone, steps, alone.talk(proto), alone.talk(proto))
				got := converse(t, behind, steps, f.talk(proto), f.talk(proto))
				for i := range want {
					if got[i] != want[i] {
						t.Errorf("%q: got %q, want %q", steps[i].args, got[i], want[i])
					}
				}
			})
		}
	}
}

func converse(t *testing.T, e *engineProcess, steps []step, clients ...*talker) (all []string) {
	t.Helper()
	for _, s := range steps {
		clients[s.who].send(s.args...)
		if s.replies == 0 {
			awaitArrival(t, e, s.args)
		}
		reply := ""
		if s.who == 1 && s.of == 0 {
			reply = clients[1].read()
		}
		for range s.replies {
			reply += clients[s.of].read()
		}
		all = append(all, reply)
	}
	return all
}

// awaitArrival waits until the engine waits for an item, where it is asked to: what follows is not to overtake that.
func awaitArrival(t *testing.T, e *engineProcess, args []string) {
	t.Helper()
	if args[0] != "BLPOP" && args[0] != "XREAD" {
		return
	}
	c := e.direct()
	waitUntil(t, func() error {
		if info := c.Info(t.Context(), "clients").Val(); strings.Contains(info, "blocked_clients:0\r\n") {
			return errors.New("nobody waits yet")
		}
		return nil
	})
}

// talk logs in at the engine itself.
func (e *engineProcess) talk(proto int) *talker {
	e.t.Helper()
	conn, err := e.dial(e.t.Context())
	if err != nil {
		e.t.Fatal(err)
	}
	c := newTalker(e.t, conn)
	if proto == 3 {
		if got := c.do("HELLO", "3", "AUTH", "default", enginePassword); !strings.HasPrefix(got, "%") {
			e.t.Fatalf("HELLO: %q", got)
		}
		return c
	}
	c.want("+OK\r\n", "AUTH", enginePassword)
	return c
}

func TestFront_Monitor(t *testing.T) {
	t.Parallel()
	_, f := start(t)
	c := f.talk(2)
	c.want("+OK\r\n", "MONITOR")
	f.talk(2).want("+OK\r\n", "SET", "watched", "1")
	waitUntil(t, func() error {
		if line := c.read(); !strings.Contains(line, `"SET" "watched" "1"`) {
			return fmt.Errorf("got %q", line)
		}
		return nil
	})
}

// TestFront_PushesKeepApart has the engine tell of changed keys in the midst of the client's own replies and the
// front's.
func TestFront_PushesKeepApart(t *testing.T) {
	t.Parallel()
	_, f := start(t)
	c, writer := f.talk(3), f.talk(2)
	c.want("+OK\r\n", "CLIENT", "TRACKING", "ON", "BCAST")
	const n = 200
	go func() {
		for i := range n {
			_, _ = writer.Write(appendRequest(nil, "SET", fmt.Sprint("key:", i), "x"))
		}
	}()
	pushes := 0
	read := func() string {
		for {
			reply := c.read()
			if !strings.HasPrefix(reply, ">2\r\n$10\r\ninvalidate") {
				return reply
			}
			pushes += strings.Count(reply, "key:")
		}
	}
	for range n {
		c.send("PING")
		c.send("SHUTDOWN")
		c.send("HELLO")
		if got := read(); got != "+PONG\r\n" {
			t.Fatalf("got %q", got)
		}
		if got := read(); !strings.HasPrefix(got, "-NOPERM SHUTDOWN") {
			t.Fatalf("got %q", got)
		}
		if got := read(); !strings.HasPrefix(got, "%7\r\n") {
			t.Fatalf("got %q", got)
		}
	}
	for pushes < n {
		got := c.read()
		if !strings.HasPrefix(got, ">2\r\n$10\r\ninvalidate") {
			t.Fatalf("got %q", got)
		}
		pushes += strings.Count(got, "key:")
	}
}

func TestFront_Hello(t *testing.T) {
	t.Parallel()
	_, f := start(t)
	c := f.stranger()
	for send, want := range map[string]string{
		"HELLO":           "-NOAUTH HELLO must be called .*",
		"HELLO 4":         "-NOPROTO .*",
		"HELLO x":         "-ERR Protocol version is not an integer or out of range",
		"HELLO 3 NOSUCH":  "-ERR Syntax error in HELLO option 'NOSUCH'",
		"GET k":           "-NOAUTH Authentication required.",
		"HELLO 3 SETNAME": "-ERR Syntax error .*",
	} {
		if got := c.do(strings.Fields(send)...); !regexp.MustCompile("^" + want + "\r\n$").MatchString(got) {
			t.Errorf("%s: got %q", send, got)
		}
	}
	got := c.do("HELLO", "3", "AUTH", "default", clusterPassword, "SETNAME", "me")
	if !strings.Contains(got, ":3\r\n") {
		t.Errorf("got %q", got)
	}
	c.want(bulk("me"), "CLIENT", "GETNAME")
	c.want("_\r\n", "GET", "none")
	if got := c.do("HELLO", "2"); !strings.Contains(got, ":2\r\n") {
		t.Errorf("got %q", got)
	}
	c.want("$-1\r\n", "GET", "none")
	c.want("+OK\r\n", "AUTH", clusterPassword)
	c.want("-WRONGPASS invalid username-password pair or user is disabled.\r\n", "AUTH", enginePassword)
	c.want("+OK\r\n", "MULTI")
	c.want("-ERR Command not allowed inside a transaction\r\n", "HELLO", "3")
	c.want("-EXECABORT Transaction discarded because of previous errors.\r\n", "EXEC")
	c.want("$-1\r\n", "GET", "none")
	c.want("+RESET\r\n", "RESET")
	c.want("-NOAUTH Authentication required.\r\n", "GET", "none")
	c.want("+OK\r\n", "AUTH", "default", clusterPassword)
	c.want("$-1\r\n", "CLIENT", "GETNAME")
	c.send("QUIT")
	c.wantEnd("+OK\r\n")
}

// TestFront_AnswersInOrder sends all at once: what the front answers itself comes at its place.
func TestFront_AnswersInOrder(t *testing.T) {
	t.Parallel()
	_, f := start(t)
	c := f.talk(2)
	var all, want string
	for i := range 500 {
		all += "*3\r\n$3\r\nSET\r\n$1\r\nk\r\n" + bulk(fmt.Sprint(i)) + "GET k\r\nSELECT 1\r\nSELECT 0\r\n"
		all += "*2\r\n$4\r\nAUTH\r\n" + bulk(clusterPassword) + "*1\r\n$4\r\nSAVE\r\n"
		want += "+OK\r\n" + bulk(fmt.Sprint(i)) + "+OK\r\n+OK\r\n+OK\r\n" +
			"-NOPERM SAVE is not passed on to the queue's engine: have it done where the engine runs\r\n"
	}
	go func() { _, _ = c.Conn.Write([]byte(all + "QUIT\r\n")) }()
	c.wantEnd(want + "+OK\r\n")
}

// TestFront_WhatWasSentBeforeTheEndIsDone has a client that closes its side at once, as nc does.
func TestFront_WhatWasSentBeforeTheEndIsDone(t *testing.T) {
	t.Parallel()
	_, f := start(t)
	for range 50 {
		c := f.talk(2)
		c.write("PING\r\nSELECT 1\r\nPING\r\nSHUTDOWN\r\n*1\r\n$4\r\nPING\r\n")
		if err := c.Conn.(*net.TCPConn).CloseWrite(); err != nil {
			t.Fatal(err)
		}
		c.wantEnd("+PONG\r\n+OK\r\n+PONG\r\n" +
			"-NOPERM SHUTDOWN is not passed on to the queue's engine: have it done where the engine runs\r\n+PONG\r\n")
	}
}

// TestFront_EndOfABlockedClient wants no item to go to a client that is gone, also where more is sent behind its wait.
func TestFront_EndOfABlockedClient(t *testing.T) {
	t.Parallel()
	e, f := start(t)
	direct := e.direct()
	for _, behind := range []string{"", "PING\r\n", "SELECT 1\r\n", "AUTH x\r\n", "SHUTDOWN\r\n"} {
		c := f.talk(2)
		c.write("*3\r\n$5\r\nBLPOP\r\n$1\r\nl\r\n$1\r\n0\r\n" + behind)
		blocked := func(want string) func() error {
			return func() error {
				info := direct.Info(t.Context(), "clients").Val()
				if !strings.Contains(info, "blocked_clients:"+want+"\r\n") {
					return fmt.Errorf("with %q behind: want %s blocked", behind, want)
				}
				return nil
			}
		}
		waitUntil(t, blocked("1"))
		c.Close()
		waitUntil(t, blocked("0"))
	}
}

// TestFront_SlowReader asks for more than all buffers between take before it reads: the front keeps none of it.
func TestFront_SlowReader(t *testing.T) {
	t.Parallel()
	e, f := start(t)
	if err := e.direct().Set(t.Context(), "k", strings.Repeat("x", 1<<20), 0).Err(); err != nil {
		t.Fatal(err)
	}
	c := f.talk(2)
	const n = 50 // more than sockets hold
	c.write(strings.Repeat("*2\r\n$3\r\nGET\r\n$1\r\nk\r\n", n))
	quick := f.client()
	for range 20 {
		if err := quick.Set(t.Context(), "other", "x", time.Minute).Err(); err != nil {
			t.Fatal(err)
		}
	}
	if held := f.memory.Held(); held != 0 {
		t.Errorf("the front keeps %d bytes", held)
	}
	for range n {
		if got := len(c.read()); got != 1<<20+len("$1048576\r\n\r\n") {
			t.Fatalf("a reply has %d bytes", got)
		}
	}
}
