package front

import (
	"fmt"
	"strings"
	"testing"
)

func TestFront_PassesOn(t *testing.T) {
	t.Parallel()
	_, f := start(t)
	c := f.talk(2)
	c.want("+OK\r\n", "SET", "k", "v")
	c.write("get k\r\n\r\n*0\r\n*-1\r\n GET \"k\"\r\n*2\r\n$3\r\nget\r\n$1\r\nk\r\n" +
		"*2\n$3\nget\r\n$1\r\nk\r\n*02\r\n$3\r\nGET\r\n$1\r\nk\r\n")
	if got := c.read() + c.read() + c.read() + c.read() + c.read(); got != strings.Repeat(bulk("v"), 5) {
		t.Errorf("got %q", got)
	}
	large := strings.Repeat("x", 3<<20)
	c.want("+OK\r\n", "SET", "k", large)
	c.want(bulk(large), "GET", "k")
	c.want("-ERR unknown command '"+strings.Repeat("x", 128)+"', with args beginning with: 'y' \r\n",
		strings.Repeat("x", 300), "y")
	c.want("-ERR unknown command '', with args beginning with: 'y' \r\n", "", "y")
	c.want(bulk(large), "GET", "k")
}

func TestFront_WhatIsNotPassedOn(t *testing.T) {
	t.Parallel()
	e, f := start(t)
	c := f.talk(2)
	for _, line := range []string{
		"SHUTDOWN NOSAVE", "shutdown", "DEBUG SLEEP 0", "REPLICAOF a 1", "SLAVEOF NO ONE", "FAILOVER", "SAVE", "BGSAVE",
		"BGREWRITEAOF", "SYNC", "PSYNC ? -1", "REPLCONF ACK 0", "MIGRATE h 1 k 0 1", "MODULE LOAD /x",
		"module loadex /x",
		"ACL SETUSER x", "ACL SAVE", "ACL GETUSER default", "CONFIG SET dir /", "config rewrite", "CONFIG RESETSTAT",
		"CONFIG GET *", "CONFIG GET requirepass", "CONFIG GET port masterauth", "CLIENT KILL ID 1", "client pause 10",
		"CLIENT NO-EVICT ON", "CLIENT UNPAUSE", "CLUSTER RESET", "SCRIPT DEBUG YES", "CONFIG",
	} {
		want := "-NOPERM " + strings.ToUpper(strings.Fields(line)[0])
		if got := c.do(strings.Fields(line)...); !strings.HasPrefix(got, want) || strings.Count(got, "\n") != 1 {
			t.Errorf("%s: got %q", line, got)
		}
		c.write(line + "\r\n") // by hand
		if got := c.read(); !strings.HasPrefix(got, "-NOPERM ") {
			t.Errorf("%s by hand: got %q", line, got)
		}
		c.want("+OK\r\n", "MULTI")
		if got := c.do(strings.Fields(line)...); !strings.HasPrefix(got, "-NOPERM ") {
			t.Errorf("%s in a transaction: got %q", line, got)
		}
		c.want("+QUEUED\r\n", "SET", "k", "v")
		c.want("-EXECABORT Transaction discarded because of previous errors.\r\n", "EXEC")
	}
	c.want("$-1\r\n", "GET", "k")
	c.want("*2\r\n"+bulk("port")+bulk("0"), "CONFIG", "GET", "port")
	if got, err := e.direct().ConfigGet(t.Context(), "dir").Result(); err != nil || got["dir"] != e.dir {
		t.Errorf("the engine's directory is %v, %v", got, err)
	}
}

// TestFront_Unrestricted is what the engine's own tests want.
func TestFront_Unrestricted(t *testing.T) {
	t.Parallel()
	e := startEngine(t)
	f := startFront(t, Options{Engine: e.engine(), Unrestricted: true})
	c := f.talk(2)
	c.want("+OK\r\n", "CONFIG", "SET", "maxmemory-samples", "7")
	c.want("+OK\r\n", "CLIENT", "PAUSE", "1")
	c.want(":0\r\n", "CLIENT", "KILL", "ID", "99999")
	c.send("SYNC") // the snapshot has no end of a line, and commands follow it
	stream, err := c.in.ReadString('$')
	if err != nil || strings.Trim(stream, "\n") != "$" {
		t.Fatalf("got %q, %v", stream, err)
	}
	e.direct().Set(t.Context(), "replicated", "yes", 0)
	waitUntil(t, func() error {
		if line, err := c.in.ReadString('\n'); err != nil || line != "replicated\r\n" {
			return fmt.Errorf("got %q, %v", line, err)
		}
		return nil
	})
}

func TestFront_BrokenProtocol(t *testing.T) {
	t.Parallel()
	_, f := start(t)
	for send, want := range map[string]string{
		"*2\r\n$3\r\nGET\r\n:1\r\n":              "expected '$', got ':'",
		"*2\r\n$3\r\nGET\r\n$-1\r\n":             "invalid bulk length",
		"*2\r\n$3\r\nGET\r\n$536870913\r\n":      "invalid bulk length",
		"*2\r\n$3\r\nGET\r\n$1\n1\r\n":           "invalid bulk length",
		"*2\r\n$3\r\nGETX\r\n$1\n1\r\n":          "expected '$', got ' '",
		"*2147483648\r\n":                        "invalid multibulk length",
		"*x\r\n":                                 "invalid multibulk length",
		"*1\r\n+PING\r\n":                        "expected '$', got '+'",
		"GET \"k\r\n":                            "unbalanced quotes in request",
		"*" + strings.Repeat("1", 70<<10):        "too big mbulk count string",
		strings.Repeat("x", 70<<10):              "too big inline request",
		"*3\r\n$4\r\nAUTH\r\n$3\r\nabc\r\n:\r\n": "expected '$', got ':'",
	} {
		c := f.talk(2)
		go c.Write([]byte(send))
		got, _ := c.tryRead()
		if want = "-ERR Protocol error: " + want + "\r\n"; got != want {
			t.Errorf("%.40q: got %q, want %q", send, got, want)
		}
		c.wantEnd("")
	}
	for _, send := range []string{"*11\r\n", "*2\r\n$4\r\nAUTH\r\n$16385\r\n"} {
		c := f.stranger()
		c.write(send)
		if got := c.read(); !strings.HasPrefix(got, "-ERR Protocol error: unauthenticated ") {
			t.Errorf("%q of a stranger: got %q", send, got)
		}
		c.wantEnd("")
	}
	f.talk(2).want("+PONG\r\n", "PING")
}

func TestFront_LargeNumbersOfArguments(t *testing.T) {
	t.Parallel()
	_, f := start(t)
	args := []string{"RPUSH", "l"}
	for i := range 100_000 {
		args = append(args, fmt.Sprint(i))
	}
	c := f.talk(3)
	c.want(":100000\r\n", args...)
	var want strings.Builder
	want.WriteString("*100000\r\n")
	for _, arg := range args[2:] {
		want.WriteString(bulk(arg))
	}
	c.want(want.String(), "LRANGE", "l", "0", "-1")
}
