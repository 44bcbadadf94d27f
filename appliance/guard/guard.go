// Package guard bounds what strangers can take of a server that the whole
// Internet can reach.
//
// A connection is a stranger's from Accept until Admit is called for it, which
// its server does once the other end has shown who it is: a node by its
// certificate, a client by its credentials. Strangers share a fixed number of
// places, those of one address a smaller one, and none stays longer than
// Patience, however busily it trickles bytes.
//
// Where there is no place left nobody is refused. The oldest stranger of the
// address that holds the most gives way instead. So a flood closes
// its own connections, and a node gets in: to push it out takes as many
// addresses as there are places, all within the time of one handshake.
//
// Admitted connections have no deadline here, until Drop ends those of a party that
// lost its access. A party that has PerParty of them closes its own oldest with the
// next: a node that was admitted may be broken into later.
//
// Accept costs the same however full the books are, and waits for nothing but
// the listener beneath. No goroutine is started: each stranger has a timer,
// and there are no more timers than places.
package guard

import (
	"cmp"
	"container/list"
	"net"
	"sync"
	"time"
)

// Limits bounds what can be taken. A zero field means its default.
type Limits struct {
	PerParty  int           // connections at a time of one that was admitted; default 256
	Strangers int           // connections at a time, of all addresses; default 1024
	PerAddr   int           // connections at a time of one address, or of one IPv6 /64; default 64
	Patience  time.Duration // how long a stranger's connection lives; default 30 s
}

func (l Limits) withDefaults() Limits {
	l.Strangers = cmp.Or(max(l.Strangers, 0), 1024)
	l.PerAddr = cmp.Or(max(l.PerAddr, 0), 64)
	l.PerParty = cmp.Or(max(l.PerParty, 0), 256)
	l.Patience = cmp.Or(max(l.Patience, 0), 30*time.Second)
	return l
}

// Listener is a net.Listener that holds strangers within limits. It is safe
// for concurrent use.
type Listener struct {
	net.Listener
	limits Limits

	mu        sync.Mutex
	strangers *perSourceLimit
	admitted  map[string]*list.List // of *conn, the oldest first, by who
}

// New guards the connections that ln accepts. Closing the Listener closes ln
// and leaves accepted connections as they are; those of strangers still end
// when Patience does.
func New(ln net.Listener, l Limits) *Listener {
	return &Listener{
		Listener:  ln,
		limits:    l.withDefaults(),
		strangers: newPerSourceLimit(),
		admitted:  map[string]*list.List{},
	}
}

// Accept returns the next connection, which is a stranger's. Its errors are
// those of the listener beneath, as they come.
func (l *Listener) Accept() (net.Conn, error) {
	nc, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	c, oldest := l.enter(nc)
	if oldest != nil {
		oldest.Close()
	}
	return c, nil
}

// enter puts a connection into the books and takes out the one that has to
// give way to it, if any.
func (l *Listener) enter(nc net.Conn) (c, oldest *conn) {
	c = &conn{Conn: nc, l: l}
	l.mu.Lock()
	defer l.mu.Unlock()
	own := l.strangers.add(c, groupOf(nc.RemoteAddr()))
	switch {
	case own.len() > l.limits.PerAddr:
		oldest = own.oldest()
	case l.strangers.n > l.limits.Strangers:
		oldest = l.strangers.largest().oldest()
	}
	if oldest != nil {
		oldest.forget()
	}
	c.patience = time.AfterFunc(l.limits.Patience, c.expire)
	return c, oldest
}

// Drop closes the connections that are admitted as who now. Whoever takes an
// access away does so before Drop, so that no new connection is admitted
// after it.
func (l *Listener) Drop(who string) {
	for _, c := range l.connsOf(who) {
		c.Close()
	}
}

func (l *Listener) connsOf(who string) []*conn {
	l.mu.Lock()
	defer l.mu.Unlock()
	all := l.admitted[who]
	if all == nil {
		return nil
	}
	conns := make([]*conn, 0, all.Len())
	for e := all.Front(); e != nil; e = e.Next() {
		conns = append(conns, e.Value.(*conn))
	}
	return conns
}
