package keycopy

import (
	"bytes"
	"fmt"
	"net"
	"strconv"
)

// Bounds of what a server may announce in a reply. Redis itself has 512 MB for a value; whole values
// of small encodings come in one array.
const (
	maxBulk  = 512 << 20
	maxArray = 16 << 20
	maxLine  = 64 << 10
)

// bounded reads replies of a server, and fails at one whose head announces more than a server has:
// the client makes room for what is announced.
type bounded struct {
	net.Conn
	line []byte // the beginning of a line
	skip int64  // bytes of a value that are to come
}

func (b *bounded) Read(p []byte) (int, error) {
	n, err := b.Conn.Read(p)
	if wrong := b.see(p[:n]); wrong != nil {
		return 0, wrong
	}
	return n, err
}

// see follows the replies through what has come.
func (b *bounded) see(p []byte) error {
	for len(p) > 0 {
		if b.skip > 0 {
			n := min(b.skip, int64(len(p)))
			b.skip, p = b.skip-n, p[n:]
			continue
		}
		end := bytes.IndexByte(p, '\n')
		some := p
		if end >= 0 {
			some = p[:end]
		}
		if len(b.line)+len(some) > maxLine {
			return fmt.Errorf("it sends a line of more than %d bytes; it is no Redis server", maxLine)
		}
		if b.line = append(b.line, some...); end < 0 {
			return nil
		}
		if err := b.head(b.line); err != nil {
			return err
		}
		b.line, p = b.line[:0], p[end+1:]
	}
	return nil
}

// head takes up the first line of a reply, or of a part of it.
func (b *bounded) head(line []byte) error {
	line = bytes.TrimSuffix(line, []byte("\r"))
	if len(line) == 0 {
		return nil
	}
	n, err := strconv.ParseInt(string(line[1:]), 10, 64)
	switch line[0] {
	case '$', '=', '!':
		if err != nil || n > maxBulk {
			return fmt.Errorf("it sends %.40q where the length of a value should be", line)
		}
		if n >= 0 {
			b.skip = n + 2
		}
	case '*', '~', '%', '>', '|':
		if err != nil || n > maxArray {
			return fmt.Errorf("it sends %.40q where the length of a list should be", line)
		}
	}
	return nil
}
