package queue

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/crawlbox/crawlbox/embedded/queue/admission"
)

func dial(t testing.TB, q *queue) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", q.Addr())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	return conn
}

func TestLogin_ThirdWrongPasswordEndsTheConnection(t *testing.T) {
	t.Parallel()
	for name, send := range map[string]string{
		"AUTH":  strings.Repeat("AUTH x\r\n", 4),
		"HELLO": strings.Repeat("HELLO 3 AUTH default x\r\n", 4),
		"mixed": "AUTH x\r\nHELLO 2 AUTH root x\r\nPING\r\nAUTH a b\r\nAUTH x\r\n",
		"logged in": fmt.Sprintf("*2\r\n$4\r\nAUTH\r\n$%d\r\n%s\r\n", len(testPassword),
			testPassword) + strings.Repeat("AUTH x\r\n", 4),
		"after that": strings.Repeat("AUTH x\r\n", 3) + "PING\r\n",
	} {
		q := startQueue(t, testOptions(t.TempDir()))
		got := talk(t, q, send, 10)
		if strings.Count(got, "-WRONGPASS") != admission.MaxGuesses ||
			!strings.HasSuffix(got[:len(got)-2], "user is disabled.") {
			t.Errorf("%s: got %q", name, got)
		}
	}
}

// freeGuesses are the wrong passwords that cost an address no time.
const freeGuesses = 10

// guess sends wrong passwords, each on a connection of its own, at the same time.
func guess(t *testing.T, q *queue, n int) []string {
	t.Helper()
	replies := make([]string, n)
	var group sync.WaitGroup
	for i := range n {
		conn := dial(t, q)
		group.Go(func() {
			fmt.Fprint(conn, "AUTH x\r\nQUIT\r\n")
			replies[i], _ = bufio.NewReader(conn).ReadString('\n')
		})
	}
	group.Wait()
	return replies
}

func TestLogin_ManyWrongPasswordsAreRefused(t *testing.T) {
	t.Parallel()
	q := startQueue(t, testOptions(t.TempDir()))
	refused := 0
	for _, reply := range guess(t, q, 60) {
		switch {
		case strings.HasPrefix(reply, "-ERR too many wrong passwords from your address: try again in "):
			refused++
		case !strings.HasPrefix(reply, "-WRONGPASS"):
			t.Errorf("got %q", reply)
		}
	}
	if refused == 0 {
		t.Error("no attempt was refused")
	}
	c := q.client(t)
	await(t, func() error { return c.Ping(t.Context()).Err() })
}

func TestLogin_ClientsSayWhyTheyAreRefused(t *testing.T) {
	t.Parallel()
	q := startQueue(t, testOptions(t.TempDir()))
	defer keepGuessing(t, q)()
	for _, protocol := range []int{2, 3} {
		await(t, func() error { // it may have its turn among them
			c := redis.NewClient(&redis.Options{
				Addr:        q.Addr(),
				Password:    testPassword,
				Protocol:    protocol,
				MaxRetries:  -1,
				ReadTimeout: 10 * time.Second,
			})
			defer c.Close()
			err := c.Ping(t.Context()).Err()
			if err == nil || !strings.Contains(err.Error(), "too many wrong passwords from your address: try again") {
				return fmt.Errorf("protocol %d: %w", protocol, err)
			}
			return nil
		})
	}
	for _, send := range []string{"AUTH x\r\n", "HELLO 3 AUTH default x\r\n"} {
		await(t, func() error {
			got := talk(t, q, strings.Repeat(send, 9), 9)
			if n := strings.Count(got, "-ERR too many"); n == 0 || n != strings.Count(got, "\n") || n > 2 {
				return fmt.Errorf("%q: got %q", send, got)
			}
			return nil
		})
	}
}

