package guard

import (
	"container/list"
	"context"
	"errors"
	"io"
	"net"
	"time"
)

// conn is an accepted connection. It is in one of the Listener's books, or in
// none once it is closed.
type conn struct {
	net.Conn
	l *Listener

	// Guarded by l.mu.
	patience *time.Timer
	group    *group        // nil: not a stranger
	place    *list.Element // in group, or in who's list
	who      string        // valid while known
	known    bool          // admitted as who
}

// Admit makes the connection one of who, which can be asked again and changed.
// A closed connection stays closed.
func (c *conn) Admit(who string) {
	if oldest := c.admit(who); oldest != nil {
		oldest.Close()
	}
}

// admit returns the connection that has to give way to this one, if any.
func (c *conn) admit(who string) (oldest *conn) {
	c.l.mu.Lock()
	defer c.l.mu.Unlock()
	if c.known && c.who == who || !c.forget() {
		return nil
	}
	all := c.l.admitted[who]
	if all == nil {
		all = list.New()
		c.l.admitted[who] = all
	}
	c.known, c.who, c.place = true, who, all.PushBack(c)
	if all.Len() > c.l.limits.PerParty {
		oldest = all.Front().Value.(*conn)
		oldest.forget()
	}
	return oldest
}

// forget takes the connection out of the book that it is in, and reports whether
// it was in one. The caller holds l.mu.
func (c *conn) forget() bool {
	switch {
	case c.group != nil:
		c.l.strangers.remove(c)
		c.patience.Stop()
	case c.known:
		all := c.l.admitted[c.who]
		all.Remove(c.place)
		c.known, c.place = false, nil
		if all.Len() == 0 {
			delete(c.l.admitted, c.who)
		}
	default:
		return false
	}
	return true
}

// expire ends the connection of a stranger that never proved its identity.
func (c *conn) expire() {
	c.l.mu.Lock()
	stranger := c.group != nil
	if stranger {
		c.forget()
	}
	c.l.mu.Unlock()
	if stranger {
		c.Conn.Close()
	}
}

// Close closes the connection and gives its place free.
func (c *conn) Close() error {
	c.l.mu.Lock()
	c.forget()
	c.l.mu.Unlock()
	return c.Conn.Close()
}

// NetConn returns the connection beneath, as tls.Conn does.
func (c *conn) NetConn() net.Conn { return c.Conn }

// ReadFrom lets a server send files without copying them, as it would on the
// connection beneath.
func (c *conn) ReadFrom(r io.Reader) (int64, error) { return io.Copy(c.Conn, r) }

// CloseWrite lets net/http end an answer before it closes the connection.
func (c *conn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return errors.ErrUnsupported
}

// Admit makes c, or the connection that it wraps, one of who: of the limits only
// PerParty holds for it from now on. A connection that no Listener accepted is
// left alone.
func Admit(c net.Conn, who string) {
	for c != nil {
		if g, ok := c.(interface{ Admit(who string) }); ok {
			g.Admit(who)
			return
		}
		outer, ok := c.(interface{ NetConn() net.Conn })
		if !ok {
			return
		}
		c = outer.NetConn()
	}
}

type connKey struct{}

// ConnContext is for http.Server.ConnContext: it lets handlers admit the
// connection of their request.
func ConnContext(ctx context.Context, c net.Conn) context.Context {
	return context.WithValue(ctx, connKey{}, c)
}

// Conn returns the connection of a request's context, nil if its server does
// not use ConnContext.
func Conn(ctx context.Context) net.Conn {
	c, _ := ctx.Value(connKey{}).(net.Conn)
	return c
}

// AdmitRequest admits the connection of a request's context as who.
func AdmitRequest(ctx context.Context, who string) { Admit(Conn(ctx), who) }
