package taskexec

import (
	"encoding/binary"
	"fmt"
	"io"
	"sync"
)

// Kinds of frames. A frame is its kind in a byte, the length of what follows in four, and that.
const (
	input    byte = iota // to the program
	inputEnd             // there is no more of it
	resize               // the terminal has another Size
	output               // of the program
	failure              // what it wrote to its standard error
	exit                 // exited: it has ended
)

// maxFrame bounds a frame, in bytes.
const maxFrame = 64 << 10

const header = 5

// frames writes frames, one at a time.
type frames struct {
	mu sync.Mutex
	w  io.Writer
}

func (f *frames) write(kind byte, data []byte) error {
	frame := make([]byte, header, header+len(data))
	frame[0] = kind
	binary.BigEndian.PutUint32(frame[1:], uint32(len(data)))
	f.mu.Lock()
	defer f.mu.Unlock()
	_, err := f.w.Write(append(frame, data...))
	return err
}

// stream writes frames of one kind.
type stream struct {
	to   *frames
	kind byte
}

func (s stream) Write(p []byte) (n int, err error) {
	for len(p) > 0 {
		part := p[:min(len(p), maxFrame)]
		if err := s.to.write(s.kind, part); err != nil {
			return n, err
		}
		n, p = n+len(part), p[len(part):]
	}
	return n, nil
}

func readFrame(r io.Reader) (kind byte, data []byte, err error) {
	var head [header]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return 0, nil, err
	}
	n := binary.BigEndian.Uint32(head[1:])
	if n > maxFrame {
		return 0, nil, fmt.Errorf("a frame of %d bytes, the limit is %d", n, maxFrame)
	}
	data = make([]byte, n)
	_, err = io.ReadFull(r, data)
	return head[0], data, err
}
