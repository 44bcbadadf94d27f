package clients_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"testing"
	"time"
)

// What redis-py 8 sends over RESP3, which it speaks by default, and the shapes it takes
// apart. Debian has an older one, so the requests are written here as its source builds them.
func TestRedisPy8_RESP3(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	c := dialRESP3(t, s)
	for _, x := range []struct{ request, want string }{
		{"CLIENT MAINT_NOTIFICATIONS ON moving-endpoint-type internal-ip", "-"}, // may be refused with any error
		{"CLIENT SETNAME spider", "OK"},
		{"CLIENT GETNAME", `"spider"`},
		{"SELECT 2", "OK"},
		{"SET k v PX 100000 NX", "OK"},
		{"SET k v NX", "nil"},
		{"GET nothing", "nil"},
		{"EXPIRE k 100 NX", "0"},
		{"ZADD z 1 a 2.5 b 3 c 4 d", "4"},
		{"ZPOPMIN z 2", `[["a" 1.0] ["b" 2.5]]`},
		{"ZPOPMIN z", `["c" 3.0]`},
		{"ZPOPMAX z", `["d" 4.0]`},
		{"ZPOPMIN z 2", "[]"},
		{"ZADD z 1 a 2.5 b", "2"},
		{"ZRANGE z 0 -1 WITHSCORES", `[["a" 1.0] ["b" 2.5]]`},
		{"ZRANGE z 0 -1", `["a" "b"]`},
		{"ZREVRANGEBYSCORE z +inf -inf WITHSCORES LIMIT 0 10", `[["b" 2.5] ["a" 1.0]]`},
		{"ZRANDMEMBER z 1 WITHSCORES", `[["a" 1.0]]|[["b" 2.5]]`},
		{"ZSCORE z b", "2.5"},
		{"ZSCORE z nobody", "nil"},
		{"ZMSCORE z a nobody", "[1.0 nil]"},
		{"ZINCRBY z 1 a", "2.0"},
		{"ZADD z INCR 1 a", "3.0"},
		{"ZADD z +inf x", "1"},
		{"ZSCORE z x", "inf"},
		{"BZPOPMIN z 1", `["z" "b" 2.5]`},
		{"BZPOPMIN nothing 0.05", "nil"},
		{"BZMPOP 1 1 z MIN COUNT 2", `["z" [["a" 3.0] ["x" inf]]]`},
		{"HSET h f v", "1"},
		{"HGETALL h", `{"f" "v"}`},
		{"HGETALL nothing", "{}"},
		{"HRANDFIELD h 2 WITHVALUES", `[["f" "v"]]`},
		{"HRANDFIELD h", `"f"`},
		{"HINCRBYFLOAT h n 1.5", `"1.5"`},
		{"HSCAN h 0", `["0" ["f" "v" "n" "1.5"]]`},
		{"SADD s a", "1"},
		{"SMEMBERS s", `~["a"]`},
		{"SMEMBERS nothing", "~[]"},
		{"SINTER s s", `~["a"]`},
		{"SPOP s 2", `~["a"]`},
		{"SPOP s", "nil"},
		{"RPUSH l a b c", "3"},
		{"LPOP l 2", `["a" "b"]`},
		{"BLPOP l 1", `["l" "c"]`},
		{"BLPOP l 0.05", "nil"},
		{"BLMOVE l m LEFT RIGHT 0.05", "nil"},
		{"LPOP l", "nil"},
		{"LPOP l 2", "nil"},
		{"LMPOP 1 l LEFT", "nil"},
		{"MULTI", "OK"},
		{"ZADD z 1 a", "QUEUED"},
		{"ZRANGE z 0 0", "QUEUED"},
		{"ZREMRANGEBYRANK z 0 0", "QUEUED"},
		{"EXEC", `[1 ["a"] 1]`},
		{"WATCH k", "OK"},
		{"MULTI", "OK"},
		{"DISCARD", "OK"},
		{"CONFIG GET maxmemory-policy", `{"maxmemory-policy" "noeviction"}`},
		{"COMMAND COUNT", "#"},
	} {
		got := c.do(t, x.request)
		switch {
		case x.want == "-": // any answer
		case x.want == "#" && strings.Trim(got, "0123456789") == "":
		case x.want == got || strings.Contains("|"+x.want+"|", "|"+got+"|"):
		default:
			t.Errorf("%s: got %s, want %s", x.request, got, x.want)
		}
	}
}

