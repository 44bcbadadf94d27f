package keeper_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"go.uber.org/goleak"

	"github.com/crawlbox/crawlbox/appliance/base/testenv"
	"github.com/crawlbox/crawlbox/embedded/queue"
	"github.com/crawlbox/crawlbox/embedded/queue/front"
	"github.com/crawlbox/crawlbox/embedded/queue/keeper"
	"github.com/crawlbox/crawlbox/embedded/queue/lease"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	password = "open sesame"
	patience = 20 * time.Second // for what has to happen
)

// containers are those of a test. A client is in the one whose name its port was given.
type containers struct {
	mu    sync.Mutex
	of    map[string]string // by address
	ended map[string]chan struct{}
	clean map[string]bool
}

func newContainers() *containers {
	return &containers{of: map[string]string{}, ended: map[string]chan struct{}{}, clean: map[string]bool{}}
}

func (c *containers) Who(_ context.Context, client net.Conn, _ time.Time) (keeper.Container, error) {
	from := client.RemoteAddr()
	c.mu.Lock()
	defer c.mu.Unlock()
	id := c.of[from.String()]
	return keeper.Container{ID: id, Name: "spider." + id}, nil
}

func (c *containers) Ended(ctx context.Context, id string) (bool, error) {
	select {
	case <-c.end(id):
		c.mu.Lock()
		defer c.mu.Unlock()
		return c.clean[id], nil
	case <-ctx.Done():
		return false, ctx.Err()
	}
}

func (c *containers) end(id string) chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended[id] == nil {
		c.ended[id] = make(chan struct{})
	}
	return c.ended[id]
}

// kill ends a container.
func (c *containers) kill(id string, clean bool) {
	ended := c.end(id)
	c.mu.Lock()
	c.clean[id] = clean
	c.mu.Unlock()
	close(ended)
}

// node is a front with its keeper.
type node struct {
	testing.TB
	containers *containers
	keeper     *keeper.Keeper
	front      *front.Server
	addr       string
	direct     *redis.Client // to the engine
	stop       func()
}

var rules = lease.Rules{Safe: []string{"jobs*", "z*", "s*"}, Window: 2, MaxDeliveries: 3}

// engines are what keepers are tested with.
func engines(t *testing.T, test func(t *testing.T, engine front.Engine)) {
	t.Helper()
	t.Run("embedded", func(t *testing.T) {
		t.Parallel()
		test(t, startEmbedded(t))
	})
	t.Run("redis", func(t *testing.T) {
		t.Parallel()
		test(t, startRedis(t))
	})
}

func engineAt(addr string) front.Engine {
	return front.Engine{
		Name:     addr,
		Password: password,
		Dial: func(ctx context.Context) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "tcp", addr)
		},
	}
}

func startEmbedded(t testing.TB) front.Engine {
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
	case <-time.After(patience):
		t.Fatal("the queue does not start")
	}
	return engineAt(srv.Addr())
}

// startRedis starts a Valkey, or a Redis, without anything on disk.
func startRedis(t testing.TB) front.Engine {
	t.Helper()
	return engineAt(testenv.Redis(t, "--requirepass", password, "--loglevel", "warning", "--notify-keyspace-events",
		"Kglsz"))
}

// clientOf returns a client that never asks twice.
func clientOf(t testing.TB, addr string) *redis.Client {
	t.Helper()
	c := redis.NewClient(&redis.Options{Addr: addr, Password: password, MaxRetries: -1})
	t.Cleanup(func() { c.Close() })
	return c
}

func startNode(t testing.TB, engine front.Engine, known *containers, rules lease.Rules) *node {
	t.Helper()
	return startNodeAt(t, "127.0.0.1:0", engine, known, rules)
}

