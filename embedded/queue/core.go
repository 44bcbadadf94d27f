package queue

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/crawlbox/crawlbox/appliance/base/clock"
	"github.com/crawlbox/crawlbox/embedded/queue/engine"
	"github.com/crawlbox/crawlbox/embedded/queue/journal"
)

// errBroken says that the data in memory may differ from the journal.
var errBroken = errors.New("internal error: the data in memory can no longer be trusted")

// core joins the engine, its journal, and those who wait for changes. One mutex
// puts all commands of all clients in a row, as Redis does, and a command's
// effects are appended to the journal before the mutex is let go: the order in
// the journal is the order of execution. Nothing waits for the disk or for a
// client while it holds the mutex.
type core struct {
	journal *journal.Journal
	log     *slog.Logger
	broken  chan struct{} // closed when what is in memory may differ from the journal

	commands atomic.Uint64
	began    atomic.Int64 // Unix time in ns of the command under way; 0: none
	keys     atomic.Int64
	used     atomic.Int64

	mu       sync.Mutex
	failed   bool // broken is closed
	engine   *engine.Engine
	snapshot *engine.Snapshot
	waiters  map[engine.Key][]*waiter // in the order they came
	watchers map[engine.Key]map[*session]struct{}
	sessions map[int64]*session
	hub      hub
}

// waiter is a client in a blocking command.
type waiter struct {
	*engine.Block
	session *session
	size    int // bytes of room for it
	v3      bool
	reply   chan []byte // has room for the one reply
}

func openCore(opts Options, log *slog.Logger) (*core, error) {
	c := &core{
		log:      log,
		broken:   make(chan struct{}),
		engine:   engine.New(opts.dataBound()),
		waiters:  map[engine.Key][]*waiter{},
		watchers: map[engine.Key]map[*session]struct{}{},
		sessions: map[int64]*session{},
		hub:      newHub(),
	}
	c.engine.Flushing = c.flushing
	var err error
	// The last command may have made the data larger than it may be, by what one
	// request holds; beyond that the bound was lowered.
	c.journal, err = journal.Open(opts.Dir, opts.journal(), log, c, func(batch []journal.Command) error {
		if err := c.engine.Replay(batch); err != nil {
			return err
		}
		if opts.MaxMemory > 0 && c.engine.Used() > opts.MaxMemory {
			return errTooLarge
		}
		return nil
	})
	return c, err
}

// errTooLarge says that the data on disk needs more memory than it may take.
var errTooLarge = fmt.Errorf("the data needs more memory than queue.max_memory allows: raise it")

// Begin implements [journal.Source].
func (c *core) Begin(cut func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.snapshot = c.engine.Begin(&c.mu)
	cut()
}

// Each implements [journal.Source].
func (c *core) Each(emit func([]journal.Command) error) error { return c.snapshot.Each(emit) }

// End implements [journal.Source].
func (c *core) End() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.snapshot == nil {
		return
	}
	c.snapshot.End()
	c.snapshot = nil
	if c.engine.Used() > muchData {
		go debug.FreeOSMemory() // what the rewrite took
	}
}

// muchData is how much data a queue has whose rewrites take memory worth giving back.
const muchData = 64 << 20

// admit waits until the disk can take a write, and returns an error reply when it
// cannot.
func (c *core) admit(ctx context.Context) string {
	if err := c.journal.Admit(ctx); err != nil {
		return "MISCONF crawlbox's queue cannot write to disk and refuses writes until it can: " + err.Error()
	}
	return ""
}

// do runs f alone and keeps what it changed. It reports false when the core is,
// or now got, broken.
func (c *core) do(f func()) (ok bool) {
	return c.try(f, func(error) bool { return false })
}

