package queueproc

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"go.uber.org/goleak"
)

// childEnv makes of the test's program the queue's process.
const childEnv = "QUEUEPROC_TEST_CHILD"

const password = "open sesame"

func TestMain(m *testing.M) {
	if os.Getenv(childEnv) != "" {
		if Main(slog.New(slog.NewTextHandler(os.Stderr, nil))) != nil {
			os.Exit(1)
		}
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

// harness is a supervisor under test.
type harness struct {
	*Supervisor
	*testing.T
	addr, dir string
	stop      func()
}

func options(t *testing.T, dir string) Options {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	return Options{
		Listeners: []net.Listener{ln}, Password: password, Dir: dir, MaxMemory: 128 << 20, Pause: 50 * time.Millisecond,
		Env: []string{childEnv + "=1", "GORACE=atexit_sleep_ms=0"},
	}
}

// directory returns a directory below one that only root can enter, as on a server.
func directory(t *testing.T) string {
	t.Helper()
	return t.TempDir() + "/queue"
}

func start(t *testing.T, opts Options) *harness {
	t.Helper()
	s, err := New(opts, slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug})))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := s.Run(ctx); err != nil {
			t.Errorf("the supervisor ended with %v", err)
		}
	}()
	b := &harness{
		Supervisor: s,
		T:          t,
		addr:       opts.Listeners[0].Addr().String(),
		dir:        opts.Dir,
		stop:       func() { cancel(); <-done },
	}
	t.Cleanup(b.stop)
	select {
	case <-s.Ready():
	case <-time.After(30 * time.Second):
		t.Fatal("not ready")
	}
	return b
}

func (b *harness) client() *redis.Client {
	c := redis.NewClient(&redis.Options{
		Addr:            b.addr,
		Password:        password,
		DisableIdentity: true,
		MaxRetries:      5,
		ReadTimeout:     20 * time.Second,
	})
	b.Cleanup(func() { c.Close() })
	return c
}

// await waits until the state is as wanted.
func (b *harness) await(what string, is func(State) bool) State {
	b.Helper()
	for end := time.Now().Add(60 * time.Second); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if st := b.State(); is(st) {
			return st
		}
	}
	b.Fatalf("%s: the state is %+v", what, b.State())
	return State{}
}

func serving(st State) bool { return st.Serving }

func failing(st State) bool { return st.Problem != "" }

func (b *harness) signal(sig syscall.Signal) {
	b.Helper()
	if err := syscall.Kill(b.State().PID, sig); err != nil {
		b.Fatal(err)
	}
}

// status reads a field of /proc/PID/status.
func status(t *testing.T, pid int, field string) string {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if value, ok := strings.CutPrefix(line, field+":"); ok {
			return strings.Join(strings.Fields(value), " ")
		}
	}
	t.Fatalf("no %s in %s", field, text)
	return ""
}
