package notify

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"
)

// listen is systemd's end: it returns what the process says next.
func listen(t *testing.T) (next func(max time.Duration) string) {
	t.Helper()
	dir, err := os.MkdirTemp("", "cb") // t.TempDir can be too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	path := filepath.Join(dir, "s")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	t.Setenv("NOTIFY_SOCKET", path)
	return func(max time.Duration) string {
		conn.SetReadDeadline(time.Now().Add(max))
		text := make([]byte, 4096)
		n, err := conn.Read(text)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return ""
		}
		if err != nil {
			t.Fatal(err)
		}
		return string(text[:n])
	}
}

const soon = 10 * time.Second

func TestStates(t *testing.T) {
	Phase("nobody listens")
	next := listen(t)
	if !Listening() {
		t.Error("nobody listens")
	}
	Phase("waiting\nREADY=1")
	Ready("ready")
	Stopping()
	for _, want := range []string{"STATUS=waiting READY=1", "READY=1\nSTATUS=ready", "STOPPING=1\nSTATUS=stopping"} {
		if got := next(soon); got != want {
			t.Errorf("systemd hears %q, want %q", got, want)
		}
	}
}

// setWatchdog makes WatchdogSec= that of the unit.
func setWatchdog(t *testing.T, limit time.Duration) {
	t.Setenv("WATCHDOG_PID", fmt.Sprint(os.Getpid()))
	t.Setenv("WATCHDOG_USEC", fmt.Sprint(limit.Microseconds()))
}

func run(t *testing.T, check func(context.Context) error) {
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		Watchdog(ctx, check, slog.New(slog.DiscardHandler))
	}()
	t.Cleanup(func() { cancel(); <-done })
}

func TestWatchdog_FedWhileTheCheckPasses(t *testing.T) {
	next := listen(t)
	setWatchdog(t, 300*time.Millisecond)
	var sick atomic.Bool
	run(t, func(context.Context) error {
		if sick.Load() {
			return errors.New("no answer")
		}
		return nil
	})
	for range 3 {
		if got := next(soon); got != "WATCHDOG=1" {
			t.Fatalf("systemd hears %q", got)
		}
	}
	sick.Store(true)
	next(100 * time.Millisecond) // one may be on its way
	if got := next(500 * time.Millisecond); got != "" {
		t.Errorf("systemd hears %q of a process that does not answer", got)
	}
	sick.Store(false)
	if got := next(soon); got != "WATCHDOG=1" {
		t.Errorf("systemd hears %q of a process that answers again", got)
	}
}

func TestWatchdog_NotFedWhileTheCheckHangs(t *testing.T) {
	next := listen(t)
	setWatchdog(t, 300*time.Millisecond)
	release := make(chan struct{})
	var begun atomic.Int32
	run(t, func(context.Context) error { // deaf to its context
		begun.Add(1)
		<-release
		return nil
	})
	if got := next(time.Second); got != "" {
		t.Errorf("systemd hears %q of a process that hangs", got)
	}
	if n := begun.Load(); n != 1 {
		t.Errorf("%d checks hang, want one", n)
	}
	close(release)
	if got := next(soon); got != "WATCHDOG=1" {
		t.Errorf("systemd hears %q of a process that goes on", got)
	}
}

func TestWatchdog_OnlyWhereTheUnitHasOne(t *testing.T) {
	next := listen(t)
	run(t, func(context.Context) error { t.Error("checked for nobody"); return nil })
	if got := next(200 * time.Millisecond); got != "" {
		t.Errorf("systemd hears %q", got)
	}
}
