package gossip

import (
	"context"
	"io"
	"log"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/hashicorp/memberlist"
)

// What strangers may occupy: memberlist reads a stream before it can tell
// whether the key is right. 4 MiB hold the membership of some thousand nodes.
const (
	maxStreams     = 64
	maxStreamBytes = 4 << 20
)

// transport is memberlist's own, with three things added: dials end with the
// context and come from the node's address, and inbound streams are bounded in
// number and size.
type transport struct {
	*memberlist.NetTransport
	ctx     context.Context // of Run; memberlist's interface has none to pass
	addr    netip.Addr
	streams chan net.Conn
	slots   chan struct{}
	stopped chan struct{}
	pump    sync.WaitGroup
	once    sync.Once

	mu   sync.Mutex
	open map[net.Conn]struct{} // nil once shut down
}

func newTransport(ctx context.Context, addr netip.Addr, port uint16, logger *log.Logger) (*transport, error) {
	inner, err := memberlist.NewNetTransport(&memberlist.NetTransportConfig{
		BindAddrs: []string{addr.String()},
		BindPort:  int(port),
		Logger:    logger,
	})
	if err != nil {
		return nil, err
	}
	t := &transport{
		NetTransport: inner,
		ctx:          ctx,
		addr:         addr,
		streams:      make(chan net.Conn),
		slots:        make(chan struct{}, maxStreams),
		stopped:      make(chan struct{}),
		open:         map[net.Conn]struct{}{},
	}
	t.pump.Go(t.admit)
	return t, nil
}

func (t *transport) local() netip.AddrPort {
	return netip.AddrPortFrom(t.addr, uint16(t.GetAutoBindPort()))
}

// StreamCh gives memberlist the streams that were admitted.
func (t *transport) StreamCh() <-chan net.Conn { return t.streams }

// DialTimeout dials like DialAddressTimeout.
func (t *transport) DialTimeout(addr string, timeout time.Duration) (net.Conn, error) {
	return t.DialAddressTimeout(memberlist.Address{Addr: addr}, timeout)
}

// DialAddressTimeout opens a stream to another node.
func (t *transport) DialAddressTimeout(a memberlist.Address, timeout time.Duration) (net.Conn, error) {
	dialer := net.Dialer{Timeout: timeout, LocalAddr: &net.TCPAddr{IP: t.addr.AsSlice(), Zone: t.addr.Zone()}}
	return dialer.DialContext(t.ctx, "tcp", a.Addr)
}

// Shutdown closes the listeners and every inbound stream.
func (t *transport) Shutdown() error {
	// The pump runs on until the listeners are gone: they hand over what they
	// have just accepted before they end.
	err := t.NetTransport.Shutdown()
	t.once.Do(func() { close(t.stopped) })
	t.pump.Wait()
	t.mu.Lock()
	defer t.mu.Unlock()
	for conn := range t.open {
		_ = conn.Close()
	}
	t.open = nil
	return err
}

// admit passes streams on while there are slots for them, and closes others.
func (t *transport) admit() {
	for {
		select {
		case <-t.stopped:
			return
		case conn := <-t.NetTransport.StreamCh():
			t.pass(conn)
		}
	}
}

func (t *transport) pass(conn net.Conn) {
	select {
	case t.slots <- struct{}{}:
	default:
		_ = conn.Close()
		return
	}
	s := &stream{Conn: conn, r: io.LimitReader(conn, maxStreamBytes)}
	s.release = sync.OnceFunc(func() {
		<-t.slots
		t.mu.Lock()
		defer t.mu.Unlock()
		delete(t.open, conn)
	})
	t.mu.Lock()
	t.open[conn] = struct{}{}
	t.mu.Unlock()
	select {
	case t.streams <- s:
	case <-t.stopped:
		_ = s.Close()
	}
}

// stream is an inbound connection that ends after maxStreamBytes.
type stream struct {
	net.Conn
	r       io.Reader
	release func()
}

func (s *stream) Read(p []byte) (int, error) { return s.r.Read(p) }

func (s *stream) Close() error {
	defer s.release()
	return s.Conn.Close()
}
