package queueproc

import (
	"errors"
	"net"
	"sync"
)

// joined is several listeners in one.
type joined struct {
	all      []net.Listener
	accepted chan accepted
	closing  chan struct{}
	close    func() error
}

type accepted struct {
	conn net.Conn
	err  error
}

// join returns a listener that accepts what any of several does. Its address is that of the
// first.
func join(all []net.Listener) net.Listener {
	j := &joined{all: all, accepted: make(chan accepted), closing: make(chan struct{})}
	j.close = sync.OnceValue(func() error {
		close(j.closing)
		var errs []error
		for _, ln := range j.all {
			errs = append(errs, ln.Close())
		}
		return errors.Join(errs...)
	})
	for _, ln := range all {
		go j.accept(ln)
	}
	return j
}

// accept passes on what a listener accepts, or fails by, until it is closed.
func (j *joined) accept(ln net.Listener) {
	for {
		conn, err := ln.Accept()
		select {
		case j.accepted <- accepted{conn, err}:
		case <-j.closing:
			if conn != nil {
				conn.Close()
			}
			return
		}
		if errors.Is(err, net.ErrClosed) {
			return
		}
	}
}

// Accept implements net.Listener.
func (j *joined) Accept() (net.Conn, error) {
	select {
	case a := <-j.accepted:
		return a.conn, a.err
	case <-j.closing:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (j *joined) Close() error { return j.close() }

// Addr implements net.Listener.
func (j *joined) Addr() net.Addr { return j.all[0].Addr() }
