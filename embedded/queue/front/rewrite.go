package front

import (
	"context"
	"net"
)

// Rewriter changes some commands. Many goroutines call it.
type Rewriter interface {
	// Commands lists those that it has to see, in capitals. The front's own are not among them.
	Commands() []string
	// Prepare lists what each connection says to the engine first, such as SCRIPT LOAD.
	Prepare() [][]string
	// Enter returns what rewrites the commands of a client that has logged in, from an address.
	Enter(client net.Addr) Rewriting
}

// Rewriting rewrites the commands of one client, one after the other.
type Rewriting interface {
	// Rewrite says what becomes of a command. It is quick, and may keep the arguments.
	Rewrite(c Command) Instead
	// Leave is called when the client is gone.
	Leave()
}

// Command is what a client asks for.
type Command struct {
	Args  []string // with its name, as the client wrote it
	Multi bool     // it is queued in a transaction
	Proto int      // of the protocol: 2 or 3
	DB    int      // that the client has selected
}

// Instead is what becomes of a command; the zero value passes it on as it is.
type Instead struct {
	// Args are sent instead, and the reply is the client's.
	Args []string
	// Serve makes the reply, and has the client wait for it: it gets nothing else meanwhile. do has the engine do a
	// command on the client's connection, that must not block. ctx ends when the client is gone. With an error the
	// client gets that; where the connection to the engine was lost, its own ends. Serve is not called in a
	// transaction, nor for a client that subscribed to channels or switched replies off: then Args are sent.
	Serve func(ctx context.Context, do Do) (reply []byte, err error)
}

// Do has the engine do a command and returns its reply as it is written in the protocol.
type Do func(ctx context.Context, args ...string) (reply []byte, err error)

// rewrite implements the commands that are rewritten.
func rewrite(ctx context.Context, s *session, args []string) bool {
	instead := s.rewriting.Rewrite(Command{Args: args, Multi: s.multi, Proto: s.proto, DB: s.db})
	if instead.Serve == nil || s.multi || s.uncounted {
		if instead.Args != nil {
			args = instead.Args
		}
		return s.sendOne(ctx, args)
	}
	if s.drain() != nil {
		return false
	}
	reply, err := s.serveOne(ctx, instead)
	if err != nil {
		return s.fail(err)
	}
	return s.say(reply)
}

// serveOne has the reply made while the client's end is watched for.
func (s *session) serveOne(ctx context.Context, instead Instead) ([]byte, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer s.watchEnd(cancel)()
	return instead.Serve(ctx, s.exchange)
}
