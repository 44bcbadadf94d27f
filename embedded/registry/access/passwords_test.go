package access

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/crypto/bcrypt"
)

// counted has an account ci, and counts how often bcrypt runs.
func counted(t *testing.T) (n *network, password string, compares *atomic.Int64, c *clock) {
	t.Helper()
	c, compares = newClock(), new(atomic.Int64)
	n = newNetwork(http.NotFoundHandler(), Options{Clock: c.Now}.forTest(t))
	n.passwords.compare = func(hash, password []byte) error {
		compares.Add(1)
		return bcrypt.CompareHashAndPassword(hash, password)
	}
	return n, issue(t, n.Accounts, "ci"), compares, c
}

func TestPasswords_UnknownUserCostsTheSame(t *testing.T) {
	t.Parallel()
	n, password, compares, _ := counted(t)
	var hashes [][]byte
	n.passwords.compare = func(hash, password []byte) error {
		compares.Add(1)
		hashes = append(hashes, hash)
		return bcrypt.CompareHashAndPassword(hash, password)
	}
	for i, user := range []string{"ci", "nobody", "", "NOT A NAME"} {
		if w := send(n, "192.0.2.1:1", basic(user, "x"+password)); w.Code != http.StatusUnauthorized {
			t.Errorf("%q: %d, want 401", user, w.Code)
		}
		if got := compares.Load(); got != int64(i+1) {
			t.Errorf("%q: %d comparisons so far, want %d", user, got, i+1)
		}
	}
	for _, h := range hashes {
		if cost, err := bcrypt.Cost(h); err != nil || cost != bcrypt.MinCost {
			t.Errorf("compared with cost %d, %v, want that of accounts", cost, err)
		}
	}
}

func TestPasswords_Remembered(t *testing.T) {
	t.Parallel()
	n, password, compares, clock := counted(t)
	want := func(step string, change func(*http.Request), status int, total int64) {
		t.Helper()
		if w := send(n, "192.0.2.1:1", change); w.Code != status {
			t.Errorf("%s: %d, want %d", step, w.Code, status)
		}
		if got := compares.Load(); got != total {
			t.Errorf("%s: %d comparisons, want %d", step, got, total)
		}
	}
	want("first", basic("ci", password), 404, 1)
	want("again", basic("ci", password), 404, 1)
	want("wrong one", basic("ci", password+"x"), 401, 2)
	want("right one after a wrong one", basic("ci", password), 404, 2)
	clock.Advance(rememberFor)
	want("later", basic("ci", password), 404, 3)
	n.Accounts.Remove("ci")
	want("removed", basic("ci", password), 401, 4)
	if len(n.passwords.right) != 0 {
		t.Error("the password of a removed account is still remembered")
	}
}

func TestPasswords_RateLimit(t *testing.T) {
	t.Parallel()
	n, password, compares, clock := counted(t)
	const guesser = "192.0.2.1:1"
	for i := range maxTries {
		if w := send(n, guesser, basic("ci", strconv.Itoa(i))); w.Code != http.StatusUnauthorized {
			t.Fatalf("try %d: %d", i, w.Code)
		}
	}
	for range 3 {
		w := send(n, guesser, basic("ci", password))
		if w.Code != http.StatusTooManyRequests {
			t.Errorf("after %d tries: %d, want 429", maxTries, w.Code)
		}
		if s, err := strconv.Atoi(w.Header().Get("Retry-After")); err != nil || s < 1 ||
			s > int(tryInterval.Seconds()) {
			t.Errorf("Retry-After is %q", w.Header().Get("Retry-After"))
		}
	}
	if got := compares.Load(); got != maxTries {
		t.Errorf("%d comparisons, want %d", got, maxTries)
	}
	if w := send(n, "192.0.2.2:1", basic("ci", "x")); w.Code != http.StatusUnauthorized {
		t.Errorf("another address: %d, want 401", w.Code)
	}
	clock.Advance(tryInterval)
	if w := send(n, guesser, basic("ci", password)); w.Code != http.StatusNotFound {
		t.Errorf("the right password after the wait: %d", w.Code)
	}
	// Those who know the password are not held for guessers.
	for i := range maxTries {
		if w := send(n, guesser, basic("ci", "x")); w.Code != http.StatusUnauthorized {
			t.Errorf("try %d after the right password: %d, want 401", i, w.Code)
		}
	}
	if w := send(n, guesser, basic("ci", password)); w.Code != http.StatusNotFound {
		t.Errorf("a remembered password from the guesser's address: %d", w.Code)
	}
}

// TestPasswords_Turns has many logins at once: few compare, the rest wait, for a
// bounded time.
func TestPasswords_Turns(t *testing.T) {
	t.Parallel()
	accounts := newAccounts(t)
	synctest.Test(t, func(t *testing.T) {
		p := newPasswords(accounts, time.Now)
		var running, most atomic.Int64
		release := make(chan struct{})
		p.compare = func([]byte, []byte) error {
			most.Store(max(most.Load(), running.Add(1)))
			defer running.Add(-1)
			<-release
			return bcrypt.ErrMismatchedHashAndPassword
		}
		var busy atomic.Int64
		var wg sync.WaitGroup
		for i := range 20 {
			from := netip.MustParseAddr(fmt.Sprintf("192.0.2.%d", i))
			wg.Go(func() {
				_, _, err := p.check(context.Background(), from, "ci", "x")
				if _, ok := errors.AsType[*rateLimitedError](err); ok {
					busy.Add(1)
				}
			})
		}
		synctest.Wait()
		if running.Load() != maxCompares {
			t.Errorf("%d compare at a time, want %d", running.Load(), maxCompares)
		}
		time.Sleep(compareWait)
		synctest.Wait()
		if busy.Load() != 20-maxCompares {
			t.Errorf("%d gave up waiting, want %d", busy.Load(), 20-maxCompares)
		}
		close(release)
		wg.Wait()
		if most.Load() > maxCompares {
			t.Errorf("%d compared at a time, want at most %d", most.Load(), maxCompares)
		}
	})
}

// TestPasswords_SameAtOnce has a client send its first requests side by side.
func TestPasswords_SameAtOnce(t *testing.T) {
	t.Parallel()
	accounts := newAccounts(t)
	password := issue(t, accounts, "ci")
	synctest.Test(t, func(t *testing.T) {
		p := newPasswords(accounts, time.Now)
		var compares atomic.Int64
		p.compare = func(hash, password []byte) error {
			compares.Add(1)
			time.Sleep(time.Second) // of the bubble
			return bcrypt.CompareHashAndPassword(hash, password)
		}
		var wg sync.WaitGroup
		for range 4 * maxTries {
			wg.Go(func() {
				if _, _, err := p.check(t.Context(), netip.MustParseAddr("192.0.2.1"), "ci", password); err != nil {
					t.Errorf("the right password: %v", err)
				}
			})
		}
		wg.Wait()
		if compares.Load() != maxCompares {
			t.Errorf("%d comparisons of one password, want %d", compares.Load(), maxCompares)
		}
	})
}