// keepGuessing has more wrong passwords tried all the time than have a place in line, until stop.
func keepGuessing(t *testing.T, q *queue) (stop func()) {
	ctx, cancel := context.WithCancel(t.Context())
	var group sync.WaitGroup
	for range 12 {
		group.Go(func() {
			for ctx.Err() == nil {
				conn, err := net.Dial("tcp", q.Addr())
				if err != nil {
					t.Error(err)
					return
				}
				defer context.AfterFunc(ctx, func() { conn.Close() })()
				fmt.Fprint(conn, "AUTH x\r\nQUIT\r\n")
				_, _ = io.Copy(io.Discard, conn)
				conn.Close()
			}
		})
	}
	return func() {
		cancel()
		group.Wait()
	}
}

func TestLogin_GuessesDoNotLockClientsOut(t *testing.T) {
	t.Parallel()
	if out, err := exec.Command("/usr/bin/python3", "-c", "import redis").CombinedOutput(); err != nil {
		t.Fatalf("redis-py is missing: run `apt-get install python3-redis`\n%s", out)
	}
	q := startQueue(t, testOptions(t.TempDir()))
	old := q.client(t)
	if err := old.Ping(within(t, 5*time.Second)).Err(); err != nil {
		t.Fatal(err)
	}
	guess(t, q, freeGuesses)
	if err := old.Ping(within(t, 5*time.Second)).Err(); err != nil {
		t.Errorf("who had logged in: %v", err)
	}
	for _, protocol := range []int{2, 3} {
		c := redis.NewClient(&redis.Options{
			Addr:        q.Addr(),
			Password:    testPassword,
			Protocol:    protocol,
			MaxRetries:  -1,
			ReadTimeout: 10 * time.Second,
		})
		defer c.Close()
		if err := c.Ping(within(t, 10*time.Second)).Err(); err != nil {
			t.Errorf("go-redis with protocol %d: %v", protocol, err)
		}
	}
	guess(t, q, 1)
	host, port, _ := strings.Cut(q.Addr(), ":")
	script := "import sys, redis; print(redis.Redis(sys.argv[1], int(sys.argv[2]), password=sys.argv[3]).ping())"
	cmd := exec.CommandContext(within(t, 30*time.Second), "/usr/bin/python3", "-c", script, host, port, testPassword)
	if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), "True") {
		t.Errorf("redis-py: %v\n%s", err, out)
	}
}

// admitting is a listener that notes whom its connections were told of.
type admitting struct {
	net.Listener
	admitted chan string
}

type admittingConn struct {
	net.Conn
	admitted chan string
}

func (l admitting) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	return admittingConn{conn, l.admitted}, err
}

func (c admittingConn) Admit(who string) { c.admitted <- c.RemoteAddr().String() + " " + who }

// tlsOptions make a queue speak TLS over connections that want to know who is
// admitted.
func tlsOptions(t *testing.T) (opts Options, client *tls.Config, admitted chan string) {
	t.Helper()
	made := httptest.NewTLSServer(nil) // for its certificate
	defer made.Close()
	client = &tls.Config{RootCAs: x509.NewCertPool(), ServerName: "example.com"}
	client.RootCAs.AddCert(made.Certificate())
	server := &tls.Config{Certificates: made.TLS.Certificates}
	admitted = make(chan string, 10)
	opts = testOptions(t.TempDir())
	opts.Listen = func(addr string) (net.Listener, error) {
		inner, err := net.Listen("tcp", addr)
		return tls.NewListener(admitting{inner, admitted}, server), err
	}
	return opts, client, admitted
}

