package queue

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"time"

	"github.com/crawlbox/crawlbox/appliance/base/clock"
	"github.com/crawlbox/crawlbox/embedded/queue/admission"
	"github.com/crawlbox/crawlbox/embedded/queue/engine"
	"github.com/crawlbox/crawlbox/embedded/queue/resp"
)

// errNoRoom refuses what does not fit into the memory that clients share.
var errNoRoom = errors.New("OOM the request does not fit into the queue's memory: raise queue.max_memory")

// session holds what the queue remembers of one client. Its connection alone uses
// it, except for what core.mu guards.
type session struct {
	server *Server
	core   *core
	out    *output
	share  *admission.Share // of the memory for what waits
	id     int64
	addr   string
	began  time.Time

	c         engine.Context // its Out is what the client gets
	guest     admission.Guest
	unserved  atomic.Int32 // commands so far that are not served
	replyMode replyMode
	inExec    bool // core.mu is held

	multi    bool
	length   atomic.Int64 // of the transaction, for CLIENT LIST; -1: none
	aborted  bool         // a command of the transaction was refused when it was queued
	queued   [][]string
	taken    int // bytes of room for the request under way
	held     int // and for the transaction
	watched  []engine.Key
	watching int // bytes of room for them

	dead atomic.Bool // the connection was ended from here: it gets no item

	// Guarded by core.mu.
	db       int
	name     string
	last     time.Time
	cmd      string
	dirty    bool // a watched key has changed
	waiting  *waiter
	channels map[string]struct{}
	patterns map[string]struct{}
}

// replyMode holds what CLIENT REPLY sets.
type replyMode int

const (
	replyOn replyMode = iota
	replyOff
	replySkip // the next one
	replySkipped
)

// take asks for room for the request under way.
func (s *session) take(n int) error {
	if !s.share.Take(n) {
		return errNoRoom
	}
	s.taken += n
	return nil
}

// handle runs one command. The waiter, when not nil, belongs to a blocking command
// has to wait for; its reply then comes later.
func (s *session) handle(ctx context.Context, args []string) *waiter {
	defer s.mute(len(s.c.Out.Buf))
	asked, name := args[0], strings.ToUpper(args[0])
	args[0] = name
	own, data := serverCommands[name], engine.Lookup(name)
	switch {
	case own == nil && data == nil:
		s.refuse(unknown(asked, args[1:]))
		s.unserved.Add(1)
	case own != nil && !own.arityOK(len(args)) || data != nil && !data.ArityOK(len(args)):
		s.refuse(abortedBy(name, engine.WrongArity(name)))
	case !s.guest.Authed && (own == nil || !own.anyone):
		s.c.Out.Error(abortedBy(name, "NOAUTH Authentication required."))
	case !s.c.Out.V3 && s.subscriptions() > 0 && (own == nil || !own.subscribed):
		if name == "CLIENT" || name == "CONFIG" || name == "COMMAND" || name == "PUBSUB" {
			name = strings.Join(args[:min(2, len(args))], "|")
		}
		s.c.Out.Error("ERR Can't execute '" + strings.ToLower(name) +
			"': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are allowed in this context")
	case s.multi && (own == nil || !own.atOnce):
		s.enqueue(args, own != nil && own.alone)
	case own != nil:
		own.run(ctx, s, args)
	default:
		return s.runData(ctx, data, args)
	}
	return nil
}

// release ends a request.
func (s *session) release() {
	s.share.Give(s.taken)
	s.taken = 0
}

// mute drops a reply, which begins at a place in the output, if the client wants none.
func (s *session) mute(from int) {
	switch s.replyMode {
	case replyOn:
		return
	case replySkipped:
		s.replyMode = replyOn
	case replySkip:
		s.replyMode = replySkipped
	}
	s.c.Out.Buf = s.c.Out.Buf[:min(from, len(s.c.Out.Buf))] // what was sent meanwhile is sent
}

func (s *session) refuse(msg string) {
	s.aborted = s.multi
	s.c.Out.Error(msg)
}

