// Package keeper keeps the leases of a front's clients: it has the front send what pops of safe
// keys become (package lease), knows by its connection which container a client is in, and
// gives back what a container held once that has ended without being done.
//
// # Who holds
//
// A client in a container of the cluster pops for its container, all others for their
// connection. [Containers] tells which it is, and when a container ends. What a connection
// held goes back when it ends, what a container held when that ends with another code than 0.
//
// # Replies that are lost
//
// When it is not sure that a client has had the reply to a pop, its items go back before its
// holder pops again: the connection to the engine was lost, or that of the client, or it
// left while it waited. After a start that are the last pops of all connections of the keeper
// before, and when a client hears of an engine that can't be used, those of its container: it may
// forget what it holds. So an item may be handed out twice, and none is lost with a reply.
//
// # Waiting
//
// A client that waits for an item of a safe key waits here: for a keyspace notification of
// the engine, where it has these on, and for some time that grows to half a second in any
// case. Of those that wait for a key at one keeper the first to come is woken first, and it alone looks.
package keeper

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/crawlbox/crawlbox/appliance/base/bound"
	"github.com/crawlbox/crawlbox/appliance/base/clock"
	"github.com/crawlbox/crawlbox/embedded/queue/front"
	"github.com/crawlbox/crawlbox/embedded/queue/lease"
	"github.com/crawlbox/crawlbox/embedded/queue/lease/script"
)

// Container is one of the cluster's.
type Container struct{ ID, Name string }

// Containers tells of the containers of this node. Many goroutines call it.
type Containers interface {
	// Who returns the container that a connection comes from which was accepted at a time, one without an ID where it
	// is none of this node's.
	Who(ctx context.Context, client net.Conn, accepted time.Time) (Container, error)
	// Ended waits until a container has ended, and reports whether it did so with code 0. Of
	// one that nobody knows any more it reports false at once.
	Ended(ctx context.Context, id string) (clean bool, err error)
}

// Options say what is kept where.
type Options struct {
	Rules      lease.Rules
	Node       string // the ID of this node
	Engine     front.Engine
	Containers Containers // nil: all clients are known by their connections
}

const (
	sweepPause   = 30 * time.Second // between two looks for what nobody watches
	leastPause   = 50 * time.Millisecond
	longestPause = 10 * time.Second
	whoTimeout   = 5 * time.Second
	settleAgain  = time.Second // after which an engine has done what it had read of a connection
)

// Keeper implements [front.Rewriter]. Run has to run for it to let anybody pop.
type Keeper struct {
	opts  Options
	log   *slog.Logger
	run   string // begins the names of connections
	conns atomic.Uint64
	bells bells
	ready chan struct{} // closed when what was left by the keeper before is given back

	group sync.WaitGroup

	upMu    sync.Mutex
	missing map[string]bool // nodes that were not up the last time

	mu      sync.Mutex
	ctx     context.Context       // of Run; nil: it does not run
	engines map[int]*redis.Client // by database
	holders map[string]*holder    // those that have popped and have not ended
	alive   map[string]struct{}   // connections that are holders
	held    map[int]heldAt        // by database
}

// heldAt is how many items of each key somebody held at a time.
type heldAt struct {
	at   time.Time
	keys map[string]map[string]int
}

// New returns a keeper. The rules have to be valid.
func New(opts Options, log *slog.Logger) *Keeper {
	return &Keeper{
		opts:    opts,
		log:     log,
		run:     strings.ToLower(rand.Text()[:8]),
		ready:   make(chan struct{}),
		engines: map[int]*redis.Client{},
		holders: map[string]*holder{},
		alive:   map[string]struct{}{},
		held:    map[int]heldAt{},
		bells:   bells{waiting: map[string][]*waiter{}},
	}
}

// Commands implements [front.Rewriter].
func (k *Keeper) Commands() []string { return lease.Commands() }

// Prepare implements [front.Rewriter].
func (k *Keeper) Prepare() (commands [][]string) {
	for _, s := range script.All {
		commands = append(commands, []string{"SCRIPT", "LOAD", s.Text})
	}
	return commands
}

// Run gives back what was left behind, and then what holders that end leave, until ctx ends. It
// may be called once, before the front runs.
func (k *Keeper) Run(ctx context.Context) {
	k.mu.Lock()
	k.ctx = ctx
	k.mu.Unlock()
	defer k.close()
	k.bells.listen(k.engine(k.firstDB()))
	k.retry(ctx, "give back what was left behind", func() error { return k.sweep(ctx, true) })
	close(k.ready)
	for clock.Sleep(ctx, sweepPause) == nil {
		if err := k.sweep(ctx, false); err != nil && ctx.Err() == nil {
			k.log.Debug("failed to look for items that nobody watches", "error", err)
		}
	}
}

