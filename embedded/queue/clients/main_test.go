// Package clients_test runs the programs that people use with a Redis server, as
// Debian, npm and Go's module proxy have them, on the embedded queue: what the
// queue promises to serve must work, and what it does not serve must reach the
// user in words that say what to do.
//
// With CRAWLBOX_CLIENTS_SERVER=/usr/bin/redis-server each test starts that server
// instead. Then everything must work, what the queue refuses too: it shows that
// a refusal is the queue's and not a fault of the test.
package clients_test

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"go.uber.org/goleak"

	"github.com/crawlbox/crawlbox/appliance/base/testenv"
	"github.com/crawlbox/crawlbox/embedded/queue"
)

const password = "open-sesame"

// otherServer is the program that the tests start instead of the queue, "" for the queue.
var otherServer = os.Getenv("CRAWLBOX_CLIENTS_SERVER")

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// server is a queue, or another server, of one test.
type server struct{ host, port string }

func (s server) addr() string { return net.JoinHostPort(s.host, s.port) }

func (s server) url() string { return "redis://:" + password + "@" + s.addr() + "/0" }

// startServer starts a server that ends with the test.
func startServer(t *testing.T) server {
	t.Helper()
	if otherServer != "" {
		return startProgram(t, otherServer)
	}
	return startQueue(t)
}

// startQueue starts the embedded queue.
func startQueue(t *testing.T) server {
	t.Helper()
	log := slog.New(slog.NewTextHandler(t.Output(), nil))
	q, err := queue.New(queue.Options{Addr: "127.0.0.1:0", Password: password, Dir: t.TempDir()}, log)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- q.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("stop the queue: %v", err)
		}
	})
	select {
	case <-q.Ready():
	case err := <-done:
		done <- nil
		t.Fatalf("start the queue: %v", err)
	}
	host, port, _ := net.SplitHostPort(q.Addr())
	return server{host, port}
}

// startProgram starts a Redis server of the given program, which keeps nothing.
func startProgram(t *testing.T, name string, more ...string) server {
	t.Helper()
	host, port, _ := net.SplitHostPort(testenv.FreeAddr(t).String())
	p := start(t, program{name: name, args: append([]string{
		"--bind", host, "--port", port, "--requirepass", password, "--save", "", "--dir", t.TempDir(),
	}, more...)})
	p.waitFor(t, 10*time.Second, "Ready to accept connections")
	return server{host, port}
}

// client returns a go-redis client of its own.
func (s server) client(t *testing.T, opts redis.Options) *redis.Client {
	t.Helper()
	opts.Addr, opts.Password, opts.MaxRetries = s.addr(), password, -1
	c := redis.NewClient(&opts)
	t.Cleanup(func() { c.Close() })
	return c
}

func within(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), d)
	t.Cleanup(cancel)
	return ctx
}

// await polls check until it returns nil, for at most max.
func await(t *testing.T, max time.Duration, check func() error) {
	t.Helper()
	deadline := time.Now().Add(max)
	for {
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("waited %v: %v", max, err)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// checkRefused reports err unless it is the queue's refusal of the command; another
// server must have served it.
func checkRefused(t *testing.T, command string, err error) {
	t.Helper()
	switch {
	case otherServer != "":
		if err != nil {
			t.Errorf("%s: %v", command, err)
		}
	case err == nil || !strings.Contains(err.Error(), refusal(command)):
		t.Errorf("%s: got %v, want an error with %q", command, err, refusal(command))
	}
}

// refusal returns how the queue's words for a command begin; what to do follows.
func refusal(command string) string {
	return fmt.Sprintf("%s is not served by crawlbox's embedded queue; ", command)
}
