package queue

import (
	"context"
	"net/netip"
	"strconv"
	"strings"
)

// maxQueued bounds the commands of one transaction.
const maxQueued = 100_000

// session is what the queue remembers of one client. Its connection alone uses
// it, but for dirty.
type session struct {
	server *Server
	core   *core
	resp3  bool
	authed bool
	quit   bool
	db     int
	name   string
	id     int64

	from     netip.Prefix // where the client is
	guesses  int          // wrong passwords so far
	refusals int          // attempts that came too early

	multi   bool
	aborted bool // a command of the transaction was refused when it was queued
	queued  []call

	watched []dbKey
	dirty   bool // a watched key has changed; guarded by core.mu
}

// handle runs one command. wait, when not nil, is what a blocking command has to
// wait for; its reply then comes later.
func (s *session) handle(ctx context.Context, args []string) (reply string, wait *waiter) {
	name := strings.ToUpper(args[0])
	args = append([]string{name}, args[1:]...)
	if own, ok := sessionCommands[name]; ok {
		return s.handleOwn(ctx, own, args), nil
	}
	if !s.authed {
		return errNoAuth, nil
	}
	if name == "EXEC" {
		return s.exec(ctx), nil
	}
	cmd, ok := commands[name]
	if !ok {
		s.aborted = s.multi
		return refuse(name, args[1:]), nil
	}
	if !cmd.arityOK(len(args)) {
		s.aborted = s.multi
		return errWrongArgs(name), nil
	}
	c := call{db: s.db, resp3: s.resp3, args: args}
	if s.multi {
		return s.enqueue(c), nil
	}
	if cmd.write {
		if failed := s.core.admit(ctx); failed != "" {
			return failed, nil
		}
	}
	if cmd.block != nil {
		return s.block(cmd, c)
	}
	return s.core.do(func(st *store) string { return st.exec(c) }), nil
}

func (s *session) handleOwn(ctx context.Context, own sessionCommand, args []string) string {
	if !s.authed && !own.anyone {
		return errNoAuth
	}
	if n := len(args); n < own.least || own.most > 0 && n > own.most {
		s.aborted = s.multi
		return errWrongArgs(args[0])
	}
	return own.run(ctx, s, args)
}

func (s *session) enqueue(c call) string {
	if len(s.queued) >= maxQueued {
		s.aborted = true
		return replyError("ERR a transaction holds at most " + strconv.Itoa(maxQueued) + " commands")
	}
	s.queued = append(s.queued, c)
	return replyQueued
}

func (s *session) block(cmd *command, c call) (reply string, wait *waiter) {
	reply = s.core.do(func(st *store) string {
		r, failed := cmd.block(st, c)
		if failed != "" {
			return failed
		}
		reply, done := r.try(st)
		switch {
		case done:
			return reply
		case r.timeout < 0:
			return r.empty
		}
		wait = &waiter{request: r, reply: make(chan string, 1)}
		s.core.waiters.add(wait)
		s.server.blocked.Add(1)
		return ""
	})
	return reply, wait
}

// giveUp ends a wait. It returns the reply that came at the last moment, or the
// one that says time is up.
func (s *session) giveUp(w *waiter) string {
	s.core.mu.Lock()
	defer s.core.mu.Unlock()
	s.core.waiters.remove(w)
	select {
	case reply := <-w.reply:
		return reply
	default:
		return w.empty
	}
}

func (s *session) begin() string {
	if s.multi {
		return replyError("ERR MULTI calls can not be nested")
	}
	s.multi = true
	return replyOK
}

func (s *session) discard() string {
	if !s.multi {
		return replyError("ERR DISCARD without MULTI")
	}
	s.reset()
	return replyOK
}

// exec runs the transaction. Its effects are one record of the journal.
func (s *session) exec(ctx context.Context) string {
	if !s.multi {
		return replyError("ERR EXEC without MULTI")
	}
	defer s.reset()
	if s.aborted {
		return replyError("EXECABORT Transaction discarded because of previous errors.")
	}
	for _, c := range s.queued {
		if !commands[c.args[0]].write {
			continue
		}
		if failed := s.core.admit(ctx); failed != "" {
			return failed
		}
		break
	}
	return s.core.do(func(st *store) string {
		if s.dirty {
			return replyNullArray(s.resp3)
		}
		var b strings.Builder
		b.WriteString(replyArrayLen(len(s.queued)))
		for _, c := range s.queued {
			if commands[c.args[0]].block != nil {
				b.WriteString(st.try(c))
				continue
			}
			b.WriteString(st.exec(c))
		}
		return b.String()
	})
}

// reset ends a transaction, whatever became of it.
func (s *session) reset() {
	s.multi, s.aborted, s.queued = false, false, nil
	s.unwatch()
}

func (s *session) watch(keys []string) string {
	if s.multi {
		return replyError("ERR WATCH inside MULTI is not allowed")
	}
	s.core.mu.Lock()
	defer s.core.mu.Unlock()
	now := s.core.store.unixMilli()
	for _, k := range dbKeys(s.db, keys) {
		s.core.store.expireKey(k, now) // or its end would count as a change
		s.watched = append(s.watched, k)
	}
	s.core.commit()
	for _, k := range dbKeys(s.db, keys) {
		if s.core.watchers[k] == nil {
			s.core.watchers[k] = map[*session]struct{}{}
		}
		s.core.watchers[k][s] = struct{}{}
	}
	return replyOK
}

func (s *session) unwatch() {
	s.core.mu.Lock()
	defer s.core.mu.Unlock()
	for _, k := range s.watched {
		delete(s.core.watchers[k], s)
		if len(s.core.watchers[k]) == 0 {
			delete(s.core.watchers, k)
		}
	}
	s.watched, s.dirty = nil, false
}