func (k *Keeper) close() {
	k.mu.Lock()
	k.ctx = nil // nothing begins any more
	k.mu.Unlock()
	k.group.Wait()
	k.bells.close()
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, client := range k.engines {
		client.Close()
	}
}

// background runs f until it returns or Run's context ends.
func (k *Keeper) background(f func(ctx context.Context)) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if ctx := k.ctx; ctx != nil && ctx.Err() == nil {
		k.group.Go(func() { f(ctx) })
	}
}

// retry calls f until it succeeds or ctx ends.
func (k *Keeper) retry(ctx context.Context, what string, f func() error) {
	for pause := leastPause; ctx.Err() == nil; pause = min(2*pause, longestPause) {
		err := f()
		if err == nil {
			return
		}
		if pause == longestPause && ctx.Err() == nil {
			k.log.Warn("failed to give back items that were popped, or to learn whether to; will retry", "what", what,
				"error", err)
		}
		_ = clock.Sleep(ctx, pause)
	}
}

// SetEngine has another engine take the place of the one before, as that of the front does. What was under way with
// that fails, and is tried again where it has to be done.
func (k *Keeper) SetEngine(e front.Engine) {
	k.mu.Lock()
	before, runs := k.engines, k.ctx != nil
	k.opts.Engine, k.engines, k.held = e, map[int]*redis.Client{}, map[int]heldAt{}
	k.mu.Unlock()
	for _, client := range before {
		client.Close()
	}
	if runs {
		k.bells.listen(k.engine(e.DB))
	}
}

// firstDB is the database that clients begin in.
func (k *Keeper) firstDB() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.opts.Engine.DB
}

// engine returns a client of a database.
func (k *Keeper) engine(db int) *redis.Client {
	k.mu.Lock()
	defer k.mu.Unlock()
	if client := k.engines[db]; client != nil {
		return client
	}
	e := k.opts.Engine
	client := redis.NewClient(&redis.Options{
		Addr: e.Name,
		Dialer: func(ctx context.Context, _, _ string) (net.Conn, error) {
			conn, err := e.Dial(ctx)
			if err != nil {
				return nil, err
			}
			return bound.Answers(conn, mostAnswer), nil
		},
		Username:              e.User,
		Password:              e.Password,
		DB:                    db,
		Protocol:              2,
		PoolSize:              4,
		ContextTimeoutEnabled: true,
		OnConnect:             func(ctx context.Context, conn *redis.Conn) error { return through(ctx, e, conn, db) },
	})
	k.engines[db] = client
	return client
}

// through has a front before an engine leave what a connection says as it is.
func through(ctx context.Context, e front.Engine, conn *redis.Conn, db int) error {
	if !e.Front {
		return nil
	}
	if err := conn.Do(ctx, front.Through).Err(); err != nil {
		return fmt.Errorf("get to the engine by a front: %w", err)
	}
	return conn.Select(ctx, db).Err() // where the connection begins the front decides
}

func (k *Keeper) do(db int) lease.Do { return lease.Redis(k.engine(db)) }

// sweep settles what connections of a keeper before held on this node, and watches the
// containers of this node that hold something. The first time nobody has popped yet, and what
// may not have reached a client goes back.
func (k *Keeper) sweep(ctx context.Context, first bool) error {
	mine := func(h lease.Holding) bool { return h.Node == k.opts.Node }
	return k.each(ctx, mine, func(db int, h lease.Holding, all []lease.Holding) error {
		return k.adopt(ctx, db, h.ID, all, first)
	})
}

// mostHolders are those of a database that are looked at, and mostAnswer bounds an answer of the engine, in bytes.
const mostHolders, mostAnswer = 10_000, 128 << 20

// each calls fn with each holder that is wanted, and all those of its database, up to the first error. What a client
// has spoilt keeps nothing else from being given back.
func (k *Keeper) each(ctx context.Context, want func(lease.Holding) bool,
	fn func(db int, h lease.Holding, all []lease.Holding) error,
) error {
	dbs, err := k.databases(ctx)
	if err != nil {
		return err
	}
	var spoilt error
	passed := func(err error) bool {
		if lease.Spoilt(err) {
			spoilt, err = cmp.Or(spoilt, err), nil
		}
		return err == nil
	}
	for _, db := range dbs {
		all, err := lease.SomeHolders(ctx, k.do(db), mostHolders, want)
		if !passed(err) {
			return err
		}
		for _, h := range all {
			if err := fn(db, h, all); !passed(err) {
				return err
			}
		}
	}
	if spoilt != nil {
		k.log.Warn("items can't be given back, since a client of the queue has changed where they are", "error", spoilt)
	}
	return nil
}

