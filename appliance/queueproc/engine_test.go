package queueproc

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/crawlbox/crawlbox/appliance/base/testenv"
)

// redisServer is a Redis of one's own.
type redisServer struct {
	*testing.T
	addr string
	args []string
	stop func()
}

const enginePassword = "another one"

func startRedis(t *testing.T, args func(port string) []string) *redisServer {
	t.Helper()
	addr := testenv.FreeAddr(t).String()
	_, port, _ := net.SplitHostPort(addr)
	r := &redisServer{T: t, addr: addr}
	r.args = append([]string{
		"--bind", "127.0.0.1", "--dir", t.TempDir(), "--save", "", "--requirepass", enginePassword,
		"--loglevel", "warning",
	}, args(port)...)
	r.start()
	t.Cleanup(func() { r.stop() })
	return r
}

func plainPort(port string) []string { return []string{"--port", port} }

func (r *redisServer) start() {
	r.Helper()
	cmd := exec.Command("redis-server", r.args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		r.Fatalf("start redis-server: %v: run .ci/deps", err)
	}
	exited := make(chan struct{})
	go func() {
		_ = cmd.Wait()
		close(exited)
	}()
	r.stop = func() {
		_ = cmd.Process.Kill()
		<-exited
	}
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		conn, err := net.Dial("tcp", r.addr)
		if err == nil {
			conn.Close()
			return
		}
		if time.Now().After(end) {
			r.Fatal(err)
		}
	}
}

func (r *redisServer) engine() *Engine {
	return &Engine{Name: "redis://engine.test/2", Addr: r.addr, Password: enginePassword, DB: 2, Setting: "queue.url"}
}

// TestEngine_OfOnesOwn: the process, which can't connect to anything, serves what another server keeps, also after
// that, or the process, was killed.
func TestEngine_OfOnesOwn(t *testing.T) {
	t.Parallel()
	r := startRedis(t, plainPort)
	opts := options(t, directory(t))
	opts.Engine = r.engine()
	b := start(t, opts)
	c := b.client()
	if err := c.XAdd(t.Context(), &redis.XAddArgs{Stream: "s", Values: []string{"a", "1"}}).Err(); err != nil {
		t.Fatal(err)
	}
	if info, err := c.ClientInfo(t.Context()).Result(); err != nil || info.DB != 2 {
		t.Errorf("clients are in %+v, %v", info, err)
	}
	b.await("counting", func(st State) bool {
		return st.Progress.Keys == 1 && st.Progress.Memory > 0 && st.Engine == ""
	})
	for field, want := range map[string]string{"CapEff": "0000000000000000", "Seccomp": "2"} {
		if os.Geteuid() == 0 {
			if got := status(t, b.State().PID, field); got != want {
				t.Errorf("%s is %s, want %s", field, got, want)
			}
		}
	}
	b.signal(syscall.SIGKILL)
	b.await("started again", func(st State) bool { return st.Restarts == 1 && st.Serving })
	if n, err := c.XLen(t.Context(), "s").Result(); err != nil || n != 1 {
		t.Errorf("%d entries, %v", n, err)
	}

	r.stop()
	st := b.await("without engine", func(st State) bool { return st.Engine != "" })
	want := "the queue's engine at redis://engine.test/2 can't be reached (dial tcp " + r.addr +
		": connect: connection refused): start it, or correct its address in queue.url and start crawlbox again"
	if st.Engine != want || !st.Serving || st.Problem != "" {
		t.Errorf("the state is %+v, want %s", st, want)
	}
	r.start()
	st = b.await("with it again", func(st State) bool { return st.Engine == "" })
	if n := len(st.Outages); n != 3 || st.Outages[n-1].Ended.IsZero() {
		t.Errorf("outages are %+v", st.Outages)
	}
	if err := c.Ping(t.Context()).Err(); err != nil {
		t.Error(err)
	}
}

// TestEngine_NotThereAtTheStart wants the start not to wait for it.
func TestEngine_NotThereAtTheStart(t *testing.T) {
	t.Parallel()
	opts := options(t, directory(t))
	opts.Engine = &Engine{Name: "redis://nowhere.invalid", Addr: "nowhere.invalid:6379"}
	b := start(t, opts)
	st := b.await("without engine", func(st State) bool { return st.Engine != "" })
	if !strings.Contains(st.Engine, "redis://nowhere.invalid can't be reached (dial tcp: lookup nowhere.invalid") {
		t.Errorf("the state is %+v", st)
	}
	c := redis.NewClient(&redis.Options{Addr: b.addr, Password: password, MaxRetries: -1, ReadTimeout: time.Minute})
	defer c.Close()
	err := c.Ping(t.Context()).Err()
	if err == nil || !strings.HasPrefix(err.Error(), "LOADING the queue's engine at redis://nowhere.invalid") {
		t.Errorf("clients get %v", err)
	}
}

func TestEngine_WrongPassword(t *testing.T) {
	t.Parallel()
	r := startRedis(t, plainPort)
	opts := options(t, directory(t))
	opts.Engine = r.engine()
	opts.Engine.Password = "hush"
	b := start(t, opts)
	st := b.await("refused", func(st State) bool { return st.Engine != "" })
	if !strings.Contains(st.Engine, "refuses the user or password in queue.url (WRONGPASS") ||
		strings.Contains(st.Engine, "hush") {
		t.Errorf("the state is %+v", st)
	}
}

