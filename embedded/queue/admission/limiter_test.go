package admission

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

var (
	here  = netip.MustParsePrefix("192.0.2.1/32")
	there = netip.MustParsePrefix("192.0.2.2/32")
)

func right() bool { return true }
func wrong() bool { return false }

// spent returns a limiter of which an address has used up all that cost no time.
func spent(t *testing.T, from netip.Prefix) *Limiter {
	t.Helper()
	a := NewLimiter(slog.New(slog.DiscardHandler))
	for range guessBurst {
		if err := a.Try(t.Context(), from, wrong); !errors.Is(err, ErrWrongPassword) {
			t.Fatalf("wrong password: %v", err)
		}
	}
	return a
}

func TestLimiter_WrongOnesWaitForTheirTurn(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		a := spent(t, here)
		if took := time.Since(start); took != 0 {
			t.Errorf("the first %d took %v", guessBurst, took)
		}
		for range 3 {
			_ = a.Try(t.Context(), here, wrong)
		}
		if took := time.Since(start).Round(time.Millisecond); took != 3*guessPause {
			t.Errorf("three more took %v, want %v", took, 3*guessPause)
		}
		if err := a.Try(t.Context(), here, right); err != nil ||
			time.Since(start).Round(time.Millisecond) != 4*guessPause {
			t.Errorf("the right one: %v after %v", err, time.Since(start))
		}
	})
}

func TestLimiter_RightOnesCostNothing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		a := spent(t, there)
		for range 1000 {
			if err := a.Try(t.Context(), here, right); err != nil {
				t.Fatal(err)
			}
		}
		if took := time.Since(start); took != 0 {
			t.Errorf("who never failed waited %v", took)
		}
		var group sync.WaitGroup
		for range 4 { // where others failed, they wait for one turn together
			group.Go(func() {
				if err := a.Try(t.Context(), there, right); err != nil {
					t.Error(err)
				}
			})
		}
		group.Wait()
		if took := time.Since(start).Round(time.Millisecond); took != guessPause {
			t.Errorf("they waited %v, want %v", took, guessPause)
		}
	})
}

func TestLimiter_NobodyLooksBeforeTheTurn(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a := spent(t, here)
		var looks, refused atomic.Int32
		var group sync.WaitGroup
		for range 20 {
			group.Go(func() {
				err := a.Try(t.Context(), here, func() bool { looks.Add(1); return false })
				var early *TooManyGuesses
				if errors.As(err, &early) {
					refused.Add(1)
					if early.wait <= longestTurn || !strings.HasSuffix(early.Error(), "try again in 6 s") {
						t.Errorf("refused with %q", early)
					}
				}
			})
		}
		synctest.Wait()
		if looks.Load() != 0 || refused.Load() != 15 {
			t.Errorf("at once: %d looked at, %d refused", looks.Load(), refused.Load())
		}
		group.Wait()
		if looks.Load() != 5 {
			t.Errorf("%d looked at in %v, want 5", looks.Load(), longestTurn)
		}
	})
}

func TestLimiter_WaitsNoLongerThanItsClient(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a := spent(t, here)
		hurried, cancel := context.WithTimeout(t.Context(), guessPause/2)
		defer cancel()
		var early *TooManyGuesses
		if err := a.Try(hurried, here, right); !errors.As(err, &early) || early.wait != guessPause {
			t.Errorf("with no time to wait: %v", err)
		}
		gone, hangUp := context.WithCancel(t.Context())
		left := make(chan error, 2)
		for range 2 {
			go func() { left <- a.Try(gone, here, right) }()
		}
		synctest.Wait()
		hangUp()
		for range 2 {
			if err := <-left; !errors.Is(err, context.Canceled) {
				t.Errorf("who hung up: %v", err)
			}
		}
		start := time.Now()
		if err := a.Try(t.Context(), here, right); err != nil ||
			time.Since(start).Round(time.Millisecond) != guessPause {
			t.Errorf("after them: %v, %v", err, time.Since(start))
		}
	})
}

func TestLimiter_TableIsBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a := spent(t, here)
		for n := range maxFailed + 100 {
			from := netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, byte(n >> 8), byte(n)}), 32)
			_ = a.Try(t.Context(), from, wrong)
		}
		if n := len(a.failed); n != maxFailed {
			t.Errorf("%d addresses are remembered", n)
		}
		if a.failed[here] == nil {
			t.Error("who owes most was forgotten")
		}
		for range 2 { // what is reported at the first goes with the second
			time.Sleep(guessInterval) // of the bubble's clock
			a.sweep(time.Now())
		}
		if n := len(a.failed); n != 0 {
			t.Errorf("%d addresses are remembered that owe nothing", n)
		}
	})
}

func TestLimiter_LogsOnceAMinute(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var out strings.Builder
		drop := func(_ []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey {
				return slog.Attr{}
			}
			return a
		}
		a := NewLimiter(slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{ReplaceAttr: drop})))
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go a.Tidy(ctx)
		for range 7 {
			_ = a.Try(ctx, here, wrong)
		}
		_ = a.Try(ctx, there, right)
		time.Sleep(guessInterval + time.Second) // of the bubble's clock
		synctest.Wait()
		want := "level=WARN msg=\"wrong password for the queue\" from=192.0.2.1/32 times="
		if got := out.String(); got != want+"1\n"+want+"6\n" {
			t.Errorf("logged\n%s", got)
		}
	})
}

// addressed is a connection that comes from an address.
type addressed struct {
	net.Conn
	from string
}

func (c addressed) RemoteAddr() net.Addr { return text(c.from) }

type text string

func (t text) Network() string { return "tcp" }
func (t text) String() string  { return string(t) }

func TestSource(t *testing.T) {
	t.Parallel()
	for from, want := range map[string]string{
		"192.0.2.1:5":                 "192.0.2.1/32",
		"[::ffff:192.0.2.1]:5":        "192.0.2.1/32",
		"[2001:db8:1:2:3:4:5:6]:5":    "2001:db8:1:2::/64",
		"[fe80::1%eth0]:5":            "fe80::/64",
		"@":                           "invalid Prefix",
		"[2001:db8:1:2:ffff::1%x]:80": "2001:db8:1:2::/64",
	} {
		if got := fmt.Sprint(source(addressed{from: from})); got != want {
			t.Errorf("%s counts as %s, want %s", from, got, want)
		}
	}
}
