package lease_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/crawlbox/crawlbox/appliance/base/testenv"
	"github.com/crawlbox/crawlbox/embedded/queue"
	"github.com/crawlbox/crawlbox/embedded/queue/engine"
	"github.com/crawlbox/crawlbox/embedded/queue/journal"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const password = "open sesame"

// conn is a connection to one database of an engine. Replies are as they came.
type conn interface {
	do(args ...string) string
	exec(commands [][]string) []string // as one transaction; the replies in EXEC's
}

// server is an engine with two databases: 0 with leases, 1 without.
type server interface {
	open(t testing.TB, db, proto int) conn
	restart(t testing.TB) // as after a crash, without a loss; connections stay good
}

// inProcess is the embedded engine without its server.
type inProcess struct {
	engine  *engine.Engine
	effects []journal.Command
}

func newInProcess() *inProcess { return &inProcess{engine: engine.New(0)} }

type inProcessConn struct {
	of *inProcess
	db int
	c  engine.Context
}

func (s *inProcess) open(_ testing.TB, db, proto int) conn {
	c := &inProcessConn{of: s, db: db}
	c.c.Out.V3 = proto == 3
	return c
}

// restart makes a new engine by what was noted for the journal.
func (s *inProcess) restart(t testing.TB) {
	t.Helper()
	fresh := engine.New(0)
	if err := fresh.Replay(s.effects); err != nil {
		t.Fatalf("replay: %v", err)
	}
	if was, is := s.engine.Used(), fresh.Used(); was != is {
		t.Fatalf("the engine takes %d bytes after its replay, %d before", is, was)
	}
	s.engine = fresh
}

func (c *inProcessConn) do(args ...string) string {
	args = slices.Clone(args)
	args[0] = strings.ToUpper(args[0])
	cmd := engine.Lookup(args[0])
	if cmd == nil || !cmd.ArityOK(len(args)) {
		return "-ERR no such command\r\n"
	}
	c.c.Out.Buf = c.c.Out.Buf[:0]
	c.of.engine.Run(&c.c, cmd, c.db, args)
	effects, _ := c.of.engine.Effects()
	for _, e := range effects {
		c.of.effects = append(c.of.effects, journal.Command{DB: e.DB, Args: slices.Clone(e.Args)})
	}
	return string(c.c.Out.Buf)
}

func (c *inProcessConn) exec(commands [][]string) (replies []string) {
	for _, args := range commands {
		replies = append(replies, c.do(args...))
	}
	return replies
}

// overTCP is an engine of its own, or the embedded one with its server.
type overTCP struct {
	addr     string
	password string
}

func (s *overTCP) restart(testing.TB) {}

type tcpConn struct {
	testing.TB
	net.Conn
	in *bufio.Reader
}