// try is do for what may panic: harmless hears of it, and reports whether nothing was
// changed.
func (c *core) try(f func(), harmless func(error) bool) (ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.failed {
		return false
	}
	defer func() {
		p := recover()
		if p == nil {
			return
		}
		err := fmt.Errorf("panic: %v\n%s", p, debug.Stack())
		c.began.Store(0)
		if ok = harmless(err); !ok {
			c.fail(err)
		}
	}()
	c.began.Store(time.Now().UnixNano())
	c.engine.Notify = c.hub.hears > 0
	f()
	c.commit()
	c.began.Store(0)
	c.commands.Add(1)
	c.used.Store(c.engine.Used())
	return !c.failed
}

// progress says that one more command was done.
func (c *core) progress() {
	c.commands.Add(1)
	c.began.Store(time.Now().UnixNano())
}

// commit appends what commands changed to the journal and serves those who watch
// or wait for the keys, whose own changes follow.
func (c *core) commit() {
	for {
		effects, touched := c.engine.Effects()
		c.hub.notify(c.engine.Events())
		if len(effects) > 0 {
			if err := c.journal.Append(effects); err != nil {
				c.fail(err)
				return
			}
		}
		if len(touched) == 0 || len(c.watchers)+len(c.waiters) == 0 {
			return
		}
		changed := map[engine.Key]struct{}{} // once each, however often
		for _, key := range slices.Clone(touched) {
			if _, known := changed[key]; !known {
				changed[key] = struct{}{}
				c.dirty(key)
				c.serve(key)
			}
		}
	}
}

// flushing makes the transactions fail that watch a key that goes.
func (c *core) flushing(db int) {
	for key := range c.watchers {
		if key.DB == db && c.engine.Alive(key) {
			c.dirty(key)
		}
	}
}

// fail gives the core up: its memory may differ from the journal, which is right.
func (c *core) fail(err error) {
	c.log.Error("internal error: the queue's memory can no longer be trusted", "error", err)
	c.failed = true
	close(c.broken)
}

// dirty makes the transactions of those who watch a key fail.
func (c *core) dirty(key engine.Key) {
	for s := range c.watchers[key] {
		s.dirty = true
	}
}

// serve gives what now is at a key to those who wait for it, the one that waits
// longest first.
func (c *core) serve(key engine.Key) {
	for len(c.waiters[key]) > 0 {
		served := false
		for _, w := range c.waiters[key] {
			if w.session.dead.Load() {
				c.leave(w)
				served = true // look again
				break
			}
			ctx := engine.Context{}
			ctx.Out.V3, ctx.Out.Limit = w.v3, w.session.c.Out.Limit
			if served = c.engine.Serve(&ctx, w.Block, key); served {
				c.leave(w)
				w.reply <- ctx.Out.Buf
				break
			}
		}
		if !served {
			return
		}
	}
}

func (c *core) wait(w *waiter) {
	for _, key := range w.Keys {
		c.waiters[key] = append(c.waiters[key], w)
	}
}

// leave ends a wait; again, it does nothing.
func (c *core) leave(w *waiter) {
	if w.session.waiting != w {
		return
	}
	w.session.waiting = nil
	w.session.share.Give(w.size)
	w.session.server.blocked.Add(-1)
	for _, key := range w.Keys {
		rest := slices.DeleteFunc(c.waiters[key], func(other *waiter) bool { return other == w })
		if c.waiters[key] = rest; len(rest) == 0 {
			delete(c.waiters, key)
		}
	}
}

const (
	expirePause = 100 * time.Millisecond // between two looks for keys whose time has come
	expireBatch = 500                    // keys deleted while others wait
)

// expire deletes keys whose time has come though nobody asks for them, until ctx
// ends. It goes on until it has caught up.
func (c *core) expire(ctx context.Context) {
	for {
		for more := c.journal.Err() == nil; more && ctx.Err() == nil; {
			var n int64
			ok := c.do(func() {
				more = c.engine.Expire(expireBatch)
				for db := range engine.Databases {
					keys, _ := c.engine.Keys(db)
					n += int64(keys)
				}
			})
			more = more && ok && c.admit(ctx) == ""
			c.keys.Store(n)
		}
		if clock.Sleep(ctx, expirePause) != nil {
			return
		}
	}
}