// adopt takes care of what is held under a name.
func (k *Keeper) adopt(ctx context.Context, db int, name string, all []lease.Holding, first bool) error {
	id, run, epoch := parseName(name)
	if strings.HasPrefix(id, connPrefix) {
		k.mu.Lock()
		_, alive := k.alive[id]
		k.mu.Unlock()
		if alive {
			return nil
		}
		_, err := k.opts.Rules.Settle(ctx, k.do(db), name, lease.Back)
		return err
	}
	if k.known(id) == nil && k.full() {
		return nil // a spider has made them up
	}
	h := k.container(id)
	h.took(db)
	h.giving.Lock()
	defer h.giving.Unlock()
	unsure := func() error {
		_, err := k.opts.Rules.Unsure(ctx, k.do(db), h.name(db), h.back(db))
		return err
	}
	switch {
	case run == k.run && h.doubts() != nil:
		return nil
	case run == k.run && h.name(db) == name:
		if first { // this is not the first attempt
			return unsure()
		}
		return nil
	case first && !slices.ContainsFunc(all, func(other lease.Holding) bool {
		otherID, otherRun, later := parseName(other.ID)
		return otherID == id && otherRun == run && later > epoch
	}):
		// What the keeper before has sent may still be done, under the old name.
		// Whether it was moved is not always known: a reply to that may be lost as well.
		if err := k.rename(ctx, db, name, h.name(db)); err != nil {
			return err
		}
		if err := unsure(); err != nil {
			return err
		}
	}
	_, err := lease.UndoAll(ctx, k.do(db), name) // the engine was late
	return err
}

// Up gives back what is held on other nodes than those that are up, whose IDs are given. A node has to be missing twice
// in a row: one may have joined a moment ago. A list without this node says nothing, nor does one while another is
// worked on.
func (k *Keeper) Up(ctx context.Context, nodes []string) error {
	if !slices.Contains(nodes, k.opts.Node) || !k.upMu.TryLock() {
		return nil
	}
	defer k.upMu.Unlock()
	missing := map[string]bool{}
	lost := func(h lease.Holding) bool { return h.Node != "" && !slices.Contains(nodes, h.Node) }
	err := k.each(ctx, lost, func(db int, h lease.Holding, _ []lease.Holding) error {
		if missing[h.Node] = true; !k.missing[h.Node] {
			return nil
		}
		settled, err := k.opts.Rules.Settle(ctx, k.do(db), h.ID, lease.Back)
		if settled.Ended > 0 {
			k.log.Info("gave back what was held on a node that is gone", "holder", h.ID, "node", h.Node, "items",
				settled.Ended, "dead", settled.Dead)
		}
		return err
	})
	if err == nil {
		k.missing = missing
	}
	return err
}

// databases returns those in which somebody holds something.
func (k *Keeper) databases(ctx context.Context) ([]int, error) {
	used, err := lease.Databases(ctx, k.do(k.firstDB()))
	if err != nil {
		return nil, err
	}
	var dbs []int
	for _, db := range used {
		n, err := k.engine(db).Exists(ctx, script.Holders).Result()
		if err != nil {
			return nil, fmt.Errorf("read whether somebody holds items in database %d: %w", db, err)
		}
		if n > 0 {
			dbs = append(dbs, db)
		}
	}
	return dbs, nil
}

// others reports whether somebody else than one holder holds items of a key. It is as old as a
// quarter of a second.
func (k *Keeper) others(ctx context.Context, db int, keys []string, than string) bool {
	k.mu.Lock()
	now := k.held[db]
	k.mu.Unlock()
	if time.Since(now.at) > 250*time.Millisecond {
		held, err := k.opts.Rules.Held(ctx, k.do(db))
		if err != nil {
			return false
		}
		now = heldAt{time.Now(), held}
		k.mu.Lock()
		k.held[db] = now
		k.mu.Unlock()
	}
	for _, key := range keys {
		for holder := range now.keys[key] {
			if id, _, _ := parseName(holder); id != than {
				return true
			}
		}
	}
	return false
}

// errNotReady refuses pops while what was left behind is not given back.
var errNotReady = errors.New("LOADING items that were left behind are not yet given back: try again")
