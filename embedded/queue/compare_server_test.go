package queue

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/crawlbox/crawlbox/appliance/base/testenv"
	"github.com/crawlbox/crawlbox/embedded/queue/engine"
)

// Another server than crawlbox's to compare with redis-server.
const (
	compareAddr     = "QUEUE_COMPARE_ADDR"
	comparePassword = "QUEUE_COMPARE_PASSWORD"
)

// redisServer is a server that speaks Redis' protocol.
type redisServer struct {
	addr, password string
	pid            int // 0 where it is not a process of its own
}

// comparedServers holds the yardstick and what is measured with it.
type comparedServers struct{ redis, subject redisServer }

// oneAtATime is held while a test has the server that the environment names.
var oneAtATime sync.Mutex

// startCompared starts both. They belong to the test alone, which flushes them.
func startCompared(t testing.TB) comparedServers {
	t.Helper()
	servers := comparedServers{redis: startRedis(t)}
	if addr := os.Getenv(compareAddr); addr != "" {
		oneAtATime.Lock()
		t.Cleanup(oneAtATime.Unlock)
		servers.subject = redisServer{addr: addr, password: os.Getenv(comparePassword)}
		flush(t, servers.subject)
	} else {
		servers.subject = startCompareSubject(t)
	}
	return servers
}

func flush(t testing.TB, server redisServer) {
	t.Helper()
	c, err := dialServer(server, 2)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if reply, err := c.do("FLUSHALL"); err != nil || reply.isError() {
		t.Fatalf("flush %s: %v %q", server.addr, err, reply.raw)
	}
}

// startRedis starts a redis-server on loopback, without anything on disk.
func startRedis(t testing.TB) redisServer {
	t.Helper()
	program, err := exec.LookPath("redis-server")
	if err != nil {
		t.Fatal("redis-server is missing: run .ci/deps")
	}
	for {
		server, err := tryRedis(t, program)
		if err == nil {
			return server
		}
		if !errors.Is(err, syscall.EADDRINUSE) {
			t.Fatalf("start redis-server: %v", err)
		}
	}
}

// tryRedis starts one on a port that was free just now; another process may have
// taken the port meanwhile.
func tryRedis(t testing.TB, program string) (redisServer, error) {
	addr := testenv.FreeAddr(t)
	cmd := exec.Command(program, "--bind", "127.0.0.1", "--port", strconv.Itoa(int(addr.Port())), "--dir", t.TempDir(),
		"--notify-keyspace-events", engine.Notified,
		"--save", "", "--appendonly", "no", "--requirepass", testPassword, "--loglevel", "warning")
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return redisServer{}, err
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	t.Cleanup(func() {
		cmd.Process.Kill()
		ended <- <-ended
	})
	server := redisServer{addr: addr.String(), password: testPassword, pid: cmd.Process.Pid}
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); {
		select {
		case err := <-ended:
			ended <- err
			return redisServer{}, fmt.Errorf("%w: %w", syscall.EADDRINUSE, err)
		case <-time.After(5 * time.Millisecond):
		}
		if c, err := dialServer(server, 2); err == nil {
			c.Close()
			return server, nil
		}
	}
	return redisServer{}, errors.New("it does not answer")
}

// rawClient is a connection that hides nothing of the protocol.
type rawClient struct {
	*net.TCPConn
	respReader
	id string // what the server calls it; "" where nobody asked
}

const rawTimeout = 10 * time.Second // a reply that takes longer counts as missing

// dialStranger connects and does not log in.
func dialStranger(server redisServer) (*rawClient, error) {
	conn, err := net.Dial("tcp", server.addr)
	if err != nil {
		return nil, err
	}
	tcp := conn.(*net.TCPConn)
	return &rawClient{TCPConn: tcp, respReader: respReader{bufio.NewReaderSize(tcp, 64<<10)}}, nil
}

// dialServer connects and logs in, in version 2 or 3 of the protocol.
func dialServer(server redisServer, proto int) (*rawClient, error) {
	c, err := dialStranger(server)
	if err != nil {
		return nil, err
	}
	login := []string{"AUTH", server.password}
	if proto == 3 {
		login = []string{"HELLO", "3", "AUTH", "default", server.password}
	}
	reply, err := c.do(login...)
	if err == nil && reply.isError() {
		err = errors.New(reply.text)
	}
	if err != nil {
		c.Close()
		return nil, fmt.Errorf("log in at %s: %w", server.addr, err)
	}
	return c, nil
}

func (c *rawClient) send(args ...string) error {
	c.SetDeadline(time.Now().Add(rawTimeout))
	_, err := c.Write(respRequest(args...))
	return err
}

func (c *rawClient) do(args ...string) (respValue, error) {
	if err := c.send(args...); err != nil {
		return respValue{}, err
	}
	return c.read()
}

// rest reads until the server hangs up.
func (c *rawClient) rest() (string, error) {
	c.SetDeadline(time.Now().Add(rawTimeout))
	data, err := io.ReadAll(c.in)
	if errors.Is(err, syscall.ECONNRESET) {
		err = nil
	}
	return string(data), err
}
