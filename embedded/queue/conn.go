package queue

import (
	"context"
	"errors"
	"io"
	"net"
	"time"

	"github.com/crawlbox/crawlbox/embedded/queue/admission"
	"github.com/crawlbox/crawlbox/embedded/queue/engine"
	"github.com/crawlbox/crawlbox/embedded/queue/resp"
)

const (
	quitTimeout = 5 * time.Second // for the last replies to go out

	lingerTimeout = time.Second // for the client to read why its connection ends
)

// conn is one client's connection.
type conn struct {
	net     net.Conn
	session *session
	welcome func() // called once, when the password came
	in      *input
	reader  *resp.Reader
	out     *output
}

func newConn(client net.Conn, s *session, welcome func()) *conn {
	c := &conn{net: client, session: s, welcome: welcome, out: s.out}
	c.in = &input{conn: client, share: s.share, before: c.flush}
	c.reader = resp.NewReader(c.in)
	return c
}

// serve answers requests until the client leaves or ctx ends. What was sent
// before the client closed its side is done.
func (c *conn) serve(ctx context.Context) {
	defer c.net.Close()
	defer c.session.end()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(ctx, func() { admission.Innermost(c.net).Close() })()
	by := time.Now().Add(admission.LoginTimeout)
	patience := quitTimeout
	if c.login(ctx, by) {
		c.answer(ctx)
	} else {
		patience = min(patience, time.Until(by))
	}
	if c.flush() == nil {
		c.out.finish(patience)
	}
}

// login answers until the password came, and reports whether it did. A TLS
// handshake happens at the first read and has to be quick as well.
func (c *conn) login(ctx context.Context, by time.Time) bool {
	ctx, cancel := context.WithDeadline(ctx, by)
	defer cancel()
	if c.net.SetDeadline(by) != nil {
		return false
	}
	for !c.session.guest.Authed {
		if !c.next(ctx) {
			return false
		}
	}
	if c.flush() != nil {
		return false
	}
	c.reader.Trusted, c.reader.Room = true, c.session.take
	c.welcome()
	return c.net.SetDeadline(time.Time{}) == nil
}

func (c *conn) answer(ctx context.Context) {
	for c.next(ctx) {
		if len(c.session.c.Out.Buf) >= flushSize && c.flush() != nil {
			return
		}
	}
}

// next answers one request. It reports false when the connection has to end.
func (c *conn) next(ctx context.Context) bool {
	args, err := c.reader.Next()
	if err != nil {
		c.refuse(err)
		return false
	}
	if len(args) == 0 {
		return true
	}
	defer c.session.release()
	from, silent := len(c.session.c.Out.Buf), c.session.replyMode != replyOn
	if w := c.session.handle(ctx, args); w != nil && !c.await(ctx, w, silent) {
		return false
	}
	if out := &c.session.c.Out; out.Over {
		out.Buf, out.Over = append([]byte(nil), out.Buf[:min(from, len(out.Buf))]...), false
		out.Error(engine.ErrLargeReply)
	}
	c.session.slowDown(ctx)
	return !c.session.guest.Quit
}

// refuse tells a client that broke the protocol why its connection ends.
func (c *conn) refuse(err error) {
	var broken resp.Error
	switch {
	case errors.As(err, &broken):
		c.session.c.Out.Error("ERR Protocol error: " + broken.Error())
	case errors.Is(err, errNoRoom):
		c.session.c.Out.Error(err.Error())
		c.session.server.tellCutOff(c.session.addr)
	default:
		return
	}
	if c.session.guest.Authed && c.flush() == nil {
		c.out.finish(quitTimeout)
		c.linger()
	}
}

// linger reads on for a while: closing a connection with unread bytes in it takes
// the last reply from the client.
func (c *conn) linger() {
	half, ok := admission.Innermost(c.net).(interface{ CloseWrite() error })
	if !ok || half.CloseWrite() != nil || c.net.SetReadDeadline(time.Now().Add(lingerTimeout)) != nil {
		return
	}
	_, _ = io.Copy(io.Discard, c.net)
}

// await waits for the item that a blocking command wants. It reports false when
// the client is gone, which then gets no reply, or ctx ended. A silent client wants none.
func (c *conn) await(ctx context.Context, w *waiter, silent bool) bool {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if c.flush() != nil {
		cancel()
	}
	stop := c.in.readAhead(cancel)
	defer stop()
	var expired <-chan time.Time
	if w.Timeout > 0 {
		timer := time.NewTimer(w.Timeout)
		defer timer.Stop()
		expired = timer.C
	}
	var reply []byte
	select {
	case reply = <-w.reply:
	case <-expired:
		reply = c.session.giveUp(w, true)
	case <-ctx.Done():
		reply = c.session.giveUp(w, false)
	}
	if !silent {
		c.session.c.Out.Buf = append(c.session.c.Out.Buf, reply...)
	}
	return reply != nil
}

// flush sends the replies so far.
func (c *conn) flush() error {
	out := &c.session.c.Out
	if len(out.Buf) == 0 {
		return nil
	}
	err := c.out.write(out.Buf)
	if cap(out.Buf) > 4*flushSize {
		out.Buf = nil
	}
	out.Buf = out.Buf[:0]
	return err
}
