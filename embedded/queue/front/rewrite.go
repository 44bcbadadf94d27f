package front

import (
	"bytes"
	"context"
	"net"
	"time"
)

// Rewriter changes some commands. Many goroutines call it.
type Rewriter interface {
	// Commands lists those that it has to see, in capitals. The front's own are not among them.
	Commands() []string
	// Prepare lists what each connection says to the engine first, such as SCRIPT LOAD.
	Prepare() [][]string
	// Enter returns what rewrites the commands of a client that has logged in, over a connection that was accepted at
	// a time. That is the front's: only its addresses are to be looked at.
	Enter(client net.Conn, accepted time.Time) Rewriting
}

// Rewriting rewrites the commands of one client, one after the other.
type Rewriting interface {
	// Rewrite says what becomes of a command. It is quick, and may keep the arguments.
	Rewrite(c Command) Instead
	// Failed is called when the client was told that the engine can't be used, or lost its connection for that. What it
	// had before it may have forgotten.
	Failed()
	// Leave is called when the client is gone.
	Leave()
}

// Command is what a client asks for.
type Command struct {
	Args  []string // with its name, as the client wrote it
	Times int      // how often in a row it was sent, as far as that has arrived
	Multi bool     // it is queued in a transaction; then Times is 1
	Plain bool     // its reply is the engine's, whatever comes of it, since that can't be told: only Args are sent then
	Proto int      // of the protocol: 2 or 3
	First bool     // of its transaction that is rewritten
	DB    int      // that the client has selected, in a transaction by then
}

// Instead is what becomes of a command; the zero value passes it on as it is.
type Instead struct {
	// Args are sent instead, and the reply is the client's.
	Args []string
	// Queued changes the reply, where the command is queued in a transaction: its place in that of EXEC. nil: it
	// stays as it is.
	Queued func(reply []byte) []byte
	// Serve makes the reply, and has the client wait for it: it gets nothing else meanwhile. do has the engine do a
	// command on the client's connection, that must not block. ctx ends when the client is gone. With an error the
	// client gets that; where the connection to the engine was lost, its own ends. Serve is not called in a
	// transaction, nor for a client that watches all commands (MONITOR): then Args are sent. The reply of a client that
	// has switched replies off is made as any other, and not sent.
	Serve func(ctx context.Context, do Do) (reply []byte, err error)
	// Times says for how many of the command's times Serve makes the replies, one after the other; 0 is one.
	Times int
	// Undelivered is called when the reply of Serve, or of EXEC with Queued's part, could not be sent to the client.
	Undelivered func()
}

// Do has the engine do a command and returns its reply as it is written in the protocol.
type Do func(ctx context.Context, args ...string) (reply []byte, err error)

// maxTimes bounds how many of the same commands are done at once.
const maxTimes = 1024

// rewrite implements the commands that are rewritten.
func rewrite(ctx context.Context, s *session, args []string) bool {
	if s.rewriting == nil { // another front has done it
		return s.sendOne(ctx, args)
	}
	if !s.multi && s.uncounted && !s.opaque {
		if s.drain() != nil {
			return false
		}
		if s.uncounted { // it has subscribed to something in version 2 of the protocol: the engine refuses all else
			return s.sendOne(ctx, args)
		}
	}
	c := Command{Args: args, Times: 1, Multi: s.multi, Plain: s.opaque, Proto: s.proto, DB: s.db}
	same := appendRequest(nil, args...)
	if s.multi {
		c.First, c.DB, s.popped = !s.popped, s.dbThen, true
	} else {
		for ahead := s.in.buffered(); c.Times < maxTimes && bytes.HasPrefix(ahead, same); c.Times++ {
			ahead = ahead[len(same):]
		}
	}
	s.telling.Lock()
	instead := s.rewriting.Rewrite(c)
	s.telling.Unlock()
	if instead.Serve == nil || s.multi || s.opaque {
		return s.replace(ctx, args, instead)
	}
	if s.drain() != nil {
		return false
	}
	_, _ = s.in.Discard((max(1, min(instead.Times, c.Times)) - 1) * len(same))
	reply, err := s.serveOne(ctx, instead)
	if err != nil {
		return s.fail(err)
	}
	return s.deliver(reply, instead)
}

// replace sends another command.
func (s *session) replace(ctx context.Context, args []string, instead Instead) bool {
	if instead.Args != nil {
		args = instead.Args
	}
	if s.multi && !s.unseen() && (instead.Queued != nil || instead.Undelivered != nil) && !s.remember(instead) {
		return s.refuse(ctx, errNoRoom.Error())
	}
	return s.sendOne(ctx, args)
}

// remember keeps what becomes of the next command of a transaction, where there is room.
func (s *session) remember(instead Instead) bool {
	const each = 256 // bytes that it takes here
	if !s.share.Take(each) {
		return false
	}
	s.queued = append(s.queued, queued{s.place, each, instead})
	return true
}

// deliver sends a reply that was made of one or more.
func (s *session) deliver(reply []byte, of ...Instead) bool {
	ok := s.say(reply)
	for _, instead := range of {
		if !ok && instead.Undelivered != nil {
			instead.Undelivered()
		}
	}
	return ok
}

// queued is a command of a transaction that was rewritten.
type queued struct {
	place   int // in the transaction
	taken   int // bytes of the share
	instead Instead
}

// forgetQueued ends a transaction.
func (s *session) forgetQueued() {
	for _, q := range s.queued {
		s.share.Give(q.taken)
	}
	s.multi, s.aborted, s.watching, s.queued, s.popped = false, false, false, nil, false
}

// execute answers EXEC of a transaction of which the front has refused a command, or rewritten one.
func execute(ctx context.Context, s *session, _ []string) bool {
	aborted, rewritten := s.aborted, s.queued
	s.forgetQueued()
	if aborted {
		if _, err := s.do(ctx, "DISCARD"); err != nil {
			return s.fail(err)
		}
		return s.sayError("EXECABORT Transaction discarded because of previous errors.")
	}
	reply, err := s.do(ctx, "EXEC")
	var all []Instead
	for _, q := range rewritten {
		all = append(all, q.instead)
	}
	if err != nil {
		for _, instead := range all {
			if instead.Undelivered != nil {
				instead.Undelivered()
			}
		}
		return s.fail(err)
	}
	return s.deliver(changeParts(reply, rewritten), all...)
}

// changeParts changes the parts of EXEC's reply.
func changeParts(reply []byte, rewritten []queued) []byte {
	if reply[0] != '*' {
		return reply
	}
	_, n, _ := number(reply)
	changed := append([]byte(nil), reply[:n]...)
	for place := 0; n < len(reply); place++ {
		var r replies
		length, done, err := r.next(reply[n:])
		if !done || err != nil {
			break
		}
		part := reply[n : n+length]
		for len(rewritten) > 0 && rewritten[0].place == place {
			if change := rewritten[0].instead.Queued; change != nil {
				part = change(part)
			}
			rewritten = rewritten[1:]
		}
		changed = append(changed, part...)
		n += length
	}
	return append(changed, reply[n:]...)
}

// serveOne has the reply made while the client's end is watched for.
func (s *session) serveOne(ctx context.Context, instead Instead) ([]byte, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer s.watchEnd(cancel)()
	return instead.Serve(ctx, s.exchange)
}
