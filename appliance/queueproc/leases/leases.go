// Package leases looks at what consumers of the queue hold, and at items that came back too often (see
// embedded/queue/lease). It is for who reports: a look is bounded, whatever spiders have made of the queue, and
// says where it saw not all.
//
// It sees the database in which its client is, as the commands that show keys do.
package leases

import (
	"cmp"
	"context"
	"errors"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/crawlbox/crawlbox/appliance/base/bound"
	"github.com/crawlbox/crawlbox/configs"
	"github.com/crawlbox/crawlbox/embedded/queue/lease"
	"github.com/crawlbox/crawlbox/embedded/queue/lease/script"
)

// Bounds of a look.
const (
	maxRead    = 64 << 20 // bytes of the engine's replies
	maxKeys    = 100_000  // that are looked at for lists of dead items
	scanAtOnce = 1000     // keys
	pageSize   = 200      // leases
	deadPage   = 200      // items that are read at once to move them
)

// Bounded has a client read no answer that is larger than a look may read, and returns its options: spiders make items,
// and the names of keys and consumers, as large as they like.
func Bounded(o *redis.Options) *redis.Options {
	dial := redis.NewDialer(o)
	o.Dialer = func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := dial(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		return bound.Answers(conn, maxRead), nil
	}
	return o
}

// ErrTooMuch is returned by a look that would have read more than its bound.
var ErrTooMuch = errors.New("consumers hold more than crawlbox looks at")

// Leases looks at the leases of one database. Many goroutines call it.
type Leases struct {
	rules  lease.Rules
	client *redis.Client
	most   int // bytes that a look reads

	mu    sync.Mutex
	held  map[string]int64
	seen  time.Time     // when held was
	took  time.Duration // to count it
	fails error         // of the last count

	dead    []Dead
	looked  time.Time     // when dead was
	looking time.Duration // to find them
}

// Rules returns what a config says of leases.
func Rules(q configs.Queue) lease.Rules {
	return lease.Rules{Safe: q.Safe, Window: q.Window, MaxDeliveries: q.MaxDeliveries, Linger: q.Linger}
}

// New returns a look through a client at leases of the keys that a config names.
func New(q configs.Queue, client *redis.Client) *Leases {
	return &Leases{rules: Rules(q), client: client, most: maxRead}
}

// Any reports whether there are keys whose pops are leases.
func (l *Leases) Any() bool { return len(l.rules.Safe) > 0 }

// Of reports whether pops of a key are leases.
func (l *Leases) Of(key string) bool { return l.rules.Leased(key) }

// Safe returns the patterns of keys whose pops are leases.
func (l *Leases) Safe() []string { return l.rules.Safe }

// DeadOf returns where dead items of a key are.
func DeadOf(key string) string { return key + script.DeadSuffix }

// Own reports whether a key is one of the leases themselves, or has dead items of a safe key.
func (l *Leases) Own(key string) bool {
	base, dead := strings.CutSuffix(key, script.DeadSuffix)
	return strings.HasPrefix(key, script.Prefix) || dead && l.Of(base)
}

// limited returns what speaks to the engine until its replies were as large as the bound.
func (l *Leases) limited() lease.Do {
	do, left := lease.Redis(l.client), l.most
	return func(ctx context.Context, args ...any) (any, error) {
		if left <= 0 {
			return nil, ErrTooMuch
		}
		reply, err := do(ctx, args...)
		if left -= size(reply); errors.Is(err, bound.ErrTooLong) {
			err = ErrTooMuch
		}
		return reply, err
	}
}

func size(reply any) int {
	n := 16
	switch v := reply.(type) {
	case string:
		n += len(v)
	case []any:
		for _, part := range v {
			n += size(part)
		}
	}
	return n
}

// InFlight returns how many items of each key consumers hold. It may be a second old, or ten times as old as it takes
// to count them, so that who asks all the time costs a tenth of a processor at the most. The error is ErrTooMuch where
// they are too many.
func (l *Leases) InFlight(ctx context.Context) (map[string]int64, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.seen.IsZero() && time.Since(l.seen) < max(time.Second, 10*l.took) {
		return l.held, l.fails
	}
	begun := time.Now()
	held, err := l.rules.Held(ctx, l.limited())
	if err != nil && !errors.Is(err, ErrTooMuch) {
		return nil, err
	}
	counts := map[string]int64{}
	for key, holders := range held {
		for _, n := range holders {
			counts[key] += int64(n)
		}
	}
	l.held, l.fails, l.seen, l.took = counts, err, time.Now(), time.Since(begun)
	return l.held, l.fails
}

// Holders are those who hold an item.
type Holders struct {
	Containers map[string]bool // by ID
	// Addrs are those of machines from which somebody does whose container is not known: that has connected to the
	// queue of another machine, which does not see it.
	Addrs map[string]bool
}

// May reports whether a container on the machine that has an address may hold an item.
func (h Holders) May(container, addr string) bool { return h.Containers[container] || h.Addrs[addr] }

// Holding returns who holds an item. The error is ErrTooMuch where they are too many.
func (l *Leases) Holding(ctx context.Context) (Holders, error) {
	holders, err := lease.Holders(ctx, l.limited()) // those that hold something
	is := Holders{Containers: map[string]bool{}, Addrs: map[string]bool{}}
	for _, h := range holders {
		if h.From != "" {
			is.Addrs[h.From] = true
			continue
		}
		is.Containers[ContainerOf(h.ID)] = true
	}
	return is, err
}

