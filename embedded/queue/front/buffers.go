package front

import (
	"bufio"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/crawlbox/crawlbox/embedded/queue/resp"
)

const (
	largeBuffer = 64 << 10
	smallBuffer = 4 << 10
)

// buffers lends buffers to read with. Large ones are bounded in all; small ones stand in for them, and there are two
// a client at most.
type buffers struct {
	left         atomic.Int64 // large ones that may still be lent
	large, small sync.Pool
}

// newBuffers returns those that have so many bytes in all; 0 is no bound.
func newBuffers(bytes int64) *buffers {
	b := &buffers{}
	b.left.Store(1 << 40)
	if bytes > 0 {
		b.left.Store(bytes / largeBuffer)
	}
	b.large.New = func() any { return bufio.NewReaderSize(nil, largeBuffer) }
	b.small.New = func() any { return bufio.NewReaderSize(nil, smallBuffer) }
	return b
}

func (b *buffers) lend(small bool) *bufio.Reader {
	for left := b.left.Load(); !small && left > 0; left = b.left.Load() {
		if b.left.CompareAndSwap(left, left-1) {
			return b.large.Get().(*bufio.Reader)
		}
	}
	return b.small.Get().(*bufio.Reader)
}

func (b *buffers) giveBack(r *bufio.Reader) {
	r.Reset(nil) // or the pool would keep the connection
	if r.Size() == smallBuffer {
		b.small.Put(r)
		return
	}
	b.large.Put(r)
	b.left.Add(1)
}

// source reads from a connection. It has a buffer only while there is something to read.
type source struct {
	resp.Reader
	conn    net.Conn
	raw     syscall.RawConn // to wait without a buffer; nil where there is none, as with TLS
	buffers *buffers
	small   bool // it gets no large buffers

	fd    uintptr // to read from without waiting, for the time being; 0: none
	tried error   // how that went
}

func newSource(conn net.Conn, buffers *buffers) *source {
	return &source{conn: conn, raw: rawConn(conn), buffers: buffers}
}

// rawConn returns the socket of a connection that puts nothing of its own between, else nil.
func rawConn(conn net.Conn) syscall.RawConn {
	for {
		switch c := conn.(type) {
		case *tls.Conn:
			return nil
		case interface{ NetConn() net.Conn }:
			conn = c.NetConn()
		case syscall.Conn:
			raw, err := c.SyscallConn()
			if err != nil {
				return nil
			}
			return raw
		default:
			return nil
		}
	}
}

// polled returns which of the events, or of those that say that the connection is gone, are there.
func polled(fd uintptr, events int16) int16 {
	fds := []unix.PollFd{{Fd: int32(fd), Events: events}}
	for {
		_, err := unix.Poll(fds, 0)
		if !errors.Is(err, unix.EINTR) {
			return fds[0].Revents
		}
	}
}

// wait returns once there is something to read in the buffer.
func (s *source) wait() error {
	if s.Reader.Reader != nil && s.Buffered() > 0 {
		return nil
	}
	if s.raw != nil {
		if err := s.raw.Read(s.try); err != nil {
			return err
		}
		return s.tried
	}
	s.borrow()
	_, err := s.Peek(1)
	return err
}

func (s *source) borrow() {
	if s.Reader.Reader == nil {
		s.Reader.Reader = s.buffers.lend(s.small)
		s.Reset(s)
	}
}

// try reads what is there, or gives the buffer back and reports false: then the connection is waited for.
func (s *source) try(fd uintptr) bool {
	s.borrow()
	s.fd = fd
	_, s.tried = s.Peek(1)
	s.fd = 0
	if errors.Is(s.tried, unix.EAGAIN) {
		s.release()
		return false
	}
	return true
}

// Read implements io.Reader.
func (s *source) Read(p []byte) (int, error) {
	if s.fd == 0 {
		return s.conn.Read(p)
	}
	for {
		n, err := unix.Read(int(s.fd), p)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case n == 0 && err == nil:
			return 0, io.EOF
		}
		return max(n, 0), err
	}
}

// buffered returns what there is, without taking it.
func (s *source) buffered() []byte {
	b, _ := s.Peek(s.Buffered())
	return b
}

// more waits for more than there is. What there is must be less than the smallest buffer has room for.
func (s *source) more() error {
	_, err := s.Peek(s.Buffered() + 1)
	return err
}

// release gives the buffer back, with what is in it.
func (s *source) release() {
	if s.Reader.Reader != nil {
		s.buffers.giveBack(s.Reader.Reader)
		s.Reader.Reader = nil
	}
}

// watchEnd calls gone once the other side has ended the connection though there is something to read before that.
// Nobody reads meanwhile until stop returns, which leaves a deadline of reading.
func (s *source) watchEnd(gone func()) (stop func()) {
	if s.raw == nil {
		return func() {}
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		err := s.raw.Read(func(fd uintptr) bool { return polled(fd, unix.POLLRDHUP) != 0 })
		if err == nil {
			gone()
		}
	}()
	return func() {
		_ = s.conn.SetReadDeadline(time.Unix(1, 0))
		<-done
	}
}