// A connection of RESP3 that has subscribed goes on to serve commands; the news come as pushes.
func TestRedisPy8_Pushes(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	c, publisher := dialRESP3(t, s), dialRESP3(t, s)
	c.send(t, "SUBSCRIBE one two")
	c.expect(t, `>["subscribe" "one" 1]`, `>["subscribe" "two" 2]`)
	c.send(t, "PSUBSCRIBE o*")
	c.expect(t, `>["psubscribe" "o*" 3]`)
	c.send(t, "PING")
	c.expect(t, "PONG")
	c.send(t, "SET k v")
	c.expect(t, "OK")
	if got := publisher.do(t, "PUBLISH one hello"); got != "2" {
		t.Errorf("PUBLISH: got %s, want 2", got)
	}
	c.expect(t, `>["message" "one" "hello"]`, `>["pmessage" "o*" "one" "hello"]`)
	if got := publisher.do(t, "PUBSUB NUMSUB one nobody"); got != `["one" 1 "nobody" 0]` {
		t.Errorf("PUBSUB NUMSUB: got %s", got)
	}
	c.send(t, "UNSUBSCRIBE")
	_, _ = c.read(t), c.read(t) // in any order
	c.send(t, "PUNSUBSCRIBE o*")
	c.expect(t, `>["punsubscribe" "o*" 0]`)
}

// resp3 is a connection that shows answers as text.
type resp3 struct {
	net.Conn
	in *bufio.Reader
}

// dialRESP3 connects as redis-py 8 does.
func dialRESP3(t *testing.T, s server) *resp3 {
	t.Helper()
	conn, err := net.DialTimeout("tcp", s.addr(), 5*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	c := &resp3{conn, bufio.NewReader(conn)}
	hello := c.do(t, "HELLO 3 AUTH default "+password)
	for _, want := range []string{
		`"proto" 3`, `"server" "redis"`, `"version" "`, `"role" "master"`, `"mode" "standalone"`,
	} {
		if !strings.Contains(hello, want) {
			t.Fatalf("HELLO: got %s, want %s in it", hello, want)
		}
	}
	for _, info := range []string{"LIB-NAME redis-py", "LIB-VER 8.1.0"} {
		// 7.0 has no SETINFO
		if got := c.do(t, "CLIENT SETINFO "+info); got != "OK" && !strings.HasPrefix(got, "-ERR ") {
			t.Errorf("CLIENT SETINFO %s: got %s", info, got)
		}
	}
	return c
}

func (c *resp3) do(t *testing.T, request string) string {
	t.Helper()
	c.send(t, request)
	return c.read(t)
}

func (c *resp3) send(t *testing.T, request string) {
	t.Helper()
	words := strings.Fields(request)
	var b strings.Builder
	fmt.Fprintf(&b, "*%d\r\n", len(words))
	for _, w := range words {
		fmt.Fprintf(&b, "$%d\r\n%s\r\n", len(w), w)
	}
	if _, err := io.WriteString(c, b.String()); err != nil {
		t.Fatalf("%s: %v", request, err)
	}
}

func (c *resp3) expect(t *testing.T, want ...string) {
	t.Helper()
	for _, w := range want {
		if got := c.read(t); got != w {
			t.Errorf("got %s, want %s", got, w)
		}
	}
}

// read returns the next answer, or push, as text: strings in quotes, doubles with a point.
func (c *resp3) read(t *testing.T) string {
	t.Helper()
	if err := c.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	text, err := c.value()
	if err != nil {
		t.Fatalf("read an answer: %v", err)
	}
	return text
}

func (c *resp3) value() (string, error) {
	line, err := c.in.ReadString('\n')
	if err != nil {
		return "", err
	}
	kind, rest := line[0], strings.TrimSuffix(line[1:], "\r\n")
	switch kind {
	case '+', ':':
		return rest, nil
	case '-':
		return "-" + rest, nil
	case '_':
		return "nil", nil
	case ',':
		if strings.ContainsAny(rest, ".infa") {
			return rest, nil
		}
		return rest + ".0", nil
	}
	n, err := strconv.Atoi(rest)
	if err != nil || n < 0 {
		return "", fmt.Errorf("%q does not belong into RESP3", line)
	}
	switch kind {
	case '$', '=':
		b := make([]byte, n+2)
		_, err := io.ReadFull(c.in, b)
		return strconv.Quote(string(b[:n])), err
	case '*':
		return c.values(n, "[", "]")
	case '~':
		return c.values(n, "~[", "]")
	case '>':
		return c.values(n, ">[", "]")
	case '%':
		return c.values(2*n, "{", "}")
	}
	return "", fmt.Errorf("%q does not belong into RESP3", line)
}

func (c *resp3) values(n int, begin, end string) (string, error) {
	var all []string
	for range n {
		text, err := c.value()
		if err != nil {
			return "", err
		}
		all = append(all, text)
	}
	return begin + strings.Join(all, " ") + end, nil
}