func TestListen_TLSAdmitsWhoLoggedIn(t *testing.T) {
	t.Parallel()
	opts, config, admitted := tlsOptions(t)
	q := startQueue(t, opts)
	dial(t, q) // and says nothing: its handshake holds nobody up
	stranger, err := tls.Dial("tcp", q.Addr(), config)
	if err != nil {
		t.Fatal(err)
	}
	defer stranger.Close()
	fmt.Fprint(stranger, "AUTH x\r\n")
	if got, err := bufio.NewReader(stranger).ReadString('\n'); !strings.HasPrefix(got, "-WRONGPASS") {
		t.Errorf("stranger got %q, %v", got, err)
	}
	c := redis.NewClient(&redis.Options{
		Addr:       q.Addr(),
		Password:   testPassword,
		TLSConfig:  config,
		MaxRetries: -1,
		PoolSize:   1,
	})
	defer c.Close()
	if err := c.Set(within(t, 10*time.Second), "k", "v", 0).Err(); err != nil {
		t.Fatal(err)
	}
	if got := <-admitted; got == stranger.LocalAddr().String()+" queue" || !strings.HasSuffix(got, " queue") {
		t.Errorf("admitted %q", got)
	}
	if len(admitted) > 0 {
		t.Errorf("also admitted %q", <-admitted)
	}
}

func TestListen_WantsTCP(t *testing.T) {
	t.Parallel()
	opts := testOptions(t.TempDir())
	path := t.TempDir() + "/socket"
	opts.Listen = func(string) (net.Listener, error) { return net.Listen("unix", path) }
	srv, err := New(opts, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	if err := srv.Run(t.Context()); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("got %v", err)
	}
}

// TestConn_LoginHasATimeLimit has clients that say nothing, with TLS and
// without, and one that does not read.
func TestConn_LoginHasATimeLimit(t *testing.T) {
	t.Parallel()
	opts, _, _ := tlsOptions(t)
	srv, err := New(opts, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	for name, wrap := range map[string]func(net.Conn) net.Conn{
		"plain": func(c net.Conn) net.Conn { return c },
		"TLS":   func(c net.Conn) net.Conn { return tls.Server(c, &tls.Config{}) },
	} {
		for _, says := range []string{"", "PING\r\n"} {
			synctest.Test(t, func(t *testing.T) {
				client, server := net.Pipe()
				defer client.Close()
				go fmt.Fprint(client, says)
				start := time.Now()
				serveConn(t, srv, &core{sessions: map[int64]*session{}, hub: newHub()}, wrap(server))
				took := time.Since(start)
				if says == "" && took != admission.LoginTimeout || took > admission.LoginTimeout {
					t.Errorf("%s, says %q: lasted %v", name, says, took)
				}
			})
		}
	}
}

func TestStrangers_TheOldestGoes(t *testing.T) {
	t.Parallel()
	const extra = 5
	q := startQueue(t, testOptions(t.TempDir()))
	known := redis.NewClient(&redis.Options{Addr: q.Addr(), Password: testPassword, MaxRetries: -1, PoolSize: 1})
	defer known.Close()
	id := known.ClientID(within(t, 5*time.Second)).Val()
	var conns []net.Conn
	for range admission.MaxStrangers + extra {
		conns = append(conns, dial(t, q))
	}
	for i, conn := range conns[:extra] {
		if _, err := conn.Read(make([]byte, 1)); err == nil || isTimeout(err) {
			t.Errorf("stranger %d: %v, want that it is closed", i, err)
		}
	}
	for _, i := range []int{extra, len(conns) - 1} {
		fmt.Fprint(conns[i], "PING\r\n")
		if got, err := bufio.NewReader(conns[i]).ReadString('\n'); got != "-NOAUTH Authentication required.\r\n" {
			t.Errorf("stranger %d: %q, %v", i, got, err)
		}
	}
	if got, err := known.ClientID(within(t, 5*time.Second)).Result(); err != nil || got != id {
		t.Errorf("who had logged in: %v, connection %d, was %d", err, got, id)
	}
	if err := q.client(t).Ping(within(t, 10*time.Second)).Err(); err != nil {
		t.Errorf("who logs in now: %v", err)
	}
}

func isTimeout(err error) bool {
	return errors.Is(err, os.ErrDeadlineExceeded)
}
