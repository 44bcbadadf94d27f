package queue

import (
	"crypto/tls"
	"errors"
	"net"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/crawlbox/crawlbox/embedded/queue/admission"
)

const (
	writeTimeout = 2 * time.Minute // for a client that takes nothing of what waits for it
	writePiece   = 256 << 10
	flushSize    = 64 << 10 // bytes of replies that are sent though more requests are there
	maxPushed    = 32 << 20 // bytes of messages that wait for a subscriber, as in Redis
)

var errSlow = errors.New("the client does not read what it asked for")

// output holds what goes to a client. Nobody waits for a client that does not read:
// what the socket does not take is kept, within the bound on memory, and a
// goroutine writes it while there is any.
type output struct {
	conn  net.Conn
	raw   syscall.RawConn // to write without waiting; nil with TLS
	share *admission.Share
	slow  func() // called when the client is cut off

	mu      sync.Mutex
	waiting []byte
	writing chan struct{} // closed when the goroutine ends; nil: there is none
	err     error
}

func newOutput(conn net.Conn, share *admission.Share, slow func()) *output {
	o := &output{conn: conn, share: share, slow: slow}
	for c := conn; ; {
		if _, ok := c.(*tls.Conn); ok {
			return o
		}
		wrapped, ok := c.(interface{ NetConn() net.Conn })
		if !ok {
			if socket, ok := c.(syscall.Conn); ok {
				o.raw, _ = socket.SyscallConn()
			}
			return o
		}
		c = wrapped.NetConn()
	}
}

// write sends p, or keeps a copy of what cannot be sent now.
func (o *output) write(p []byte) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.err == nil && o.writing == nil && o.raw != nil {
		p = p[o.try(p):]
	}
	return o.keep(p, 0)
}

// push sends a message that the client did not ask for, and does not wait at all.
func (o *output) push(p []byte) {
	o.mu.Lock()
	defer o.mu.Unlock()
	_ = o.keep(p, maxPushed)
}

// try writes as much as the socket takes at once.
func (o *output) try(p []byte) (n int) {
	_ = o.raw.Write(func(fd uintptr) bool {
		n, _ = unix.Write(int(fd), p)
		return true
	})
	return max(0, n)
}

// keep has p written later. most, unless it is 0, bounds what waits.
func (o *output) keep(p []byte, most int) error {
	if o.err != nil || len(p) == 0 {
		return o.err
	}
	if most > 0 && len(o.waiting)+len(p) > most || !o.share.Take(len(p)) {
		o.fail(errSlow)
		o.slow()
		return o.err
	}
	o.waiting = append(o.waiting, p...)
	if o.writing == nil {
		o.writing = make(chan struct{})
		go o.drain(o.writing)
	}
	return nil
}

func (o *output) fail(err error) {
	if o.err == nil {
		o.err = err
		admission.Innermost(o.conn).Close()
	}
}

// drain writes what waits until there is nothing.
func (o *output) drain(done chan struct{}) {
	defer close(done)
	for {
		o.mu.Lock()
		p := o.waiting
		o.waiting = nil
		if len(p) == 0 || o.err != nil {
			o.share.Give(len(p))
			o.writing = nil
			o.mu.Unlock()
			return
		}
		o.mu.Unlock()
		err := o.writeAll(p)
		o.share.Give(len(p))
		if err != nil {
			o.mu.Lock()
			o.fail(err)
			o.mu.Unlock()
		}
	}
}

func (o *output) writeAll(p []byte) error {
	for len(p) > 0 {
		if err := o.conn.SetWriteDeadline(time.Now().Add(writeTimeout)); err != nil {
			return err
		}
		n, err := o.conn.Write(p[:min(len(p), writePiece)])
		if err != nil {
			return err
		}
		p = p[n:]
	}
	return o.conn.SetWriteDeadline(time.Time{})
}

// finish waits for what is kept to be written, for some time.
func (o *output) finish(patience time.Duration) {
	o.mu.Lock()
	writing := o.writing
	o.mu.Unlock()
	if writing == nil {
		return
	}
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case <-writing:
	case <-timer.C:
	}
}
