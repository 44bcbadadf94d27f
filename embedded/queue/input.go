package queue

import (
	"errors"
	"net"
	"os"
	"time"

	"github.com/crawlbox/crawlbox/embedded/queue/admission"
)

// maxAhead bounds what a client may send while it waits for an item.
const maxAhead = 64 << 20

var errAhead = errors.New("the client sends too much while it waits")

// input reads what comes from a client. Before it waits for more, what is to be sent
// goes out.
type input struct {
	conn   net.Conn
	share  *admission.Share
	before func() error

	ahead []byte // read while the client waited for an item
	err   error
}

func (in *input) Read(p []byte) (int, error) {
	if len(in.ahead) > 0 {
		n := copy(p, in.ahead)
		in.ahead = in.ahead[n:]
		in.share.Give(n)
		return n, nil
	}
	if in.err != nil {
		return 0, in.err
	}
	if err := in.before(); err != nil {
		return 0, err
	}
	return in.conn.Read(p)
}

// readAhead reads on while the client waits for an item, so that its end is
// noticed, and calls gone then. Nobody reads meanwhile until stop returns.
func (in *input) readAhead(gone func()) (stop func()) {
	if in.err != nil {
		gone()
		return func() {}
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		buf := make([]byte, 4<<10)
		for {
			n, err := in.conn.Read(buf)
			if n > 0 && (len(in.ahead)+n > maxAhead || !in.share.Take(n)) {
				err = errAhead
			} else {
				in.ahead = append(in.ahead, buf[:n]...)
			}
			if errors.Is(err, os.ErrDeadlineExceeded) {
				return
			}
			if err != nil {
				in.err = err
				gone()
				return
			}
		}
	}()
	return func() {
		_ = in.conn.SetReadDeadline(time.Unix(1, 0))
		<-done
		_ = in.conn.SetReadDeadline(time.Time{})
	}
}
