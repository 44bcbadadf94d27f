package queue

import (
	"bufio"
	"context"
	"net"
	"time"
)

const (
	loginTimeout = 10 * time.Second // from the connection to the right password
	writeTimeout = 30 * time.Second // for a client that does not read
	readAhead    = 64               // pipelined commands read before the first is done
)

// conn is one client's connection.
type conn struct {
	net     net.Conn
	session *session
	welcome func() // called once, when the password came
	in      *bufio.Reader
	out     *bufio.Writer
	loginBy time.Time // for a stranger, when everything has to be over
}

// serve answers requests until the client leaves or ctx ends.
func (c *conn) serve(ctx context.Context) {
	defer c.session.reset()
	defer c.net.Close()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(ctx, func() { innermost(c.net).Close() })()
	if err := c.login(ctx); err != nil {
		return
	}
	requests := make(chan []string, readAhead)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		c.read(ctx, requests)
		cancel() // ends a wait for an item that nobody would get
	}()
	c.answer(ctx, requests)
	c.net.Close()
	<-ended
}

// login reads one command at a time, and small ones, until the password came. A
// TLS handshake happens at the first of them and has to be quick as well.
func (c *conn) login(ctx context.Context) error {
	c.loginBy = time.Now().Add(loginTimeout)
	ctx, cancel := context.WithDeadline(ctx, c.loginBy)
	defer cancel()
	if err := c.net.SetDeadline(c.loginBy); err != nil {
		return err
	}
	for !c.session.authed {
		args, err := readRequest(c.in, strangerLimits)
		if err != nil {
			return c.refuse(err)
		}
		if len(args) == 0 {
			continue
		}
		reply, _ := c.session.handle(ctx, args)
		if err := c.reply(reply, c.in.Buffered() == 0 || c.session.quit); err != nil {
			return err
		}
		if c.session.quit {
			return net.ErrClosed
		}
	}
	if err := c.out.Flush(); err != nil {
		return err
	}
	c.welcome()
	admit(c.net)
	c.loginBy = time.Time{}
	return c.net.SetDeadline(time.Time{})
}

// read passes requests on until the connection fails. A request that breaks the
// protocol ends it; the reply says why.
func (c *conn) read(ctx context.Context, requests chan<- []string) {
	defer close(requests)
	for {
		args, err := readRequest(c.in, clientLimits)
		if isBreach(err) {
			args = nil // tells answer to refuse and hang up
		} else if err != nil {
			return
		} else if len(args) == 0 {
			continue
		}
		select {
		case requests <- args:
		case <-ctx.Done():
			return
		}
		if args == nil {
			return
		}
	}
}

func (c *conn) answer(ctx context.Context, requests <-chan []string) {
	for args := range requests {
		if args == nil {
			_ = c.refuse(errProtocol)
			return
		}
		reply, wait := c.session.handle(ctx, args)
		if wait != nil {
			c.out.Flush() // an error comes back with the reply
			reply = c.await(ctx, wait)
		}
		if err := c.reply(reply, len(requests) == 0); err != nil || c.session.quit {
			c.out.Flush()
			return
		}
	}
}

// await waits for the item that a blocking command wants.
func (c *conn) await(ctx context.Context, w *waiter) string {
	defer c.session.server.blocked.Add(-1)
	var expired <-chan time.Time
	if w.timeout > 0 {
		timer := time.NewTimer(w.timeout)
		defer timer.Stop()
		expired = timer.C
	}
	select {
	case reply := <-w.reply:
		return reply
	case <-expired:
	case <-ctx.Done():
	}
	return c.session.giveUp(w)
}

func (c *conn) reply(reply string, last bool) error {
	if c.loginBy.IsZero() {
		if err := c.net.SetWriteDeadline(time.Now().Add(writeTimeout)); err != nil {
			return err
		}
	}
	if _, err := c.out.WriteString(reply); err != nil {
		return err
	}
	if !last {
		return nil
	}
	return c.out.Flush()
}

func (c *conn) refuse(err error) error {
	if isBreach(err) {
		_ = c.reply(replyError(err.Error()), true)
	}
	return err
}