func startNodeAt(t testing.TB, addr string, engine front.Engine, known *containers, rules lease.Rules) *node {
	t.Helper()
	log := slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug}))
	k := keeper.New(keeper.Options{Rules: rules, Node: "n1", Engine: engine, Containers: known}, log)
	f, err := front.New(front.Options{Addr: addr, Password: password, Engine: engine, Rewriter: k}, log)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var group sync.WaitGroup
	ended := make(chan struct{})
	group.Go(func() { k.Run(ctx) })
	group.Go(func() {
		defer close(ended)
		if err := f.Run(ctx); err != nil {
			t.Errorf("the front: %v", err)
		}
	})
	n := &node{TB: t, containers: known, keeper: k, front: f, direct: clientOf(t, engine.Name)}
	n.stop = func() {
		cancel()
		group.Wait()
	}
	t.Cleanup(n.stop)
	select {
	case <-f.Ready():
	case <-ended:
		t.FailNow()
	}
	n.addr = f.Addr()
	return n
}

// scissors cut the connections to an engine.
type scissors struct {
	mu    sync.Mutex
	conns map[*cuttable]bool
}

func newScissors() *scissors { return &scissors{conns: map[*cuttable]bool{}} }

// cuttable is a connection to an engine.
type cuttable struct {
	net.Conn
	reading atomic.Int32
	closed  chan struct{} // when who uses it is done with it
	once    sync.Once
}

func (c *cuttable) Read(b []byte) (int, error) {
	c.reading.Add(1)
	defer c.reading.Add(-1)
	return c.Conn.Read(b)
}

func (c *cuttable) Close() error {
	defer c.once.Do(func() { close(c.closed) })
	return c.Conn.Close()
}

func (c *cuttable) CloseWrite() error { return c.Conn.(*net.TCPConn).CloseWrite() }

// within returns an engine whose connections can be cut.
func (s *scissors) within(e front.Engine) front.Engine {
	dial := e.Dial
	e.Dial = func(ctx context.Context) (net.Conn, error) {
		conn, err := dial(ctx)
		if err != nil {
			return nil, err
		}
		c := &cuttable{Conn: conn, closed: make(chan struct{})}
		s.mu.Lock()
		defer s.mu.Unlock()
		s.conns[c] = true
		return c, nil
	}
	return e
}

// readers returns how many connections are read from: those in use, and those of clients at rest.
func (s *scissors) readers() (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.conns {
		n += int(c.reading.Load())
	}
	return n
}

// cut cuts all connections, and waits until those who read of one know.
func (s *scissors) cut() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.conns {
		reads := c.reading.Load() > 0
		c.Conn.Close()
		if reads {
			select {
			case <-c.closed:
			case <-time.After(patience):
			}
		}
	}
	clear(s.conns)
}

// in returns a client in a container; "" is elsewhere.
func (n *node) in(container string) *redis.Client {
	n.Helper()
	c := redis.NewClient(&redis.Options{
		Addr: n.addr, Password: password, MaxRetries: -1, PoolSize: 1, ReadTimeout: patience,
		Dialer: func(context.Context, string, string) (net.Conn, error) { return n.dial(container) },
	})
	n.Cleanup(func() { c.Close() })
	return c
}

func (n *node) push(key string, items ...any) {
	n.Helper()
	if err := n.direct.RPush(n.Context(), key, items...).Err(); err != nil {
		n.Fatal(err)
	}
}

// list returns what is in a list.
func (n *node) list(key string) string {
	n.Helper()
	items, err := n.direct.LRange(n.Context(), key, 0, -1).Result()
	if err != nil {
		n.Fatal(err)
	}
	return fmt.Sprint(items)
}

// await waits until check is content.
func (n *node) await(check func() error) {
	n.Helper()
	var err error
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(2 * time.Millisecond) {
		if err = check(); err == nil {
			return
		}
	}
	n.Fatal(err)
}

// becomes waits until a list holds some items.
func (n *node) becomes(key, want string) {
	n.Helper()
	n.await(func() error {
		if got := n.list(key); got != want {
			return errors.New(key + " holds " + got + ", want " + want)
		}
		return nil
	})
}

// dial connects from a container; "" is elsewhere.
func (n *node) dial(container string) (net.Conn, error) {
	conn, err := net.Dial("tcp", n.addr)
	if err == nil && container != "" {
		n.containers.mu.Lock()
		n.containers.of[conn.LocalAddr().String()] = container
		n.containers.mu.Unlock()
	}
	return conn, err
}
