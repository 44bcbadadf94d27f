package gossip

import (
	"io"
	"net"
	"net/netip"
	"slices"
	"sync"
)

// What strangers may occupy: memberlist reads a stream before it can tell
// whether the key is right. Streams of nodes end within milliseconds; one that
// stays is a stranger's, or a node's that lost its network. 4 MiB hold the
// membership of some thousand nodes.
const (
	maxStreams      = 64
	maxStreamsOfOne = 8 // of one address
	maxStreamBytes  = 4 << 20
)

// streams holds the inbound ones that are open. A new one is never refused: the
// oldest goes, of the same address if that has many, else of the address that
// has the most. So a stranger that opens slow streams closes its own.
type streams struct {
	mu   sync.Mutex
	open []*stream // the oldest first
}

func (s *streams) add(conn net.Conn) *stream {
	s.mu.Lock()
	defer s.mu.Unlock()
	in := &stream{Conn: conn, from: remote(conn), of: s, r: io.LimitReader(conn, maxStreamBytes)}
	s.open = append(s.open, in)
	if old := s.surplus(in.from); old != nil {
		s.drop(old)
		_ = old.Conn.Close()
	}
	return in
}

// surplus picks the stream that has to go after one from an address was added.
func (s *streams) surplus(from netip.Addr) *stream {
	count := map[netip.Addr]int{}
	for _, in := range s.open {
		count[in.from]++
	}
	switch {
	case count[from] > maxStreamsOfOne:
		return s.oldest(from)
	case len(s.open) <= maxStreams:
		return nil
	}
	most := s.open[0].from
	for _, in := range s.open {
		if count[in.from] > count[most] {
			most = in.from
		}
	}
	return s.oldest(most)
}

func (s *streams) oldest(from netip.Addr) *stream {
	return s.open[slices.IndexFunc(s.open, func(in *stream) bool { return in.from == from })]
}

func (s *streams) drop(in *stream) {
	s.open = slices.DeleteFunc(s.open, func(other *stream) bool { return other == in })
}

func (s *streams) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, in := range s.open {
		_ = in.Conn.Close()
	}
	s.open = nil
}

func remote(conn net.Conn) netip.Addr {
	addr, _ := netip.ParseAddrPort(conn.RemoteAddr().String())
	return addr.Addr().Unmap()
}

// stream is an inbound connection that ends after maxStreamBytes.
type stream struct {
	net.Conn
	from netip.Addr
	of   *streams
	r    io.Reader
	head []byte // of what was read, up to streamHeaderSize
}

func (s *stream) Read(p []byte) (int, error) {
	n, err := s.r.Read(p)
	if len(s.head) == streamHeaderSize {
		return n, err
	}
	s.head = append(s.head, p[:min(n, streamHeaderSize-len(s.head))]...)
	if len(s.head) < streamHeaderSize {
		return n, err
	}
	if form := checkStreamHeader(s.head); form != nil {
		return 0, form
	}
	return n, err
}

func (s *stream) Close() error {
	s.of.mu.Lock()
	s.of.drop(s)
	s.of.mu.Unlock()
	return s.Conn.Close()
}
