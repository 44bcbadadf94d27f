package wire

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"sync"
	"time"
)

const (
	// linkIdle is how long an idle connection is kept.
	linkIdle = 2 * time.Minute
	// readAhead is how much is read at a time, in bytes: what one TLS record has.
	readAhead = 16 << 10
)

// errNotAsked says that a link was over before something could be asked on it.
var errNotAsked = errors.New("the connection is over")

// link is a connection to a node that is asked on it.
type link struct {
	conn io.ReadWriteCloser
	out  frameWriter

	mu      sync.Mutex
	last    uint32 // number of the last question
	streams map[uint32]*stream
	broken  error       // why it ended
	retired bool        // nothing more is to be asked on it
	idle    *time.Timer // runs while nothing is asked
}

func newLink(conn io.ReadWriteCloser) *link {
	l := &link{conn: conn, out: frameWriter{w: conn}, streams: map[uint32]*stream{}}
	l.idle = time.AfterFunc(linkIdle, l.rest)
	return l
}

// ask asks something and returns when the answer has come.
func (l *link) ask(ctx context.Context, text []byte, into sink) error {
	s := newStream(into)
	if err := l.enter(s); err != nil {
		return err
	}
	defer l.depart(s)
	if err := l.out.write(append(head(nil, frameAsk, s.id, len(text)), text...)); err != nil {
		l.end(err) // and with it s
	}
	select {
	case err := <-s.err:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (l *link) enter(s *stream) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.retired || l.broken != nil {
		return errNotAsked
	}
	l.idle.Stop()
	l.last++
	s.id = l.last
	l.streams[s.id] = s
	return nil
}

// depart forgets a question, and tells the other side if it does not know.
func (l *link) depart(s *stream) {
	tell := s.leave()
	l.mu.Lock()
	delete(l.streams, s.id)
	tell = tell && l.broken == nil
	l.wait()
	l.mu.Unlock()
	if tell {
		_ = l.out.write(head(nil, frameLeave, s.id, 0))
	}
}

// wait has a link end after a while on which nothing is under way, and at once if nothing
// more is to be asked on it. It is called with mu held.
func (l *link) wait() {
	switch {
	case len(l.streams) > 0 || l.broken != nil:
	case l.retired:
		l.idle.Reset(0)
	default:
		l.idle.Reset(linkIdle)
	}
}

// retire has a link end once all has come that was asked on it.
func (l *link) retire() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.retired = true
	l.wait()
}

// takes reports whether something can be asked on the link.
func (l *link) takes() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return !l.retired && l.broken == nil
}

// rest closes a link that is not in use.
func (l *link) rest() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.streams) == 0 {
		l.finish(errors.New("nothing was asked for long"))
	}
}

// end closes the link, and ends what was asked on it.
func (l *link) end(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.finish(err)
}

// finish is called with mu held.
func (l *link) finish(err error) {
	if l.broken != nil {
		return
	}
	l.broken = err
	l.idle.Stop()
	l.conn.Close()
	for _, s := range l.streams {
		s.end(err)
	}
}

func (l *link) stream(id uint32) *stream {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.streams[id]
}

// read hands answers to those who wait for them until the connection ends.
func (l *link) read() {
	r := bufio.NewReaderSize(l.conn, readAhead)
	for {
		switch err := l.readFrame(r); {
		case errors.Is(err, io.EOF):
			l.end(errors.New("it ended the connection"))
			return
		case err != nil:
			l.end(err)
			return
		}
	}
}

func (l *link) readFrame(r *bufio.Reader) error {
	kind, id, n, err := readHead(r, maxFrame)
	if err != nil {
		return err
	}
	if kind == frameClose {
		l.retire()
		_, err := r.Discard(n)
		return err
	}
	s := l.stream(id)
	if s == nil { // it was left
		s = &stream{left: true}
	}
	switch kind {
	case frameEnd, frameBroken:
		if kind == frameBroken {
			err = io.ErrUnexpectedEOF
		}
		s.end(err)
		_, err = r.Discard(n)
		return err
	case frameAnswer:
		if n < answerHead {
			return errFrames
		}
		var b [answerHead]byte
		if _, err := io.ReadFull(r, b[:]); err != nil {
			return err
		}
		s.deliver(func(into sink) error {
			if err := errorOf(int(binary.BigEndian.Uint16(b[:]))); err != nil {
				return err
			}
			return into.begin(int(int32(binary.BigEndian.Uint32(b[2:]))))
		})
		n -= answerHead
	case frameData:
	default:
		return errFrames
	}
	return pass(r, n, s)
}

// pass hands n bytes to a stream as they come. They are copied to where they belong only
// once they are here, so that a fetch that no longer wants them need not wait.
func pass(r *bufio.Reader, n int, s *stream) error {
	if n == 0 {
		return nil
	}
	for n > 0 {
		if _, err := r.Peek(1); err != nil {
			return err
		}
		p, _ := r.Peek(min(n, r.Buffered()))
		s.deliver(func(into sink) error { return into.data(p) })
		_, _ = r.Discard(len(p))
		n -= len(p)
	}
	s.deliver(sink.frame)
	return nil
}
