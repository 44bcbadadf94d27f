package queue

import (
	"bytes"
	"fmt"
	"hash/crc32"
	"io"
	"strings"
	"testing"
	"time"
)

// TestCompare_Bytes sends what no client library would, and reads until the server
// hangs up: broken requests, before the login and after, and pipelines with QUIT.
func TestCompare_Bytes(t *testing.T) {
	t.Parallel()
	servers := startCompared(t)
	for name, payload := range map[string]string{
		"quit amid a pipeline": "SET q 1\r\nQUIT\r\nSET q 2\r\n",
		"inline":               "SET i 'a b'\r\nGET i\r\nSET i \"\\x41\\n\"\r\nGET i\r\n\r\nPING\nQUIT\r\n",
		"inline unbalanced":    "SET i 'a\r\nQUIT\r\n",
		"inline after quote":   "SET i 'a'b\r\nQUIT\r\n",
		"empty requests":       "*0\r\n*-1\r\n\r\n*1\r\n$4\r\nPING\r\nQUIT\r\n",
		"no bulk":              "*1\r\n:5\r\n",
		"no length":            "*1\r\n$x\r\n",
		"negative length":      "*1\r\n$-1\r\n",
		"length too large":     "*1\r\n$999999999999\r\n",
		"length with sign":     "*1\r\n$+4\r\nPING\r\nQUIT\r\n",
		"no count":             "*x\r\n",
		"count too large":      "*2147483648\r\n",
		"long inline":          strings.Repeat("x", 65_540),
		"long count":           "*" + strings.Repeat("1", 65_540),
		"empty name":           "*1\r\n$0\r\n\r\nQUIT\r\n",
		"unknown":              "nonsense a 'b c'\r\nQUIT\r\n",
		"unknown with long words": "nonsense " + strings.Repeat("x", 200) + " b\r\n" + strings.Repeat("y",
			200) + "\r\nQUIT\r\n",
		"line breaks in an error": "*2\r\n$3\r\na\r\n\r\n$3\r\nb\nc\r\nQUIT\r\n",
		"skip one":                "CLIENT REPLY SKIP\r\nSET r 1\r\nGET r\r\nQUIT\r\n",
		"reply on again":          "CLIENT REPLY OFF\r\nPING\r\nCLIENT REPLY ON\r\nPING\r\nQUIT\r\n",
		"quit in a transaction":   "MULTI\r\nSET t 1\r\nQUIT\r\n",
		"error, then quit":        "MULTI\r\nGET\r\nEXEC\r\nQUIT\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			compareBytes(t, servers, true, payload)
			compareBytes(t, servers, false, payload)
		})
	}
}

// TestCompare_Strangers sends what needs a login without one.
func TestCompare_Strangers(t *testing.T) {
	t.Parallel()
	servers := startCompared(t)
	for name, payload := range map[string]string{
		"commands": "PING\r\nGET s\r\nEXEC\r\nMULTI\r\nSUBSCRIBE c\r\nnonsense\r\nGET\r\nCLIENT ID\r\nHELLO " +
			"3\r\nQUIT\r\n",
		"reset":          "RESET\r\nPING\r\nQUIT\r\n",
		"hello":          "HELLO\r\nHELLO 7\r\nHELLO x\r\nHELLO 3 SETNAME x\r\nQUIT\r\n",
		"many arguments": "*11\r\n",
		"long argument":  "*2\r\n$4\r\nAUTH\r\n$16385\r\n",
	} {
		t.Run(name, func(t *testing.T) { compareBytes(t, servers, false, payload) })
	}
}

func compareBytes(t *testing.T, servers comparedServers, login bool, payload string) {
	t.Helper()
	var got [2]string
	for i, server := range []redisServer{servers.redis, servers.subject} {
		dial := dialStranger
		if login {
			dial = func(server redisServer) (*rawClient, error) { return dialServer(server, 2) }
		}
		c, err := dial(server)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		c.SetDeadline(time.Now().Add(rawTimeout))
		c.Write([]byte(payload)) // may fail once the server has read enough; what counts is what it said
		if got[i], err = c.rest(); err != nil {
			t.Fatalf("server %d (login %v): %v after %q", i, login, err, got[i])
		}
	}
	if got[0] != got[1] {
		t.Errorf("login %v:\nredis:   %.600q\nsubject: %.600q", login, got[0], got[1])
	}
}