// abortedBy returns the error when a command is refused, which for EXEC says more.
func abortedBy(name, msg string) string {
	if name == "EXEC" {
		return "EXECABORT Transaction discarded because of: " + strings.TrimPrefix(msg, "ERR ")
	}
	return msg
}

// unknown returns the error for a command that is not served.
func unknown(name string, args []string) string {
	if msg := engine.Refusal(strings.ToUpper(name)); msg != "" {
		return msg
	}
	var b strings.Builder
	for _, arg := range args {
		if b.Len() >= 128 {
			break
		}
		b.WriteString("'" + arg[:min(len(arg), 128-b.Len())] + "' ")
	}
	return "ERR unknown command '" + name[:min(len(name), 128)] + "', with args beginning with: " + b.String()
}

// slowDown holds up a client that goes on asking for what is not served: some ask
// again at once, for ever.
func (s *session) slowDown(ctx context.Context) {
	const patience, longest = 10, time.Second
	if s.unserved.Load() <= patience || !s.guest.Authed { // strangers have little time anyway
		return
	}
	_ = clock.Sleep(ctx, min(longest, time.Duration(s.unserved.Load()-patience)*10*time.Millisecond))
}

func (s *session) runData(ctx context.Context, cmd *engine.Command, args []string) (w *waiter) {
	if cmd.Write {
		if failed := s.core.admit(ctx); failed != "" {
			s.c.Out.Error(failed)
			return nil
		}
	}
	from := len(s.c.Out.Buf)
	ok := s.core.try(func() {
		s.note(args)
		s.c.Wait = true
		s.core.engine.Run(&s.c, cmd, s.db, args)
		if s.c.Block != nil {
			w = s.wait(s.c.Block)
		}
	}, func(err error) bool {
		if cmd.Write {
			return false
		}
		s.core.log.Error("internal error in a command that reads", "command", cmd.Name, "error", err)
		s.c.Out.Buf = s.c.Out.Buf[:from]
		s.c.Out.Error("ERR internal error; see journalctl -u crawlbox")
		return true
	})
	s.guest.Quit = s.guest.Quit || !ok
	if s.c.Unserved {
		s.unserved.Add(1)
	}
	return w
}

// wait has the client wait, if there is room for that. core.mu is held.
func (s *session) wait(b *engine.Block) *waiter {
	const each = 250 // bytes that a key takes here
	size := 0
	for _, key := range b.Keys {
		size += each + len(key.Name)
	}
	if !s.share.Take(size) {
		s.c.Out.Error(errNoRoom.Error())
		return nil
	}
	w := &waiter{
		Block:   b,
		session: s,
		size:    size,
		v3:      s.c.Out.V3,
		reply:   make(chan []byte, 1),
	}
	s.waiting = w
	s.core.wait(w)
	s.server.blocked.Add(1)
	return w
}

// do runs f under the core's lock. Without a core the connection ends.
func (s *session) do(f func()) {
	if !s.core.do(f) {
		s.guest.Quit = true
	}
}

// note remembers the last command, for CLIENT LIST.
func (s *session) note(args []string) {
	s.last, s.cmd = time.Now(), args[0]
}

// giveUp ends a wait. It returns the reply that came at the last moment, or the
// one that says time is up; none when the client is gone.
func (s *session) giveUp(w *waiter, expired bool) []byte {
	s.core.mu.Lock()
	defer s.core.mu.Unlock()
	s.core.leave(w)
	select {
	case reply := <-w.reply:
		return reply
	default:
	}
	if !expired {
		return nil
	}
	out := resp.Writer{V3: w.v3}
	out.NullArray()
	return out.Buf
}

// unblock ends another client's wait and reports whether it waits.
func (s *session) unblock(msg string) bool {
	w := s.waiting
	if w == nil || len(w.reply) > 0 {
		return false
	}
	out := resp.Writer{V3: w.v3}
	if msg != "" {
		out.Error(msg)
	} else {
		out.NullArray()
	}
	s.core.leave(w)
	w.reply <- out.Buf
	return true
}

