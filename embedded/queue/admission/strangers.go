package admission

import (
	"container/list"
	"net"
	"sync"
)

// MaxStrangers bounds the connections that have not logged in.
const MaxStrangers = 1000

// Strangers holds the clients that have not logged in, the oldest first.
type Strangers struct {
	mu   sync.Mutex
	list list.List // of func(), which ends the connection
}

// Enter takes one more stranger in and ends the oldest if that is one too many:
// a client logs in at once, and the oldest is the likeliest to hold its place for nothing.
// leave may be called more than once.
func (s *Strangers) Enter(end func()) (leave func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.list.PushBack(end)
	if s.list.Len() > MaxStrangers {
		s.list.Remove(s.list.Front()).(func())()
	}
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.list.Remove(e)
	}
}

// admitter is a connection of a listener that bounds strangers too, and wants to
// hear which are none.
type admitter interface{ Admit(who string) }

// admit tells such a connection, however it is wrapped, that the client logged in.
func admit(conn net.Conn) {
	for conn != nil {
		if a, ok := conn.(admitter); ok {
			a.Admit("queue")
			return
		}
		wrapped, ok := conn.(interface{ NetConn() net.Conn })
		if !ok {
			return
		}
		conn = wrapped.NetConn()
	}
}

// Innermost returns the connection that its wrappers use. Closing it never waits,
// while TLS tells the peer, which may not read.
func Innermost(conn net.Conn) net.Conn {
	for {
		wrapped, ok := conn.(interface{ NetConn() net.Conn })
		if !ok {
			return conn
		}
		conn = wrapped.NetConn()
	}
}
