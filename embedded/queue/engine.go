package queue

import (
	"bufio"
	"bytes"
	"fmt"
	"strings"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/alicebob/miniredis/v2/server"
)

// engine runs single commands on a miniredis without a network: commands go
// straight into its dispatcher and replies come back as bytes. It is not safe
// for concurrent use.
//
// Its clock stands still at the Unix epoch, so that a time to live, which
// miniredis keeps as a duration from now, is the key's absolute deadline, and
// nothing has to be counted down. (miniredis' own ClockTTL walks over all keys,
// sorted, before every command.) Commands that read the clock are ours.
type engine struct {
	redis *miniredis.Miniredis
	srv   *server.Server
	peer  *peer // of the command that runs now
	root  *peer // the one outside of scripts
	// nested runs a command that a script calls. nil refuses such commands.
	nested func(args []string) string
	broken bool // a panic may have left the data half changed
}

// peer is one of miniredis' connections, made of memory.
type peer struct {
	*server.Peer
	out bytes.Buffer
	db  int
}

func newPeer() *peer {
	p := &peer{}
	p.Peer = server.NewPeer(bufio.NewWriterSize(&p.out, 512))
	return p
}

func newEngine() (*engine, error) {
	e := &engine{redis: miniredis.NewMiniRedis(), root: newPeer()}
	e.peer = e.root
	e.redis.SetTime(time.Unix(0, 0))
	conn, err := e.redis.Dial() // the way to start one without a listener
	if err != nil {
		return nil, fmt.Errorf("start miniredis: %w", err)
	}
	conn.Close()
	e.srv = e.redis.Server()
	e.srv.SetPreHook(e.hook)
	return e, nil
}

func (e *engine) close() { e.redis.Close() }

// run executes one command in database db and returns the encoded reply.
func (e *engine) run(db int, resp3 bool, args []string) string {
	p := e.peer
	if p.db != db {
		e.dispatch(p, []string{"SELECT", fmt.Sprint(db)})
		p.db = db
	}
	p.Resp3 = resp3
	return e.dispatch(p, args)
}

// ask is run for commands of our own, whose reply is read here.
func (e *engine) ask(db int, args ...string) string { return e.run(db, false, args) }

func (e *engine) dispatch(p *peer, args []string) (reply string) {
	if e.broken {
		return errReloading
	}
	defer func() {
		if v := recover(); v != nil {
			reply = e.recovered(v, args[0])
		}
	}()
	p.out.Reset()
	e.srv.Dispatch(p.Peer, args)
	p.Flush()
	return p.out.String()
}

// recovered cleans up after a panic in miniredis, a test server that trusts its
// input. A command that had the lock may have been half way through a change;
// one that panicked over its arguments, or a script that returned something odd,
// had not.
func (e *engine) recovered(panicked any, name string) string {
	if e.inScript() {
		e.broken = true // the script around it holds the lock
		return errReloading
	}
	held := !e.redis.TryLock()
	e.redis.Unlock()
	e.root = newPeer()
	e.peer = e.root
	e.broken = e.broken || held && !isScript(name)
	return replyError(fmt.Sprintf("ERR %s failed inside: %v", name, panicked))
}

// hook sees every command before miniredis does. Ours come from the current
// peer; any other peer is the one that a running script calls through.
func (e *engine) hook(caller *server.Peer, name string, args ...string) bool {
	if caller == e.peer.Peer {
		return false
	}
	if e.nested == nil {
		caller.WriteError("ERR commands are not allowed here")
		return true
	}
	outer := e.peer
	inner := newPeer()
	inner.Ctx = caller.Ctx // marks the commands as nested: miniredis' lock is held already
	inner.db = outer.db
	e.peer = inner
	defer func() { e.peer = outer }()
	caller.WriteRaw(e.nested(append([]string{strings.ToUpper(name)}, args...)))
	return true
}

// inScript says whether a script runs, under miniredis' lock.
func (e *engine) inScript() bool { return e.peer != e.root }