func (s *overTCP) open(t testing.TB, db, proto int) conn {
	t.Helper()
	c, err := s.dial(t, db, proto)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func (s *overTCP) dial(t testing.TB, db, proto int) (*tcpConn, error) {
	client, err := net.Dial("tcp", s.addr)
	if err != nil {
		return nil, err
	}
	t.Cleanup(func() { client.Close() })
	c := &tcpConn{TB: t, Conn: client, in: bufio.NewReaderSize(client, 64<<10)}
	for _, args := range [][]string{
		{"HELLO", strconv.Itoa(proto), "AUTH", "default", s.password}, {"SELECT", strconv.Itoa(db)},
	} {
		reply, err := c.try(args...)
		if err == nil && reply[0] == '-' {
			err = errors.New(reply)
		}
		if err != nil {
			return nil, err
		}
	}
	return c, nil
}

func (c *tcpConn) try(args ...string) (string, error) {
	c.SetDeadline(time.Now().Add(20 * time.Second))
	if _, err := c.Write(request(args)); err != nil {
		return "", err
	}
	return readReply(c.in)
}

func (c *tcpConn) do(args ...string) string {
	c.Helper()
	reply, err := c.try(args...)
	if err != nil {
		c.Fatalf("%.200q: %v", args, err)
	}
	return reply
}

func (c *tcpConn) exec(commands [][]string) []string {
	c.Helper()
	c.do("MULTI")
	for _, args := range commands {
		if reply := c.do(args...); reply != "+QUEUED\r\n" {
			c.Fatalf("queue %.200q: %q", args, reply)
		}
	}
	return elements(c.do("EXEC"))
}

func request(args []string) []byte { return appendRequest(nil, args) }

func appendRequest(out []byte, args []string) []byte {
	out = append(strconv.AppendInt(append(out, '*'), int64(len(args)), 10), "\r\n"...)
	for _, arg := range args {
		out = append(strconv.AppendInt(append(out, '$'), int64(len(arg)), 10), "\r\n"...)
		out = append(append(out, arg...), "\r\n"...)
	}
	return out
}

// readReply reads one reply and returns it as it came.
func readReply(in *bufio.Reader) (string, error) {
	line, err := in.ReadString('\n')
	if err != nil {
		return "", err
	}
	n, _ := strconv.Atoi(strings.TrimSpace(line[1:]))
	switch line[0] {
	case '$', '=':
		if n < 0 {
			return line, nil
		}
		body := make([]byte, n+2)
		_, err := io.ReadFull(in, body)
		return line + string(body), err
	case '%':
		n *= 2
	case '*', '~', '>':
	default:
		n = 0
	}
	var out strings.Builder
	out.WriteString(line)
	for range n {
		part, err := readReply(in)
		if err != nil {
			return "", err
		}
		out.WriteString(part)
	}
	return out.String(), nil
}

// elements returns the replies within an aggregate.
func elements(reply string) (out []string) {
	_, rest, _ := strings.Cut(reply, "\n")
	for in := bufio.NewReader(strings.NewReader(rest)); ; {
		part, err := readReply(in)
		if err != nil {
			return out
		}
		out = append(out, part)
	}
}

// value returns what go-redis makes of a reply.
func value(reply string) (any, error) {
	head, rest, _ := strings.Cut(reply, "\r\n")
	switch text := head[1:]; head[0] {
	case '-':
		return nil, engineError(text)
	case '$':
		if text == "-1" {
			return nil, nil
		}
		return strings.TrimSuffix(rest, "\r\n"), nil
	case ':':
		return strconv.ParseInt(text, 10, 64)
	case '_':
		return nil, nil
	case '*', '~', '%':
		if text == "-1" {
			return nil, nil
		}
		out := []any{}
		for _, part := range elements(reply) {
			v, err := value(part)
			if err != nil {
				return nil, err
			}
			out = append(out, v)
		}
		return out, nil
	default:
		return text, nil
	}
}

// engineError is an error that an engine has replied, as go-redis tells it.
type engineError string

func (e engineError) Error() string { return string(e) }
func (engineError) RedisError()     {}

// doOf returns the Do of a connection.
func doOf(c conn) func(context.Context, ...any) (any, error) {
	return func(_ context.Context, args ...any) (any, error) {
		texts := make([]string, len(args))
		for i, arg := range args {
			texts[i] = fmt.Sprint(arg)
		}
		return value(c.do(texts...))
	}
}

// startEmbedded starts the embedded queue.
func startEmbedded(t testing.TB) *overTCP {
	t.Helper()
	srv, err := queue.New(queue.Options{Addr: "127.0.0.1:0", Password: password, Dir: t.TempDir()},
		slog.New(slog.NewTextHandler(t.Output(), nil)))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- srv.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("stop the queue: %v", err)
		}
	})
	select {
	case <-srv.Ready():
	case <-time.After(10 * time.Second):
		t.Fatal("the queue does not start")
	}
	return &overTCP{addr: srv.Addr(), password: password}
}

// valkeyVariable names a valkey-server, where there is one that is not in PATH.
const valkeyVariable = "QUEUE_VALKEY"

// programs returns the programs that serve Redis' protocol on this machine, by name.
func programs(t testing.TB) map[string]string {
	t.Helper()
	found := map[string]string{}
	redis, err := exec.LookPath("redis-server")
	if err != nil {
		t.Fatal("redis-server is missing: run .ci/deps")
	}
	found["redis"] = redis
	if valkey := os.Getenv(valkeyVariable); valkey != "" {
		found["valkey"] = valkey
	} else if valkey, err := exec.LookPath("valkey-server"); err == nil {
		found["valkey"] = valkey
	}
	return found
}

// startProgram starts one on loopback, without anything on disk.
func startProgram(t testing.TB, program string) *overTCP {
	t.Helper()
	addr := testenv.RedisOf(t, program, "--hz", "500", "--requirepass", password, "--loglevel", "warning")
	return &overTCP{addr: addr, password: password}
}