// TestEngine_TLS trusts the authorities of the machine and no others.
func TestEngine_TLS(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	cert, key := writeCertificate(t, dir)
	r := startRedis(t, func(port string) []string {
		return []string{
			"--port", "0", "--tls-port", port, "--tls-cert-file", cert, "--tls-key-file", key,
			"--tls-ca-cert-file", cert, "--tls-auth-clients", "no",
		}
	})
	opts := options(t, directory(t))
	opts.Engine = r.engine()
	opts.Engine.Host = "engine.test"
	stranger := start(t, opts)
	st := stranger.await("refused", func(st State) bool { return st.Engine != "" })
	if !strings.Contains(st.Engine, "add its CA to those that this machine trusts") {
		t.Errorf("the state is %+v", st)
	}

	opts = options(t, directory(t))
	opts.Engine = r.engine()
	opts.Engine.Host = "engine.test"
	opts.Env = append(opts.Env, "SSL_CERT_FILE="+cert)
	b := start(t, opts)
	large := strings.Repeat("x", 1<<20)
	c := b.client()
	if err := c.Set(t.Context(), "k", large, 0).Err(); err != nil {
		t.Fatal(err)
	}
	if got, err := c.Get(t.Context(), "k").Result(); err != nil || got != large {
		t.Errorf("got %d bytes, %v", len(got), err)
	}
}

func writeCertificate(t *testing.T, dir string) (cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, DNSNames: []string{"engine.test"},
		NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalECPrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	cert, key = filepath.Join(dir, "cert"), filepath.Join(dir, "key")
	for path, block := range map[string]*pem.Block{
		cert: {Type: "CERTIFICATE", Bytes: der}, key: {Type: "EC PRIVATE KEY", Bytes: secret},
	} {
		if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return cert, key
}

// TestDials_Bounds has a process ask for more connections than it may have at a time, and for what is none.
func TestDials_Bounds(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	to := &Engine{Addr: l.Addr().String()}
	s := &Supervisor{opts: Options{Engine: to}, engine: to}
	d, theirs, err := s.openDials()
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan struct{})
	go func() { d.serve(); close(served) }()
	c, err := newConnector(theirs)
	if err != nil {
		t.Fatal(err)
	}
	made := make(chan conns, 3*maxDials)
	for range cap(made) {
		go func() {
			got, err := c.connect(t.Context())
			if err != nil || len(got) != 1 {
				t.Errorf("%d connections, %v", len(got), err)
			}
			made <- got
		}()
	}
	for range cap(made) {
		(<-made).Close()
	}
	c.mu.Lock()
	if n := len(c.waiting); n != 0 {
		t.Errorf("%d still wait", n)
	}
	c.mu.Unlock()
	late, cancel := context.WithCancel(t.Context())
	cancel()
	if conn, err := c.connect(late); err == nil {
		conn.Close()
	}
	if _, err := c.conn.Write([]byte("something else")); err != nil {
		t.Fatal(err)
	}
	<-served
	if _, err := c.connect(t.Context()); err == nil {
		t.Error("after the end there was a connection")
	}
}

// TestEngine_Moves: a client that waits for nothing goes on when another engine takes the place, and when that is the
// front of another process, with TLS of an authority that the machine does not know.
func TestEngine_Moves(t *testing.T) {
	t.Parallel()
	one, other := startRedis(t, plainPort), startRedis(t, plainPort)
	opts := options(t, directory(t))
	opts.Engine = one.engine()
	b := start(t, opts)
	c := b.client()
	if err := c.Set(t.Context(), "k", "one", 0).Err(); err != nil {
		t.Fatal(err)
	}
	b.await("counting", func(st State) bool { return st.Progress.Keys == 1 })
	b.SetEngine(*other.engine())
	b.await("with the other engine", func(st State) bool { return st.Engine == "" && st.Progress.Keys == 0 })
	one.stop()
	if got, err := c.Get(t.Context(), "k").Result(); !errors.Is(err, redis.Nil) {
		t.Errorf("the other has %q, %v", got, err)
	}
	beside := options(t, directory(t))
	beside.Engine = other.engine()
	cert, key := writeCertificate(t, t.TempDir())
	var pair KeyPair
	var err, err2 error
	pair.Certificate, err = os.ReadFile(cert)
	pair.Key, err2 = os.ReadFile(key)
	if err := errors.Join(err, err2); err != nil {
		t.Fatal(err)
	}
	beside.TLS = func() (KeyPair, error) { return pair, nil }
	far := start(t, beside)
	if err := c.Set(t.Context(), "k", "other", 0).Err(); err != nil {
		t.Fatal(err)
	}
	b.SetEngine(Engine{
		Name:     "the front beside it",
		Addr:     far.addr,
		Host:     "engine.test",
		CA:       string(pair.Certificate),
		Password: password,
		DB:       2,
		Front:    true,
	})
	b.await("with the front", func(st State) bool { return st.Engine == "" && st.Progress.Keys == 1 })
	if got, err := c.Get(t.Context(), "k").Result(); err != nil || got != "other" {
		t.Errorf("by way of the other front there is %q, %v", got, err)
	}
	if n := c.PoolStats().Misses; n != 1 {
		t.Errorf("the client has connected %d times", n)
	}
	b.signal(syscall.SIGKILL) // the one that is started again knows the engine of now
	b.await("started again", func(st State) bool { return st.Restarts == 1 && st.Serving && st.Engine == "" })
	if got, err := c.Get(t.Context(), "k").Result(); err != nil || got != "other" {
		t.Errorf("after a restart there is %q, %v", got, err)
	}
}
