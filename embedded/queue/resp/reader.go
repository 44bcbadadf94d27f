// Package resp reads requests and writes replies in the Redis protocol,
// versions 2 and 3, with the limits that Redis has. It is the first to read
// what strangers send, so it is small, fuzzed, and knows nothing of what commands mean.
package resp

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

const (
	bufSize   = 16 << 10
	maxLine   = 64 << 10  // bytes of a line: a request typed by hand, or the length of an argument
	maxArg    = 512 << 20 // bytes of an argument, as in Redis
	freeSize  = 16 << 10  // bytes of a request that need no room
	sizeStep  = 64 << 10  // bytes of a request between two questions whether there is room for more
	maxArgs   = 1<<31 - 1 // arguments of a request, as in Redis
	bytesEach = 40        // what an argument takes beside its bytes

	// Of a client that has not logged in.
	strangerArgs = 10
	strangerArg  = 16 << 10
)

// Error says how a request breaks the protocol. The connection has to end.
type Error string

func (e Error) Error() string { return string(e) }

// Reader reads the requests of one client.
type Reader struct {
	*bufio.Reader
	// Trusted lifts the limits of a client that has not logged in.
	Trusted bool
	// Room is asked before a request takes more bytes than it was given before; an
	// error refuses it. The bytes are the caller's to take back. nil: no bound.
	Room func(bytes int) error

	asked, taken int // bytes of the request under way: given by Room, used
}

func NewReader(src io.Reader) *Reader {
	return &Reader{Reader: bufio.NewReaderSize(src, bufSize)}
}

// Next returns the next request, no words for an empty one. The error is an
// [Error] when the protocol is broken, Room's, or that of reading.
func (r *Reader) Next() ([]string, error) {
	r.asked, r.taken = freeSize, 0
	first, err := r.Peek(1)
	if err != nil {
		return nil, err
	}
	if first[0] != '*' {
		return r.inline()
	}
	n, err := r.length("too big mbulk count string", "invalid multibulk length", maxArgs)
	if err != nil {
		return nil, err
	}
	if n > strangerArgs && !r.Trusted {
		return nil, Error("unauthenticated multibulk length")
	}
	args := make([]string, 0, max(0, min(n, 64)))
	for range n {
		arg, err := r.argument()
		if err != nil {
			return nil, err
		}
		args = append(args, arg)
	}
	return args, nil
}

// inline reads words as a person types them.
func (r *Reader) inline() ([]string, error) {
	line, err := r.line("too big inline request")
	if err != nil {
		return nil, err
	}
	words, ok := splitWords(strings.TrimSuffix(line, "\r"))
	if !ok {
		return nil, Error("unbalanced quotes in request")
	}
	return words, r.need(len(line) + bytesEach*len(words))
}

func (r *Reader) argument() (string, error) {
	first, err := r.Peek(1)
	if err != nil {
		return "", err
	}
	if first[0] != '$' {
		return "", Error(fmt.Sprintf("expected '$', got '%c'", first[0]))
	}
	n, err := r.length("too big bulk count string", "invalid bulk length", maxArg)
	if err != nil {
		return "", err
	}
	if n < 0 {
		return "", Error("invalid bulk length")
	}
	if n > strangerArg && !r.Trusted {
		return "", Error("unauthenticated bulk length")
	}
	return r.body(n)
}

// body reads n bytes and the end of the line. It sets no memory aside for what
// is only announced.
func (r *Reader) body(n int) (string, error) {
	if n+2 <= r.Size() {
		if err := r.need(n + bytesEach); err != nil {
			return "", err
		}
		b, err := r.Peek(n + 2)
		if err != nil {
			return "", noEOF(err)
		}
		s := string(b[:n])
		_, err = r.Discard(n + 2)
		return s, err
	}
	var b strings.Builder
	for b.Len() < n {
		if b.Len() == b.Cap() {
			more := min(n-b.Len(), max(sizeStep, b.Len()))
			if err := r.need(more); err != nil {
				return "", err
			}
			b.Grow(more)
		}
		if _, err := io.CopyN(&b, r.Reader, int64(min(n, b.Cap())-b.Len())); err != nil {
			return "", noEOF(err)
		}
	}
	_, err := r.Discard(2)
	return b.String(), noEOF(err)
}

// need asks for room when a request grows, and before memory is set aside for it.
func (r *Reader) need(n int) error {
	r.taken += n
	if r.taken <= r.asked || r.Room == nil {
		return nil
	}
	more := r.taken - r.asked + sizeStep
	r.asked += more
	return r.Room(more)
}

// length reads the number of a line such as *3.
func (r *Reader) length(tooLong, invalid string, most int) (int, error) {
	line, err := r.line(tooLong)
	if err != nil {
		return 0, err
	}
	n, err := strconv.ParseInt(strings.TrimSuffix(line[1:], "\r"), 10, 64)
	if err != nil || n > int64(most) || line[1] == '+' {
		return 0, Error(invalid)
	}
	return int(n), nil
}

// line reads up to a line feed, which it drops.
func (r *Reader) line(tooLong string) (string, error) {
	var line []byte
	for {
		part, err := r.ReadSlice('\n')
		line = append(line, part...)
		switch {
		case err == nil:
			return string(line[:len(line)-1]), nil
		case !errors.Is(err, bufio.ErrBufferFull):
			return "", noEOF(err)
		case len(line) >= maxLine:
			return "", Error(tooLong)
		}
	}
}

// noEOF says that a request is cut off.
func noEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
