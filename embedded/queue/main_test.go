package queue

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"go.uber.org/goleak"
)

const testPassword = "open sesame"

func TestMain(m *testing.M) {
	runChild()
	goleak.VerifyTestMain(m)
}

// queue is a running server of a test.
type queue struct {
	*Server
	stop  func() error // ends Run and returns its error; may be called twice
	ended func() error // waits until Run ends by itself, and returns its error
}

func testOptions(dir string) Options {
	return Options{Addr: "127.0.0.1:0", Password: testPassword, Dir: dir, SyncInterval: 10 * time.Millisecond}
}

func startQueue(t testing.TB, opts Options) *queue {
	t.Helper()
	srv, err := New(opts, slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug})))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- srv.Run(ctx) }()
	q := &queue{Server: srv}
	q.stop = func() error {
		cancel()
		err := <-done
		done <- err
		return err
	}
	q.ended = func() error {
		err := <-done
		done <- nil
		return err
	}
	t.Cleanup(func() {
		if err := q.stop(); err != nil {
			t.Errorf("stop the queue: %v", err)
		}
	})
	select {
	case <-srv.Ready():
	case err := <-done:
		done <- nil
		t.Fatalf("start the queue: %v", err)
	}
	return q
}

func (q *queue) client(t testing.TB) *redis.Client {
	t.Helper()
	c := redis.NewClient(&redis.Options{
		Addr:        q.Addr(),
		Password:    testPassword,
		MaxRetries:  -1,
		ReadTimeout: 30 * time.Second,
	})
	t.Cleanup(func() { c.Close() })
	return c
}

func within(t testing.TB, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), d)
	t.Cleanup(cancel)
	return ctx
}

// await polls check until it returns nil, for at most 10 s.
func await(t testing.TB, check func() error) {
	t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for {
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("waited 10 s: %v", err)
		}
		time.Sleep(5 * time.Millisecond)
	}
}
