package wire

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"sync"

	"github.com/crawlbox/crawlbox/embedded/mirror/exchange"
)

// stream is a question under way on a link.
type stream struct {
	id   uint32
	into sink

	mu    sync.Mutex
	left  bool // nobody waits for more
	ended bool // the other side is through
	err   chan error
}

// sink takes an answer. Its methods are called one after the other, and not once nobody
// waits for the answer any longer.
type sink interface {
	// begin is told the number of the piece that comes, or noPiece.
	begin(piece int) error
	// data takes some of the answer.
	data(p []byte) error
	// frame is called at the end of each frame.
	frame() error
}

func newStream(into sink) *stream { return &stream{into: into, err: make(chan error, 1)} }

// deliver has the sink take something, if somebody still waits for it.
func (s *stream) deliver(take func(sink) error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.left {
		return
	}
	if err := take(s.into); err != nil {
		s.finish(err)
	}
}

// end ends a stream that the other side is through with.
func (s *stream) end(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ended = true
	if !s.left {
		s.finish(err)
	}
}

// finish is called with mu held.
func (s *stream) finish(err error) {
	s.left = true
	s.err <- err
}

// leave waits until nothing more is handed to the sink, and reports whether the other
// side has to be told.
func (s *stream) leave() (tell bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.left = true
	return !s.ended
}

// errorOf gives the error that a status stands for.
func errorOf(status int) error {
	switch status {
	case http.StatusOK:
		return nil
	case http.StatusNotFound:
		return exchange.ErrUnknown
	case http.StatusServiceUnavailable:
		return exchange.ErrBusy
	case http.StatusTooManyRequests:
		return exchange.ErrEnough
	default:
		return fmt.Errorf("it answers %d %s", status, http.StatusText(status))
	}
}

var errLong = errors.New("it sends more than it should")

// whole keeps an answer.
type whole struct {
	bytes.Buffer
	most int
}

func (*whole) begin(int) error { return nil }
func (*whole) frame() error    { return nil }

func (w *whole) data(p []byte) error {
	if w.Len()+len(p) > w.most {
		return errLong
	}
	_, _ = w.Write(p) // never fails
	return nil
}

// newsSink sees what each frame says.
type newsSink struct {
	whole
	see func(exchange.News)
}

func (s *newsSink) frame() error {
	defer s.Reset()
	var n exchange.News
	if err := json.Unmarshal(s.Bytes(), &n); err != nil {
		return err
	}
	s.see(n)
	return nil
}

// pieceSink puts a piece in its place.
type pieceSink struct {
	to   exchange.Landing
	room []byte
}

func (s *pieceSink) begin(piece int) (err error) {
	if piece == noPiece {
		return errors.New("it does not say which piece it sends")
	}
	s.room, err = s.to.Begin(piece)
	return err
}

func (s *pieceSink) data(p []byte) error {
	if len(p) > len(s.room) {
		return errLong
	}
	s.room = s.room[copy(s.room, p):]
	return s.to.Got(len(p))
}

func (*pieceSink) frame() error { return nil }
