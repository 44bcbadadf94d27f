package admission

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/crawlbox/crawlbox/appliance/base/bound"
	"github.com/crawlbox/crawlbox/appliance/base/clock"
)

// What an address may guess.
const (
	guessBurst = 10          // wrong passwords that cost no time
	guessPause = time.Second // for each one after those

	longestTurn   = 5 * time.Second // an attempt that would wait longer for its turn is refused
	maxFailed     = 4096            // addresses remembered
	guessInterval = time.Minute     // between two lines of the log about one address
)

var ErrWrongPassword = errors.New("wrong password")

// TooManyGuesses refuses an attempt without looking at the password.
type TooManyGuesses struct{ wait time.Duration }

func (e *TooManyGuesses) Error() string {
	return fmt.Sprintf("too many wrong passwords from your address: try again in %d s",
		int(math.Ceil(e.wait.Seconds())))
}

// Limiter bounds how fast passwords can be guessed. Each wrong one costs its
// address a token, and an address without tokens gets one a second: until then
// its attempts stand in line and nobody looks at them. To look first and answer
// late would stop no one: an attacker hangs up and tries again. The right
// password costs nothing, so clients at an address that never fails never wait.
type Limiter struct {
	log *slog.Logger

	mu     sync.Mutex
	failed map[netip.Prefix]*failedAddr // by address
}

// failedAddr is an address from which a wrong password came lately.
type failedAddr struct {
	tokens  *rate.Limiter
	line    chan struct{} // has room for the one whose turn is next; others queue, first come first served
	waiting int           // how many that are

	unreported int
	reported   time.Time
}

func NewLimiter(log *slog.Logger) *Limiter {
	return &Limiter{log: log, failed: map[netip.Prefix]*failedAddr{}}
}

// Try makes an attempt from an address when its turn has come. check looks at
// the password; it must be quick. The error is ErrWrongPassword, a
// *TooManyGuesses at once if the turn would come after ctx's deadline or
// longestTurn, or that of ctx.
func (a *Limiter) Try(ctx context.Context, from netip.Prefix, check func() bool) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	now := time.Now()
	g := a.failed[from]
	if g == nil || g.waiting == 0 && g.wait(now) == 0 {
		return a.look(now, from, check)
	}
	if wait := g.wait(now); wait > patience(ctx, now) {
		return &TooManyGuesses{wait}
	}
	g.waiting++
	defer func() { g.waiting-- }()
	if err := a.await(ctx, g); err != nil {
		return err
	}
	defer func() { <-g.line }()
	return a.look(time.Now(), from, check)
}

// await waits for the turn without mu, which the caller holds.
func (a *Limiter) await(ctx context.Context, g *failedAddr) error {
	a.mu.Unlock()
	defer a.mu.Lock()
	return g.turn(ctx)
}

// patience returns how long an attempt may wait.
func patience(ctx context.Context, now time.Time) time.Duration {
	if deadline, ok := ctx.Deadline(); ok {
		return min(longestTurn, deadline.Sub(now))
	}
	return longestTurn
}

// wait returns the time until one more attempt has its turn, if all before it fail.
func (g *failedAddr) wait(now time.Time) time.Duration {
	missing := float64(g.waiting+1) - g.tokens.TokensAt(now)
	return max(0, time.Duration(math.Ceil(missing*float64(guessPause))))
}

// turn waits in line, and then for a token, which it leaves there.
func (g *failedAddr) turn(ctx context.Context) error {
	select {
	case g.line <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	for {
		missing := 1 - g.tokens.TokensAt(time.Now())
		if missing <= 0 {
			return nil
		}
		if err := clock.Sleep(ctx, time.Duration(math.Ceil(missing*float64(guessPause)))); err != nil {
			<-g.line
			return err
		}
	}
}

// look evaluates an attempt. The caller holds mu, so that attempts made at the
// same time cannot share a token.
func (a *Limiter) look(now time.Time, from netip.Prefix, check func() bool) error {
	if check() {
		return nil
	}
	g := a.failed[from]
	if g == nil {
		g = a.remember(now, from)
	}
	g.tokens.ReserveN(now, 1)
	g.unreported++
	a.report(now, from, g)
	return ErrWrongPassword
}

func (a *Limiter) remember(now time.Time, from netip.Prefix) *failedAddr {
	if len(a.failed) >= maxFailed {
		a.forgetOne(now)
	}
	g := &failedAddr{tokens: rate.NewLimiter(rate.Every(guessPause), guessBurst), line: make(chan struct{}, 1)}
	a.failed[from] = g
	return g
}

// forgetOne makes room: it forgets the address that owes least.
func (a *Limiter) forgetOne(now time.Time) {
	var least netip.Prefix
	most := math.Inf(-1)
	for from, g := range a.failed {
		if tokens := g.tokens.TokensAt(now); g.waiting == 0 && tokens > most {
			least, most = from, tokens
		}
	}
	delete(a.failed, least)
}

func (a *Limiter) report(now time.Time, from netip.Prefix, g *failedAddr) {
	if g.unreported == 0 || now.Sub(g.reported) < guessInterval {
		return
	}
	a.log.Warn("wrong password for the queue", "from", from, "times", g.unreported)
	g.unreported, g.reported = 0, now
}

// Tidy reports what was not reported yet, and forgets addresses that owe nothing, every
// minute until ctx ends.
func (a *Limiter) Tidy(ctx context.Context) {
	for clock.Sleep(ctx, guessInterval) == nil {
		a.sweep(time.Now())
	}
}

func (a *Limiter) sweep(now time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for from, g := range a.failed {
		a.report(now, from, g)
		idle := g.waiting == 0 && now.Sub(g.reported) >= guessInterval
		if idle && g.tokens.TokensAt(now) >= guessBurst {
			delete(a.failed, from)
		}
	}
}

// source identifies the client whose guesses are counted together.
func source(conn net.Conn) netip.Prefix {
	addr, err := netip.ParseAddrPort(conn.RemoteAddr().String())
	if err != nil {
		return netip.Prefix{}
	}
	return bound.Prefix(addr.Addr())
}