// TestCompare_HalfClosed hangs up after the last request without reading: all of
// what was sent has to be done.
func TestCompare_HalfClosed(t *testing.T) {
	t.Parallel()
	servers := startCompared(t)
	const items = 20_000
	for _, server := range []redisServer{servers.redis, servers.subject} {
		c, err := dialServer(server, 2)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if _, err := c.Write(pipeline(items, "RPUSH", "half", "x")); err != nil {
			t.Fatal(err)
		}
		if err := c.CloseWrite(); err != nil {
			t.Fatal(err)
		}
		control, err := dialServer(server, 2)
		if err != nil {
			t.Fatal(err)
		}
		defer control.Close()
		await(t, func() error {
			reply, err := control.do("LLEN", "half")
			if err == nil && reply.text != fmt.Sprint(items) {
				err = fmt.Errorf("%s of %d items at %s", reply.text, items, server.addr)
			}
			return err
		})
	}
}

// TestCompare_LongPipelines sends everything before it reads the first reply.
func TestCompare_LongPipelines(t *testing.T) {
	if testing.Short() {
		t.Skip("takes some hundred MB")
	}
	t.Parallel()
	servers := startCompared(t)
	for name, payload := range map[string][]byte{
		"150,000 in MULTI": concat(respRequest("MULTI"), pipeline(150_000, "RPUSH", "multi", "x"),
			respRequest("EXEC")),
		"a million": pipeline(1_000_000/slowdown, "INCR", "n"),
		"large replies": concat(respRequest("SET", "big", strings.Repeat("x", 100_000)),
			pipeline(300, "GET", "big")),
		"errors": pipeline(100_000, "LPUSH", "n"),
		"many arguments": respRequest(
			append([]string{"RPUSH", "many"}, strings.Fields(strings.Repeat("x ", 200_000))...)...),
		"an argument of 32 MB": respRequest("SET", "large", strings.Repeat("y", 32<<20)),
	} {
		t.Run(name, func(t *testing.T) {
			payload := concat(payload, respRequest("DBSIZE"), respRequest("QUIT"))
			redis, subject := streamed(t, servers.redis, payload), streamed(t, servers.subject, payload)
			if redis != subject {
				t.Errorf("redis: %+v, subject: %+v", redis, subject)
			}
		})
	}
}

// stream holds what a server answered, in short.
type stream struct {
	size int
	sum  uint32
	end  string
}

func streamed(t *testing.T, server redisServer, payload []byte) stream {
	t.Helper()
	c, err := dialServer(server, 2)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(2 * time.Minute))
	if _, err := c.Write(payload); err != nil {
		t.Fatalf("send to %s: %v", server.addr, err)
	}
	data, err := io.ReadAll(c.in)
	if err != nil {
		t.Fatalf("read from %s after %d bytes: %v", server.addr, len(data), err)
	}
	return stream{size: len(data), sum: crc32.ChecksumIEEE(data), end: string(data[max(0, len(data)-60):])}
}

func pipeline(n int, args ...string) []byte { return bytes.Repeat(respRequest(args...), n) }

func concat(parts ...[]byte) []byte { return bytes.Join(parts, nil) }

// TestCompare_RefusedByName asks for what Redis has and the queue leaves out: it
// has to say so, which a command that nobody knows does not.
func TestCompare_RefusedByName(t *testing.T) {
	t.Parallel()
	servers := startCompared(t)
	c, err := dialServer(servers.subject, 3)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if info, err := c.do("EVAL", "return 1", "0"); err != nil || info.raw == ":1\r\n" {
		t.Skipf("the server is Redis, or does not answer: %v", err)
	}
	for _, name := range strings.Fields(`EVAL EVALSHA SCRIPT FUNCTION FCALL XADD XREAD XREADGROUP GEOADD GEOSEARCH
		PFADD PFCOUNT OBJECT MEMORY DEBUG MONITOR SLOWLOG LATENCY ACL CLUSTER REPLICAOF SAVE BGSAVE SHUTDOWN MODULE
		SORT DUMP RESTORE MIGRATE MOVE SWAPDB SSUBSCRIBE SPUBLISH BITFIELD LCS`) {
		reply, err := c.do(name, "a", "b", "c")
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if !refusedByName(name, reply) {
			t.Errorf("%s: %q", name, reply.raw)
		}
	}
}
