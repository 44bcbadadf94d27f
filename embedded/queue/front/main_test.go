package front

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
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	clusterPassword = "open sesame"
	enginePassword  = "another one"
)

// patience is how long a test waits for what has to happen.
const patience = 20 * time.Second

// engineProcess is a real Redis server behind a unix socket, so that it can be started again where it was.
type engineProcess struct {
	t      testing.TB
	dir    string
	args   []string
	cmd    *exec.Cmd
	exited chan struct{}
}

func startEngine(t testing.TB, args ...string) *engineProcess {
	t.Helper()
	dir, err := os.MkdirTemp("", "engine") // a socket's path is short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	e := &engineProcess{t: t, dir: dir, args: args}
	e.start()
	t.Cleanup(e.kill)
	return e
}

func (e *engineProcess) socket() string { return filepath.Join(e.dir, "s") }

func (e *engineProcess) start() {
	e.t.Helper()
	program, err := exec.LookPath("valkey-server")
	if err != nil {
		program, err = exec.LookPath("redis-server")
	}
	if err != nil {
		e.t.Fatal("redis-server is missing: run .ci/deps")
	}
	args := append([]string{
		"--port", "0", "--unixsocket", e.socket(), "--dir", e.dir, "--save", "", "--appendonly", "no",
		"--requirepass", enginePassword, "--loglevel", "warning",
	}, e.args...)
	e.cmd = exec.Command(program, args...)
	e.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := e.cmd.Start(); err != nil {
		e.t.Fatal(err)
	}
	e.exited = make(chan struct{})
	go func(cmd *exec.Cmd, exited chan struct{}) {
		_ = cmd.Wait()
		close(exited)
	}(e.cmd, e.exited)
	waitUntil(e.t, func() error {
		conn, err := e.dial(context.Background())
		if err == nil {
			conn.Close()
		}
		return err
	})
}

func (e *engineProcess) kill() {
	_ = e.cmd.Process.Kill()
	<-e.exited
}

func (e *engineProcess) dial(ctx context.Context) (net.Conn, error) {
	var d net.Dialer
	return d.DialContext(ctx, "unix", e.socket())
}

func (e *engineProcess) engine() Engine {
	return Engine{Name: "engine.test:6379", Dial: e.dial, Password: enginePassword}
}

// direct returns a client of the engine without a front.
func (e *engineProcess) direct() *redis.Client {
	c := redis.NewClient(&redis.Options{
		Addr:       "engine",
		Dialer:     func(ctx context.Context, _, _ string) (net.Conn, error) { return e.dial(ctx) },
		Password:   enginePassword,
		MaxRetries: -1,
	})
	e.t.Cleanup(func() { c.Close() })
	return c
}

// running is a front of a test.
type running struct {
	*Server
	t testing.TB
}

func startFront(t testing.TB, opts Options) running {
	t.Helper()
	opts.Addr, opts.Password = "127.0.0.1:0", clusterPassword
	s, err := New(opts, slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug})))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		select {
		case err := <-done:
			if err != nil {
				t.Error(err)
			}
		case <-time.After(patience):
			t.Error("the front does not end")
		}
	})
	<-s.Ready()
	return running{s, t}
}

// start starts an engine and a front for it.
func start(t testing.TB) (*engineProcess, running) {
	t.Helper()
	e := startEngine(t)
	return e, startFront(t, Options{Engine: e.engine()})
}

func (f running) client(change ...func(*redis.Options)) *redis.Client {
	opts := &redis.Options{Addr: f.Addr(), Password: clusterPassword, MaxRetries: -1, ReadTimeout: patience}
	for _, c := range change {
		c(opts)
	}
	c := redis.NewClient(opts)
	f.t.Cleanup(func() { c.Close() })
	return c
}

// talker is a connection that hides nothing.
type talker struct {
	net.Conn
	t  testing.TB
	in *bufio.Reader
}

// stranger connects and does not log in.
func (f running) stranger() *talker {
	f.t.Helper()
	conn, err := net.Dial("tcp", f.Addr())
	if err != nil {
		f.t.Fatal(err)
	}
	return newTalker(f.t, conn)
}

func newTalker(t testing.TB, conn net.Conn) *talker {
	t.Cleanup(func() { conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(3 * patience))
	return &talker{conn, t, bufio.NewReader(conn)}
}

// talk connects and logs in, in version 2 or 3 of the protocol.
func (f running) talk(proto int) *talker {
	f.t.Helper()
	c := f.stranger()
	if proto == 3 {
		if got := c.do("HELLO", "3", "AUTH", "default", clusterPassword); !strings.HasPrefix(got, "%") {
			f.t.Fatalf("HELLO: %q", got)
		}
		return c
	}
	c.want("+OK\r\n", "AUTH", clusterPassword)
	return c
}

func (c *talker) send(args ...string) {
	c.t.Helper()
	c.write(string(appendRequest(nil, args...)))
}

func (c *talker) write(text string) {
	c.t.Helper()
	if _, err := io.WriteString(c.Conn, text); err != nil {
		c.t.Fatal(err)
	}
}

// read returns the next reply or push as it is in the protocol.
func (c *talker) read() string {
	c.t.Helper()
	text, err := c.tryRead()
	if err != nil {
		c.t.Fatalf("after %q: %v", text, err)
	}
	return text
}

func (c *talker) tryRead() (string, error) {
	var r replies
	var text []byte
	for {
		line, err := c.in.ReadBytes('\n')
		text = append(text, line...)
		if err != nil {
			return string(text), err
		}
		for len(line) > 0 {
			n, done, err := r.next(line)
			if done || err != nil {
				return string(text), err
			}
			line = line[n:]
		}
	}
}

func (c *talker) do(args ...string) string {
	c.t.Helper()
	c.send(args...)
	return c.read()
}

func (c *talker) want(reply string, args ...string) {
	c.t.Helper()
	if got := c.do(args...); got != reply {
		c.t.Errorf("%q: got %q, want %q", args, got, reply)
	}
}

// wantEnd wants the connection to end with nothing more than text.
func (c *talker) wantEnd(text string) {
	c.t.Helper()
	got, err := io.ReadAll(c.in)
	if err != nil && !errors.Is(err, syscall.ECONNRESET) || string(got) != text {
		c.t.Errorf("at the end there came %q, %v; want %q", got, err, text)
	}
}

// waitUntil polls check until it returns nil.
func waitUntil(t testing.TB, check func() error) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for {
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("waited %v: %v", patience, err)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func bulk(s string) string { return fmt.Sprintf("$%d\r\n%s\r\n", len(s), s) }
