package wire

import (
	"bytes"
	"context"
	"encoding/binary"
	"io"
	"net/http"
	"strconv"
)

// answer is the http.ResponseWriter of one question. Each Write is sent at once, in one
// frame if it fits.
type answer struct {
	s      *answering
	ctx    context.Context
	id     uint32
	header http.Header
	status int
	begun  bool
}

func (a *answer) Header() http.Header { return a.header }

// WriteHeader implements http.ResponseWriter. It goes out with what is written first.
func (a *answer) WriteHeader(status int) { a.status = status }

// headroom is how many bytes come before those of the answer in its first frame.
const headroom = frameHead + answerHead

// begin puts what comes before n bytes of the answer at the end of the room, and says
// where it begins.
func (a *answer) begin(room []byte, n int) (from int) {
	if a.begun {
		head(room[answerHead:answerHead], frameData, a.id, n)
		return answerHead
	}
	a.begun = true
	piece := noPiece
	if text := a.header.Get(pieceHeader); text != "" {
		piece, _ = strconv.Atoi(text)
	}
	b := head(room[:0], frameAnswer, a.id, answerHead+n)
	b = binary.BigEndian.AppendUint16(b, uint16(a.status))
	binary.BigEndian.AppendUint32(b, uint32(int32(piece)))
	return 0
}

// Write implements io.Writer.
func (a *answer) Write(p []byte) (int, error) {
	n, err := a.ReadFrom(bytes.NewReader(p))
	return int(n), err
}

func (a *answer) ReadFrom(r io.Reader) (sent int64, err error) {
	buf := a.s.buffers.Get().(*[headroom + frame]byte)
	defer a.s.buffers.Put(buf)
	for {
		n, err := io.ReadFull(r, buf[headroom:])
		if n > 0 {
			from := a.begin(buf[:headroom], n)
			if err := a.send(buf[from : headroom+n]); err != nil {
				return sent, err
			}
			sent += int64(n)
		}
		switch err {
		case nil:
		//lint:ignore errorlint a reader returns io.EOF as it is; one that is wrapped is a failure
		case io.EOF, io.ErrUnexpectedEOF:
			return sent, nil
		default:
			return sent, err
		}
	}
}

func (a *answer) send(frames []byte) error {
	if err := a.ctx.Err(); err != nil {
		return err
	}
	return a.s.out.write(frames)
}

// FlushError implements http.Flusher as far as http.ResponseController wants it: there
// is nothing to do.
func (a *answer) FlushError() error { return nil }

func (a *answer) finish(broken bool) {
	var b []byte
	if !a.begun {
		b = make([]byte, headroom, headroom+frameHead)
		a.begin(b, 0)
	}
	kind := frameEnd
	if broken {
		kind = frameBroken
	}
	if a.header.Get("Connection") == "close" {
		b = head(b, frameClose, 0, 0) // before who asked has the answer, and asks again
	}
	_ = a.send(head(b, kind, a.id, 0))
}
