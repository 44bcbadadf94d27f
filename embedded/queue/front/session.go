package front

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/crawlbox/crawlbox/embedded/queue/admission"
	"github.com/crawlbox/crawlbox/embedded/queue/resp"
)

const (
	writeTimeout  = 2 * time.Minute // for a client that takes nothing of what is there for it
	deadlineStep  = 5 * time.Second // by which that is inexact
	quitTimeout   = 5 * time.Second // for the last replies
	lingerTimeout = time.Second     // for the client to read why its connection ends
)

var (
	// errNoRoom refuses what does not fit into the memory that clients share.
	errNoRoom = errors.New("OOM the request does not fit into the memory of the queue's front: raise queue.max_memory")
	// errLost says that the connection to the engine was lost.
	errLost = errors.New("the connection to the queue's engine was lost")
)

// session is one client. Its goroutine reads what the client sends; each link has another, for the replies.
type session struct {
	front     *Server
	client    net.Conn
	accepted  time.Time
	in        *source
	guest     admission.Guest
	welcome   func() // called once, when the password came
	share     *admission.Share
	rewriting Rewriting // nil: nothing is rewritten, or the client has not logged in; changed and called with telling
	telling   sync.Mutex

	// What the engine has to be told anew, and why it can't be.
	db, proto int
	name      string
	multi     bool // between MULTI and EXEC
	place     int  // that the next command has in the transaction
	queued    []queued
	popped    bool // a command of the transaction was rewritten
	dbThen    int  // that the transaction has selected by now
	aborted   bool // the front has refused a command of the transaction
	watching  bool
	kept      bool // the engine knows more of the client than can be repeated
	uncounted bool // not each request since the last resync has one reply
	opaque    bool // nor can it be learnt where its replies are
	stream    bool // what the engine sends is not of the protocol
	mute      mute
	skips     bool // the request under way has no reply, of which the engine was not told
	silent    bool // the request under way has no reply

	requests requests
	head     head
	asked    int // bytes of the share for the request under way

	out      sync.Mutex // held by who writes to the client, for a whole reply
	known    bool       // guarded by out: the client has logged in, so it has no deadline for that
	deadline time.Time  // guarded by out: of writing, as set in the connection

	mu     sync.Mutex
	link   *link // nil: there is no connection to the engine
	ended  bool  // the client's connection has to end: a reply is lost
	failed bool  // it has to because the engine is gone, not the client

	readBy time.Time // deadline of reading, until the client has logged in
}

func (s *Server) newSession(client net.Conn, welcome func()) *session {
	n := &session{
		front: s, client: client, accepted: time.Now(), welcome: welcome, guest: admission.NewGuest(client),
	}
	n.forget()
	n.in = newSource(client, s.buffers)
	n.in.small = true
	n.share = s.memory.Enter(func() {
		s.tellCutOff(client.RemoteAddr())
		admission.Innermost(client).Close()
	})
	return n
}

// forget makes the client one that has just connected.
func (s *session) forget() {
	s.db, s.proto, s.name, s.mute, s.silent = s.front.engine.now().DB, 2, "", muteNone, false
	s.forgetState()
}

// forgetState forgets what the engine does, without a connection.
func (s *session) forgetState() {
	s.forgetQueued()
	s.kept, s.uncounted, s.opaque, s.stream = false, false, false, false
}

// serve passes on what the client says until it leaves or ctx ends.
func (s *session) serve(ctx context.Context) {
	defer s.client.Close()
	defer s.share.Leave()
	defer s.in.release()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(ctx, s.cut)()
	defer s.leaveRewriting()
	for s.login(ctx) {
		if !s.pass(ctx) {
			break
		}
	}
	s.mu.Lock()
	failed := s.failed
	s.mu.Unlock()
	if failed {
		s.tellFailed() // before the client hears of it
	}
	s.unlink(quitTimeout)
	s.linger()
}

// login answers until the password came, and reports whether it did. A TLS handshake happens at the first read and
// has to be quick as well.
func (s *session) login(ctx context.Context) bool {
	by := time.Now().Add(admission.LoginTimeout)
	ctx, cancel := context.WithDeadline(ctx, by)
	defer cancel()
	s.in.Trusted, s.in.small, s.readBy = false, true, by
	s.setKnown(false)
	if s.client.SetDeadline(by) != nil {
		return false
	}
	for !s.guest.Authed {
		if s.in.wait() != nil {
			return false
		}
		args, err := s.in.Next()
		if err != nil {
			s.complain(err)
			return false
		}
		if len(args) == 0 {
			continue
		}
		c := s.front.commands[strings.ToUpper(args[0])]
		if c == nil || !c.anyone {
			s.sayError("NOAUTH Authentication required.")
			continue
		}
		if !c.run(ctx, s, args) || s.guest.Quit {
			return false
		}
	}
	s.in.Trusted, s.in.Room, s.in.small, s.readBy = true, s.take, false, time.Time{}
	if s.client.SetDeadline(time.Time{}) != nil {
		return false
	}
	s.setKnown(true)
	s.welcome()
	s.telling.Lock()
	defer s.telling.Unlock()
	if r := s.front.opts.Rewriter; r != nil && s.rewriting == nil {
		s.rewriting = r.Enter(s.client, s.accepted)
	}
	return true
}

func (s *session) setKnown(known bool) {
	s.out.Lock()
	defer s.out.Unlock()
	s.known, s.deadline = known, time.Time{}
}

// tellFailed says that the client hears of an engine that can't be used.
func (s *session) tellFailed() {
	s.telling.Lock()
	defer s.telling.Unlock()
	if s.rewriting != nil {
		s.rewriting.Failed()
	}
}

