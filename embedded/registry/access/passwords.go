package access

import (
	"context"
	"crypto/hmac"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/crypto/bcrypt"

	"github.com/crawlbox/crawlbox/appliance/base/bound"
)

const (
	// maxTries are free for an address; then one comes back each tryInterval.
	maxTries    = 10
	tryInterval = 10 * time.Second
	// maxAddresses are remembered; the one that was quiet for longest is forgotten.
	maxAddresses = 4096
	// maxCompares run at a time; each takes a core for a while.
	maxCompares = 2
	// compareWait is how long a request waits for its turn.
	compareWait = 5 * time.Second
	// rememberFor is how long a right password is taken without bcrypt.
	rememberFor = 5 * time.Minute
)

// passwords checks passwords of accounts, with bounds on what strangers can make
// it work.
type passwords struct {
	accounts *Accounts
	tries    *bound.Rate[netip.Prefix]
	compare  func(hash, password []byte) error // bcrypt's
	turns    chan struct{}
	key      []byte
	now      func() time.Time

	mu    sync.Mutex
	right map[string]proof // by the account's name
}

// proof records that a password was right a moment ago.
type proof struct {
	issue string
	mac   []byte
	until time.Time
}

// newTryLimit counts what each address has tried.
func newTryLimit(now func() time.Time) *bound.Rate[netip.Prefix] {
	tries := bound.NewRate[netip.Prefix](tryInterval, maxTries, maxAddresses)
	tries.Now = now
	return tries
}

func newPasswords(accounts *Accounts, now func() time.Time) *passwords {
	return &passwords{
		accounts: accounts,
		tries:    newTryLimit(now),
		compare:  bcrypt.CompareHashAndPassword,
		turns:    make(chan struct{}, maxCompares),
		key:      newKey(),
		now:      now,
		right:    map[string]proof{},
	}
}

// check returns which of the account's passwords this is. fresh says that it was
// compared just now. The error is *unauthenticatedError or *rateLimitedError.
func (p *passwords) check(ctx context.Context, from netip.Addr,
	user, password string) (issue string, fresh bool, err error) {
	if issue, ok := p.remembered(user, password); ok {
		return issue, false, nil
	}
	if wait := p.tries.Delay(bound.Prefix(from)); wait > 0 {
		return "", false, tooManyTries(wait)
	}
	if err := p.turn(ctx); err != nil {
		return "", false, err
	}
	defer func() { <-p.turns }()
	// Another request may have brought the same password meanwhile.
	if issue, ok := p.remembered(user, password); ok {
		return issue, false, nil
	}
	if !p.tries.Allow(bound.Prefix(from)) {
		return "", false, tooManyTries(p.tries.Delay(bound.Prefix(from)))
	}
	return p.try(from, user, password)
}

// turn waits for a place among those that compare.
func (p *passwords) turn(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, compareWait)
	defer cancel()
	select {
	case p.turns <- struct{}{}:
		return nil
	case <-ctx.Done():
		return &rateLimitedError{message: "too many logins at a time", retry: compareWait}
	}
}

func (p *passwords) try(from netip.Addr, user, password string) (string, bool, error) {
	a, known := p.accounts.find(user)
	if err := p.compare([]byte(a.Hash), []byte(password)); err != nil || !known {
		return "", false, &unauthenticatedError{message: "user or password is wrong"}
	}
	p.tries.Forget(bound.Prefix(from))
	p.remember(a, password)
	return a.Issue, true, nil
}

func (p *passwords) remember(a account, password string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.right[a.Name] = proof{issue: a.Issue, mac: sum(p.key, []byte(password)), until: p.now().Add(rememberFor)}
}

func (p *passwords) remembered(user, password string) (issue string, ok bool) {
	a, known := p.accounts.find(user)
	mac := sum(p.key, []byte(password))
	p.mu.Lock()
	defer p.mu.Unlock()
	was := p.right[user]
	if !known || was.issue != a.Issue || !p.now().Before(was.until) {
		delete(p.right, user)
		return "", false
	}
	return a.Issue, hmac.Equal(was.mac, mac)
}

func tooManyTries(wait time.Duration) error {
	return &rateLimitedError{message: "too many wrong passwords from this address", retry: wait}
}
