package bound

import (
	"fmt"
	"net"
	"sync/atomic"
)

// Answers returns a connection on which what comes between two writes, which is an answer, has so many bytes at most.
// Of more the error is ErrTooLong, and nothing is read any longer.
func Answers(conn net.Conn, most int64) net.Conn { return &answers{Conn: conn, most: most} }

type answers struct {
	net.Conn
	most int64
	read atomic.Int64
}

// Read implements io.Reader.
func (a *answers) Read(p []byte) (int, error) {
	left := a.most + 1 - a.read.Load() // one more tells that there is more
	if left <= 0 {
		return 0, fmt.Errorf("an answer of more than %d MB: %w", a.most>>20, ErrTooLong)
	}
	n, err := a.Conn.Read(p[:min(int64(len(p)), left)])
	a.read.Add(int64(n))
	return n, err
}

// Write implements io.Writer.
func (a *answers) Write(p []byte) (int, error) {
	if a.read.Load() <= a.most {
		a.read.Store(0)
	}
	return a.Conn.Write(p)
}