func (s *session) enqueue(args []string, alone bool) {
	size := 64
	for _, arg := range args {
		size += 40 + len(arg)
	}
	switch {
	case alone:
		s.refuse("ERR Command not allowed inside a transaction")
	case !s.share.Take(size):
		s.refuse(errNoRoom.Error())
		s.share.Give(s.held) // it will not be run
		s.queued, s.held = nil, 0
	default:
		s.held += size
		s.queued = append(s.queued, args)
		s.length.Store(int64(len(s.queued)))
		s.c.Out.Status("QUEUED")
	}
}

// exec runs the transaction. Its effects are one record of the journal.
func (s *session) exec(ctx context.Context) {
	if !s.multi {
		s.c.Out.Error("ERR EXEC without MULTI")
		return
	}
	queued, aborted := s.queued, s.aborted
	defer s.discard()
	if aborted {
		s.c.Out.Error("EXECABORT Transaction discarded because of previous errors.")
		return
	}
	for _, args := range queued {
		if cmd := engine.Lookup(args[0]); cmd != nil && cmd.Write {
			if failed := s.core.admit(ctx); failed != "" {
				s.c.Out.Error(failed)
				return
			}
			break
		}
	}
	s.multi = false
	s.do(func() {
		for _, key := range s.watched { // one whose time has come has changed
			s.core.engine.Tick()
			s.core.engine.Alive(key)
		}
		s.core.commit()
		if s.dirty {
			s.c.Out.NullArray()
			return
		}
		s.c.Out.Array(len(queued))
		s.c.Wait, s.inExec = false, true
		defer func() { s.inExec = false }()
		for _, args := range queued {
			s.core.progress()
			if cmd := engine.Lookup(args[0]); cmd != nil {
				s.core.engine.Run(&s.c, cmd, s.db, args)
			} else {
				serverCommands[args[0]].run(ctx, s, args)
			}
			if s.c.Out.Over { // or what was to be read would be deleted by what follows
				break
			}
		}
		s.note([]string{"EXEC"})
	})
}

// discard ends a transaction, whatever became of it.
func (s *session) discard() {
	s.share.Give(s.held)
	s.multi, s.aborted, s.queued, s.held = false, false, nil, 0
	s.length.Store(-1)
	s.core.mu.Lock()
	defer s.core.mu.Unlock()
	s.unwatch()
}

// watch remembers keys, or reports that there is no room for them. core.mu is held.
func (s *session) watch(keys []string) bool {
	s.core.engine.Tick()
	for _, name := range keys {
		key := engine.Key{DB: s.db, Name: name}
		s.core.engine.Alive(key) // or its end would count as a change
		s.core.commit()
		if s.core.watchers[key] == nil {
			s.core.watchers[key] = map[*session]struct{}{}
		}
		if _, known := s.core.watchers[key][s]; known {
			continue
		}
		if size := 400 + len(name); s.share.Take(size) {
			s.watching += size
			s.core.watchers[key][s] = struct{}{}
			s.watched = append(s.watched, key)
			continue
		}
		s.unwatch()
		return false
	}
	return true
}

// unwatch forgets them. core.mu is held.
func (s *session) unwatch() {
	for _, key := range s.watched {
		delete(s.core.watchers[key], s)
		if len(s.core.watchers[key]) == 0 {
			delete(s.core.watchers, key)
		}
	}
	s.share.Give(s.watching)
	s.watched, s.watching, s.dirty = nil, 0, false
}

// die ends the client's connection from another one. It waits for nothing.
func (s *session) die() {
	s.dead.Store(true)
	admission.Innermost(s.out.conn).Close()
}

// end lets go of everything when the client is gone.
func (s *session) end() {
	s.discard()
	s.share.Leave()
	s.core.mu.Lock()
	defer s.core.mu.Unlock()
	s.core.hub.leave(s)
	delete(s.core.sessions, s.id)
}
