package tasklog

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
)

// Streams of a task, and that of the engine, which speaks about the log.
const (
	Stdout = "stdout"
	Stderr = "stderr"
	engine = "engine"
)

const (
	// stampFormat is how Docker writes the time of a message, always in UTC, and so always as
	// long as it is here.
	stampFormat = "2006-01-02T15:04:05.000000000Z07:00"
	stampLen    = len("2006-01-02T15:04:05.000000000Z")

	// pieceLen is the length of the messages into which Docker cuts a line that is longer: all
	// but the last.
	pieceLen = 16 << 10

	// headLen is the length of what stands before a message: its stream, three zeros and its
	// length.
	headLen = 8
	// maxFrame is more than any log driver makes of one message, in bytes.
	maxFrame = 4 << 20

	chunk = 32 << 10 // that is read at once
)

// errorPrefix begins what the engine says where it has no lines.
const errorPrefix = "Error grabbing logs: "

// piece is a part of a line.
type piece struct {
	stream string
	time   time.Time // when its message was written; zero: the engine did not say
	text   []byte    // valid until the next
	begins bool      // a message begins with it
	ends   bool      // its line ends with it
}

// frames reads what an engine sends of the log of one task, with times. Docker has two forms
// of that: messages of which each has a head, or, of a task with a terminal, nothing but their
// bytes. They can be told apart by the first byte: a head begins with the number of a stream, a
// message with a digit of its time.
type frames struct {
	in   *bufio.Reader
	read bool // something has been
	bare bool // without heads

	stream string
	time   time.Time
	left   int  // bytes of the message that are to come; of a bare one, at most
	begun  bool // and nothing of the message was returned yet
}

func newFrames(r io.Reader) *frames { return &frames{in: bufio.NewReaderSize(r, 2*chunk)} }

// next returns the next piece, or io.EOF.
func (f *frames) next() (piece, error) {
	if !f.read {
		first, err := f.in.Peek(1)
		if err != nil {
			return piece{}, err
		}
		f.read, f.bare = true, first[0] > 3
	}
	if f.left == 0 {
		if err := f.begin(); err != nil {
			return piece{}, err
		}
	}
	return f.piece()
}

// begin reads what stands before a message.
func (f *frames) begin() error {
	f.begun = true
	if f.bare {
		f.stream, f.left = Stdout, pieceLen
		return f.stamp()
	}
	for f.left == 0 {
		if err := f.head(); err != nil {
			return err
		}
	}
	return f.stamp()
}

func (f *frames) head() error {
	var head [headLen]byte
	if _, err := io.ReadFull(f.in, head[:]); err != nil {
		return err
	}
	size := binary.BigEndian.Uint32(head[4:])
	if head[0] > 3 || head[1] != 0 || head[2] != 0 || head[3] != 0 || size > maxFrame {
		return errors.New("the Docker Engine sends a log that is none: a message of it begins with " +
			fmt.Sprintf("% x", head))
	}
	f.stream, f.left = [...]string{Stdout, Stdout, Stderr, engine}[head[0]], int(size)
	return nil
}

// stamp reads the time of a message. Without one it is the engine's own word, or a further
// piece of a line that has the time of the piece before.
func (f *frames) stamp() error {
	n := stampLen + 1
	if !f.bare {
		n = min(n, f.left)
	}
	text, err := f.in.Peek(n)
	if err != nil && !(errors.Is(err, io.EOF) && f.bare && len(text) > 0) {
		return unexpected(err, f.bare)
	}
	t, ok := parseStamp(text)
	switch {
	case ok:
		f.time = t
		_, _ = f.in.Discard(n)
		if !f.bare {
			f.left -= n
		}
	case f.bare && strings.HasPrefix(string(text), errorPrefix):
		f.stream = engine
	}
	return nil
}

// parseStamp reads a time and the space behind it.
func parseStamp(text []byte) (t time.Time, ok bool) {
	if len(text) != stampLen+1 || text[stampLen] != ' ' {
		return t, false
	}
	t, err := time.Parse(stampFormat, string(text[:stampLen]))
	return t, err == nil
}

// piece reads on in a message.
func (f *frames) piece() (piece, error) {
	p := piece{stream: f.stream, time: f.time, begins: f.begun}
	f.begun = false
	if f.left == 0 { // a message without a text
		return p, nil
	}
	// What has a length is not shown before it is there: a log that breaks off in a message is
	// read again from there.
	n := min(f.left, chunk)
	if f.bare {
		n = 1
	}
	if _, err := f.in.Peek(n); err != nil {
		return p, unexpected(err, f.bare)
	}
	text, _ := f.in.Peek(min(f.left, f.in.Buffered(), chunk))
	if i := bytes.IndexByte(text, '\n'); i >= 0 {
		text, p.ends = text[:i+1], true
	}
	_, _ = f.in.Discard(len(text))
	f.left -= len(text)
	if p.ends && f.bare {
		f.left = 0
	}
	p.text = bytes.TrimSuffix(text, []byte("\n"))
	return p, nil
}

// unexpected makes an end within a message an error where messages have a length.
func unexpected(err error, bare bool) error {
	if errors.Is(err, io.EOF) && !bare {
		return io.ErrUnexpectedEOF
	}
	return err
}
