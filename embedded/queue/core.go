package queue

import (
	"context"
	"log/slog"
	"sync"

	"github.com/crawlbox/crawlbox/embedded/queue/journal"
)

// core joins the store, its journal and those who wait for changes. One mutex
// puts all commands of all clients in a row, as Redis does, and a command's
// effects are appended to the journal before the mutex is let go: the order in
// the journal is the order of execution. Nothing waits for the disk or for
// another client while it holds the mutex.
type core struct {
	journal *journal.Journal
	log     *slog.Logger
	broken  chan struct{} // closed when the store can no longer be trusted

	mu       sync.Mutex
	store    *store
	waiters  waiters
	watchers map[dbKey]map[*session]struct{}
}

func openCore(opts Options, log *slog.Logger) (*core, error) {
	st, err := newStore()
	if err != nil {
		return nil, err
	}
	j, err := journal.Open(opts.Dir, opts.journal(), log, rewrite, st.replayBatch)
	if err != nil {
		st.close()
		return nil, err
	}
	return &core{
		journal: j, log: log, broken: make(chan struct{}),
		store: st, waiters: waiters{}, watchers: map[dbKey]map[*session]struct{}{},
	}, nil
}

// admit waits until the disk can take a write, and returns an error reply when
// it cannot.
func (c *core) admit(ctx context.Context) string {
	if err := c.journal.Admit(ctx); err != nil {
		return replyError("MISCONF crawlbox's queue cannot write to disk and refuses writes until it can: " + err.Error())
	}
	return ""
}

// do runs f alone and commits what it did.
func (c *core) do(f func(*store) string) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	reply := f(c.store)
	c.commit()
	return reply
}

// commit writes the noted effects to the journal and tells those who watch or
// wait for the keys, whose own effects follow.
func (c *core) commit() {
	for !c.store.broken {
		effects := c.store.takeEffects()
		if len(effects) == 0 {
			return
		}
		if err := c.journal.Append(effects); err != nil {
			c.fail("append to the journal", err)
			break
		}
		for _, effect := range effects {
			c.announce(effect)
		}
	}
	c.fail("run a command", errBroken)
}

func (c *core) announce(effect journal.Command) {
	if len(c.watchers) == 0 && len(c.waiters) == 0 {
		return
	}
	if effect.Args[0] == "FLUSHALL" || effect.Args[0] == "FLUSHDB" {
		for k := range c.watchers {
			c.dirty(k)
		}
		return
	}
	for _, k := range touched(effect) {
		c.dirty(k)
		if len(c.waiters[k]) > 0 {
			c.waiters.serve(k, c.store)
		}
	}
}

// dirty makes the transactions of those who watch k fail.
func (c *core) dirty(k dbKey) {
	for s := range c.watchers[k] {
		s.dirty = true
	}
}

// fail gives the store up: it may differ from the journal, which is the truth.
func (c *core) fail(what string, err error) {
	c.store.broken = true
	select {
	case <-c.broken:
	default:
		c.log.Error("the queue's memory can no longer be trusted and is loaded again from disk", "during", what, "error", err)
		close(c.broken)
	}
}

// expire deletes keys whose time has come though nobody asks for them.
func (c *core) expire() {
	c.do(func(s *store) string {
		s.expireSome(expireBatch)
		return ""
	})
}
