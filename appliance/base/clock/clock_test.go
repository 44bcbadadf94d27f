package clock_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/crawlbox/crawlbox/appliance/base/clock"
)

func TestSleep(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		begun := time.Now()
		if err := clock.Sleep(t.Context(), time.Hour); err != nil || time.Since(begun) != time.Hour {
			t.Errorf("slept %s: %v", time.Since(begun), err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := clock.Sleep(ctx, time.Hour); !errors.Is(err, context.DeadlineExceeded) ||
			time.Since(begun) != time.Hour+time.Minute {
			t.Errorf("slept %s with a context of a minute: %v", time.Since(begun)-time.Hour, err)
		}
	})
}

func TestSilence(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		begun := time.Now()
		var rang atomic.Int64
		s := clock.NewSilence(10*time.Second, func() { rang.Store(int64(time.Since(begun))) })
		for range 20 {
			time.Sleep(5 * time.Second)
			s.Heard()
		}
		time.Sleep(9 * time.Second)
		if rang.Load() != 0 {
			t.Fatalf("it rang after %s", time.Duration(rang.Load()))
		}
		time.Sleep(time.Minute)
		if silent := time.Duration(rang.Load()) - 100*time.Second; silent < 10*time.Second || silent > 11*time.Second {
			t.Errorf("it rang after %s of silence", silent)
		}
		rang.Store(0)
		s.Heard()
		s.Stop()
		time.Sleep(time.Minute)
		if rang.Load() != 0 {
			t.Error("it rang though it was stopped")
		}
		again := time.Since(begun)
		s.Heard()
		time.Sleep(time.Minute)
		if silent := time.Duration(rang.Load()) - again; silent != 10*time.Second {
			t.Errorf("begun anew, it rang after %s", silent)
		}
	})
}

// A process that was stopped for long has not heard anything, and knows nothing of the others.
func TestSilence_OwnLateness(t *testing.T) {
	if os.Getenv("CLOCK_TEST_SILENCE") != "" {
		listen()
		return
	}
	t.Parallel()
	cmd := exec.Command(os.Args[0], "-test.run=^TestSilence_OwnLateness$")
	cmd.Env = append(os.Environ(), "CLOCK_TEST_SILENCE=1")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }()
	lines := bufio.NewScanner(out)
	for lines.Scan() && lines.Text() != "listening" {
	}
	for range 3 {
		if err := cmd.Process.Signal(syscall.SIGSTOP); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		if err := cmd.Process.Signal(syscall.SIGCONT); err != nil {
			t.Fatal(err)
		}
		for n := 0; n < 20 && lines.Scan(); n++ {
			if lines.Text() == "rang" {
				t.Fatal("it rang for its own lateness")
			}
		}
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
}

// listen hears something every now and then, until it is killed.
func listen() {
	s := clock.NewSilence(600*time.Millisecond, func() { fmt.Println("rang") })
	fmt.Println("listening")
	for range time.Tick(10 * time.Millisecond) {
		fmt.Println("heard")
		s.Heard()
	}
}

func TestWatch(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := clock.Watch{Most: 3 * time.Second}
		for i, pause := range []time.Duration{0, time.Second, time.Hour, 2 * time.Second} {
			time.Sleep(pause)
			want := []time.Duration{0, 1, 4, 6}[i] * time.Second
			if got := w.Look(); got != want {
				t.Errorf("after a pause of %s it is %s, want %s", pause, got, want)
			}
		}
	})
}
