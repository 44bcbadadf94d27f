package access

import (
	"container/list"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/crawlbox/crawlbox/appliance/base/bound"
)

const (
	// maxTries are free for an address; then one comes back each tryInterval.
	maxTries    = 10
	tryInterval = 10 * time.Second
	// maxAddresses are remembered; the one not seen for longest is forgotten.
	maxAddresses = 4096
)

// tries counts what each address has tried. Its methods may be called at the
// same time.
type tries struct {
	now func() time.Time

	mu     sync.Mutex
	byAddr map[netip.Prefix]*list.Element
	seen   *list.List // of *budget, the latest first
}

type budget struct {
	from netip.Prefix
	*rate.Limiter
}

func newTries(now func() time.Time) *tries {
	return &tries{now: now, byAddr: map[netip.Prefix]*list.Element{}, seen: list.New()}
}

// wait is how long the address has to wait for its next try, without making it.
func (t *tries) wait(from netip.Addr) time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	if e := t.byAddr[bound.Prefix(from)]; e != nil {
		return e.Value.(*budget).missing(t.now())
	}
	return 0
}

// take makes a try of the address, or says how long it has to wait for it.
func (t *tries) take(from netip.Addr) time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	b := t.budget(bound.Prefix(from))
	now := t.now()
	if b.AllowN(now, 1) {
		return 0
	}
	return max(b.missing(now), time.Nanosecond)
}

// forgive gives the address all its tries back.
func (t *tries) forgive(from netip.Addr) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if e := t.byAddr[bound.Prefix(from)]; e != nil {
		t.remove(e)
	}
}

func (t *tries) budget(from netip.Prefix) *budget {
	if e := t.byAddr[from]; e != nil {
		t.seen.MoveToFront(e)
		return e.Value.(*budget)
	}
	if t.seen.Len() >= maxAddresses {
		t.remove(t.seen.Back())
	}
	b := &budget{from: from, Limiter: rate.NewLimiter(rate.Every(tryInterval), maxTries)}
	t.byAddr[from] = t.seen.PushFront(b)
	return b
}

func (t *tries) remove(e *list.Element) {
	delete(t.byAddr, t.seen.Remove(e).(*budget).from)
}

// missing is how long until the budget has a whole try.
func (b *budget) missing(now time.Time) time.Duration {
	return time.Duration((1 - min(1, b.TokensAt(now))) * float64(tryInterval))
}