func (s *session) leaveRewriting() {
	s.telling.Lock()
	defer s.telling.Unlock()
	if s.rewriting != nil {
		s.rewriting.Leave()
		s.rewriting = nil
	}
}

// take asks for room for the request under way.
func (s *session) take(n int) error {
	if !s.share.Take(n) {
		return errNoRoom
	}
	s.asked += n
	return nil
}

// pass passes on what the client says until it has to end, or false, or has to log in anew.
func (s *session) pass(ctx context.Context) bool {
	for s.guest.Authed {
		if !s.passSome(ctx) || s.guest.Quit {
			return false
		}
	}
	return true
}

// passSome passes on what has arrived. It reports false when the connection has to end.
func (s *session) passSome(ctx context.Context) bool {
	if err := s.in.wait(); err != nil {
		return false
	}
	began := s.requests
	b := s.in.buffered()
	n, commands, is := s.scan(b)
	if n > 0 {
		switch err := s.send(ctx, b[:n], commands); {
		case errors.Is(err, errLost):
			return false
		case err != nil:
			s.requests = began // there is none under way, or the link would be lost
			return s.turnDown(ctx, err)
		}
		_, _ = s.in.Discard(n)
		s.front.passed.Add(uint64(commands))
	}
	switch {
	case is == otherwise && s.requests.between():
		return s.readOne(ctx, nil)
	case is == otherwise:
		s.complain(notAnArgument(b[n:]))
		return false
	case n == 0:
		return s.in.more() == nil
	}
	return true
}

// scan goes through b as far as it can be passed on as it is, and returns how far that is, how many requests begin
// there, and what follows: otherwise is a request that the front has to read whole.
func (s *session) scan(b []byte) (n, commands int, is state) {
	for {
		k, ok := s.requests.rest(b[n:])
		n += k
		switch {
		case !ok:
			return n, commands, otherwise
		case !s.requests.between():
			return n, commands, partly
		}
		h := &s.head
		if is := readHead(b[n:], h); is != whole {
			return n, commands, is
		}
		switch c := s.front.commands[string(h.name[:h.len])]; {
		case c == nil:
			s.place++
		case c.note == nil || c.note(s, h.args):
			return n, commands, otherwise
		}
		commands++
		n += h.size
		s.requests.args = h.rest
	}
}

// turnDown answers with an error what has arrived, when it can't be passed on.
func (s *session) turnDown(ctx context.Context, err error) bool {
	s.forgetState()
	s.tellFailed()
	for s.readOne(ctx, err) {
		if s.guest.Quit || !s.guest.Authed || s.in.Buffered() == 0 {
			return true
		}
	}
	return false
}

// readOne reads one request whole and has it done; where down is not nil, what needs the engine is answered with that.
func (s *session) readOne(ctx context.Context, down error) bool {
	args, err := s.in.Next()
	defer func() {
		s.share.Give(s.asked)
		s.asked, s.silent, s.skips = 0, false, false
	}()
	if err != nil {
		s.complain(err)
		return false
	}
	if len(args) == 0 {
		return true
	}
	s.begin()
	c := s.front.commands[strings.ToUpper(args[0])]
	switch {
	case down != nil && (c == nil || !c.own):
		return s.sayError(down.Error())
	case c == nil:
		return s.sendOne(ctx, args)
	case c.note == nil || c.note(s, int64(len(args))):
		return c.run(ctx, s, args)
	}
	return s.sendNoted(ctx, args)
}

// sendOne sends a request, which in a transaction has a place in EXEC's reply.
func (s *session) sendOne(ctx context.Context, args []string) bool {
	s.place++
	return s.sendNoted(ctx, args)
}

// sendNoted sends a request that is about the transaction itself, or any other.
func (s *session) sendNoted(ctx context.Context, args []string) bool {
	switch err := s.send(ctx, appendRequest(nil, args...), 1); {
	case errors.Is(err, errLost):
		return false
	case err != nil:
		return s.fail(err)
	}
	s.front.passed.Add(1)
	return true
}

// complain tells a client that broke the protocol why its connection ends.
func (s *session) complain(err error) {
	if !s.requests.between() { // the engine waits for the rest
		s.unlink(quitTimeout)
	}
	var broken resp.Error
	switch {
	case errors.As(err, &broken):
		s.sayError("ERR Protocol error: " + broken.Error())
	case errors.Is(err, errNoRoom):
		s.sayError(err.Error())
		s.front.tellCutOff(s.client.RemoteAddr())
	}
}

// say sends the front's own answer, after those that the client awaits of the engine. It reports false when the
// connection has to end.
func (s *session) say(answer []byte) bool {
	if s.silent {
		return true
	}
	if s.drain() != nil {
		return false
	}
	s.out.Lock()
	defer s.out.Unlock()
	return s.write(answer) == nil
}

func (s *session) sayError(text string) bool { return s.say([]byte("-" + oneLine(text) + "\r\n")) }

// write sends something to the client. The caller holds out.
func (s *session) write(b []byte) error {
	if s.known {
		if by := time.Now().Add(writeTimeout); by.Sub(s.deadline) > deadlineStep {
			s.deadline = by
			if err := s.client.SetWriteDeadline(by); err != nil {
				return err
			}
		}
	}
	_, err := s.client.Write(b)
	return err
}

// linger reads on for a while: closing a connection with unread bytes in it takes the last replies from the client.
func (s *session) linger() {
	half, ok := admission.Innermost(s.client).(interface{ CloseWrite() error })
	if !ok || half.CloseWrite() != nil || s.client.SetReadDeadline(time.Now().Add(lingerTimeout)) != nil {
		return
	}
	_, _ = io.Copy(io.Discard, s.client)
}
