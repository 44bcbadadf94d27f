package wire

import (
	"bufio"
	"encoding/binary"
	"errors"
	"io"
	"sync"
)

// Two nodes have one connection for all that one asks the other, as a TLS handshake costs
// as much processor time as a piece. What goes over it is frames: a kind, the number that
// the asker gave the question, the length of what follows, and that.
//
// HTTP/2 does the same and more, and took half of crawlbox's processor time: for changes
// between goroutines with each frame, and for windows that nobody needs here. A node that asks
// for a piece has room for all of it.
type frameKind byte

const (
	frameAsk    frameKind = iota + 1 // METHOD PATH, a line break, and the body
	frameLeave                       // nothing: the asker wants no more of the answer
	frameAnswer                      // status and piece, and the beginning of the answer
	frameData                        // more of the answer
	frameEnd                         // nothing: that was the answer
	frameBroken                      // nothing: there will be no more, and it is not whole
	frameClose                       // nothing, and no question: the next ones must come over another connection
)

const (
	frameHead  = 1 + 4 + 4
	answerHead = 2 + 4 // the status, and the number of the piece or noPiece
	noPiece    = -1
	// frame is how much of an answer is sent at a time, in bytes: what else goes over the
	// connection waits for that long.
	frame = 64 << 10
	// maxAsk bounds a question, and maxFrame what else comes in one frame.
	maxAsk   = 64 << 10
	maxFrame = answerHead + frame
)

var errFrames = errors.New("it does not speak as nodes do")

// head begins a frame with so many bytes to follow.
func head(b []byte, kind frameKind, id uint32, length int) []byte {
	b = append(b, byte(kind))
	b = binary.BigEndian.AppendUint32(b, id)
	return binary.BigEndian.AppendUint32(b, uint32(length))
}

// readHead reads the beginning of a frame, that may have most bytes.
func readHead(r *bufio.Reader, most int) (kind frameKind, id uint32, length int, err error) {
	var b [frameHead]byte
	if _, err := io.ReadFull(r, b[:]); err != nil {
		return 0, 0, 0, err
	}
	n := binary.BigEndian.Uint32(b[5:])
	if n > uint32(most) {
		return 0, 0, 0, errFrames
	}
	return frameKind(b[0]), binary.BigEndian.Uint32(b[1:]), int(n), nil
}

// frameWriter writes whole frames, one after the other.
type frameWriter struct {
	mu sync.Mutex
	w  io.Writer
}

func (f *frameWriter) write(frames []byte) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	_, err := f.w.Write(frames)
	return err
}
