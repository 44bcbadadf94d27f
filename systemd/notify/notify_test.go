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
	"testing/synctest"
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
	started.Store(false)
	Phase("nobody listens")
	next := listen(t)
	if !Listening() {
		t.Error("nobody listens")
	}
	Phase("waiting\nREADY=1")
	Ready("ready")
	Phase("waiting again")
	Stopping()
	for _, want := range []string{
		"STATUS=waiting READY=1\nEXTEND_TIMEOUT_USEC=300000000", // of the start
		"READY=1\nSTATUS=ready",
		"STATUS=waiting again",
		"STOPPING=1\nSTATUS=stopping",
	} {
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

// run runs a watchdog, of a process that waits for nothing unless read says so.
func run(t *testing.T, check func(context.Context) error, read ...func() stalls) {
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	read = append(read, func() stalls { return stalls{} })
	go func() {
		defer close(done)
		watchdog(ctx, check, read[0], slog.New(slog.DiscardHandler))
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

type hung struct{ error }

func (hung) Hung() bool { return true }

// TestWatchdog_TriggeredByWhatHangs: what has had all its time is not waited for again.
func TestWatchdog_TriggeredByWhatHangs(t *testing.T) {
	next := listen(t)
	setWatchdog(t, 300*time.Millisecond)
	run(t, func(context.Context) error { return fmt.Errorf("watch: %w", hung{errors.New("no answer")}) })
	if got := next(soon); got != "WATCHDOG=trigger" {
		t.Errorf("systemd hears %q of a part that hangs", got)
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

// TestWatchdog_StarvedIsNotHung: a process that has waited for the machine while it did not
// answer lives, and systemd waits for it longer; one that had all it needed does not.
func TestWatchdog_StarvedIsNotHung(t *testing.T) {
	for _, resource := range []string{"processors", "memory", "disk"} {
		t.Run(resource, func(t *testing.T) {
			next := listen(t)
			setWatchdog(t, 300*time.Millisecond)
			var starved atomic.Bool
			starved.Store(true)
			began := time.Now()
			run(t, func(ctx context.Context) error {
				if !starved.Load() {
					return errors.New("no answer")
				}
				<-ctx.Done()
				return ctx.Err()
			}, func() (s stalls) {
				if starved.Load() {
					*map[string]*time.Duration{"processors": &s.cpu, "memory": &s.memory, "disk": &s.io}[resource] =
						time.Since(began)
				}
				return s
			})
			for _, want := range []string{"WATCHDOG_USEC=1500000", "WATCHDOG=1", "WATCHDOG=1", "WATCHDOG=1"} {
				if got := next(soon); got != want {
					t.Fatalf("systemd hears %q, want %q", got, want)
				}
			}
			starved.Store(false)
			got := next(soon)
			for got == "WATCHDOG=1" { // one or two were on their way
				got = next(soon)
			}
			if got != "WATCHDOG_USEC=300000" {
				t.Errorf("systemd hears %q of a process that hangs, and had all it needs", got)
			}
			if got := next(500 * time.Millisecond); got != "" {
				t.Errorf("systemd hears %q of a process that hangs, and had all it needs", got)
			}
		})
	}
}

// TestStarvation wants what a process lacked told from what it did not do.
func TestStarvation(t *testing.T) {
	t.Parallel()
	const bound = 20 * time.Second
	for name, tc := range map[string]struct {
		s    starvation
		want bool
	}{
		"waited half the time":     {starvation{window: 40 * time.Second, waited: 20 * time.Second}, true},
		"waited now and then":      {starvation{window: 40 * time.Second, waited: 15 * time.Second}, false},
		"failed at once":           {starvation{window: time.Second, waited: time.Second}, false},
		"woken late":               {starvation{window: 40 * time.Second, late: 10 * time.Second}, true},
		"woken in time":            {starvation{window: 40 * time.Second, late: time.Second}, false},
		"failed before the bound":  {starvation{window: 40 * time.Second, late: -19 * time.Second}, false},
		"the kernel does not tell": {starvation{window: 40 * time.Second}, false},
	} {
		tc.s.bound = bound
		if got := tc.s.is(); got != tc.want {
			t.Errorf("%s: %v, want %v", name, got, tc.want)
		}
	}
}

func TestTotalOf(t *testing.T) {
	t.Parallel()
	text := "some avg10=25.72 avg60=46.67 avg300=36.95 total=831956587\n" +
		"full avg10=0.00 avg60=0.00 avg300=0.00 total=7\n"
	if got := totalOf(text, "some"); got != 831956587*time.Microsecond {
		t.Errorf("read %v", got)
	}
	if got := totalOf(text, "full"); got != 7*time.Microsecond {
		t.Errorf("read %v of all threads", got)
	}
	if got := totalOf("full total=7", "full"); got != 0 {
		t.Errorf("read %v of another file", got)
	}
}

func TestWatchdog_OnlyWhereTheUnitHasOne(t *testing.T) {
	next := listen(t)
	run(t, func(context.Context) error { t.Error("checked for nobody"); return nil })
	if got := next(200 * time.Millisecond); got != "" {
		t.Errorf("systemd hears %q", got)
	}
}

// TestPulse: threads that wait are no process that waits, as long as it is woken in time.
func TestPulse(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := newPulse(time.Second)
		ctx, cancel := context.WithCancel(t.Context())
		go p.run(ctx)
		time.Sleep(time.Hour)
		synctest.Wait()
		if waited := p.waited(); waited != 0 {
			t.Errorf("it is woken in time, and has waited %s", waited)
		}
		cancel()
		synctest.Wait()
		time.Sleep(11 * time.Second) // nothing wakes it
		if waited := p.waited(); waited != 10*time.Second {
			t.Errorf("it is woken 10 s late, and has waited %s", waited)
		}
	})
}