// Lease is an item that a consumer holds.
type Lease struct {
	Key, Item string
	Container string    // its short ID; of a consumer that is in none, the name of its connection
	Name      string    // of the container, or where the connection comes from
	Node      string    // the ID of that which the consumer is on, or connected to
	Since     time.Time // it was popped
}

// List returns up to n items that consumers hold, of a key or of all where it is empty, and whether there are, or may
// be, more.
func (l *Leases) List(ctx context.Context, key string, n int) (list []Lease, more bool, err error) {
	do := l.limited()
	for from := ""; ; {
		page, next, err := l.rules.InFlight(ctx, do, from, pageSize)
		if errors.Is(err, ErrTooMuch) {
			return list, true, nil
		}
		if err != nil {
			return nil, false, err
		}
		for _, is := range page {
			if key != "" && is.Key != key {
				continue
			}
			if len(list) == n {
				return list, true, nil
			}
			list = append(list, Lease{
				Key: is.Key, Item: is.Item,
				Container: container(is.Holder.ID), Name: task(is.Holder.Name), Node: is.Holder.Node,
				Since: is.Since,
			})
		}
		if from = next; from == "" {
			return list, false, nil
		}
	}
}

// shortID is as much of a container's ID as Docker shows, and taskID what ends the name of a task's container.
const shortID, taskID = 12, 25

// ContainerOf returns the ID of the container that a holder is, without what tells its runs and its names apart; that
// of a connection where it is none.
func ContainerOf(holder string) string { return script.IDOf(holder) }

// container returns that as people know it.
func container(holder string) string {
	id := ContainerOf(holder)
	if len(id) == 64 {
		id = id[:shortID]
	}
	return id
}

// task returns the name of a task by that of its container.
func task(name string) string {
	i := strings.LastIndexByte(name, '.')
	if i < 0 || len(name)-i-1 != taskID || !strings.Contains(name[:i], ".") {
		return name
	}
	return name[:i]
}

// DeadKeys returns keys that have dead items, sorted, most of them at the most, and whether there may be more.
func (l *Leases) DeadKeys(ctx context.Context, most int) (keys []string, more bool, err error) {
	looked := 0
	for cursor := uint64(0); ; {
		var lists []string
		lists, cursor, err = l.client.ScanType(ctx, cursor, "*"+script.DeadSuffix, scanAtOnce, "list").Result()
		if err != nil {
			return nil, false, err
		}
		looked += scanAtOnce
		for _, name := range lists {
			keys = append(keys, strings.TrimSuffix(name, script.DeadSuffix))
		}
		if more = cursor != 0; !more || looked >= maxKeys {
			break
		}
	}
	slices.Sort(keys)
	keys = slices.Compact(keys)
	return keys[:min(most, len(keys))], more || len(keys) > most, nil
}

// Dead says how many dead items a key has.
type Dead struct {
	Key   string
	Items int64
}

// mostDead is how many keys with dead items are told of.
const mostDead = 1000

// Dead returns the safe keys that have dead items, those with most first. It may be as old as what InFlight returns.
func (l *Leases) Dead(ctx context.Context) ([]Dead, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.looked.IsZero() && time.Since(l.looked) < max(time.Second, 10*l.looking) {
		return l.dead, nil
	}
	begun := time.Now()
	keys, _, err := l.DeadKeys(ctx, mostDead)
	if err != nil {
		return nil, err
	}
	keys = slices.DeleteFunc(keys, func(key string) bool { return !l.Of(key) })
	lens := make([]*redis.IntCmd, len(keys))
	_, err = l.client.Pipelined(ctx, func(p redis.Pipeliner) error {
		for i, key := range keys {
			lens[i] = p.LLen(ctx, DeadOf(key))
		}
		return nil
	})
	var refused redis.Error // one is no list any longer
	if err != nil && !errors.As(err, &refused) {
		return nil, err
	}
	l.dead = nil
	for i, key := range keys {
		if n := lens[i].Val(); n > 0 {
			l.dead = append(l.dead, Dead{key, n})
		}
	}
	slices.SortStableFunc(l.dead, func(a, b Dead) int { return cmp.Compare(b.Items, a.Items) })
	l.looked, l.looking = time.Now(), time.Since(begun)
	return l.dead, nil
}

// Retry puts dead items of a key at the end of its queue, all of them where none is named, and returns how many there
// were. Their deliveries are counted from the beginning.
func (l *Leases) Retry(ctx context.Context, key string, items []string) (int, error) {
	return l.bury(ctx, lease.Retry, key, items)
}

// Drop forgets dead items of a key, all of them where none is named, and returns how many there were.
func (l *Leases) Drop(ctx context.Context, key string, items []string) (int, error) {
	return l.bury(ctx, lease.Drop, key, items)
}

func (l *Leases) bury(ctx context.Context, move func(context.Context, lease.Do, string, ...string) (int, error),
	key string, items []string,
) (moved int, err error) {
	do := lease.Redis(l.client)
	if len(items) > 0 {
		return move(ctx, do, key, items...)
	}
	// Those that are there now: items may die as fast as they are moved.
	there, err := l.client.LLen(ctx, DeadOf(key)).Result()
	for err == nil && int64(moved) < there {
		var some []string
		if some, err = lease.Dead(ctx, do, key, 0, min(deadPage, int(there)-moved)); err != nil || len(some) == 0 {
			break
		}
		var n int
		n, err = move(ctx, do, key, some...)
		if moved += n; n == 0 { // somebody else has moved them
			break
		}
	}
	return moved, err
}
