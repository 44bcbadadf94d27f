package gossip

import (
	"context"
	"log"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/hashicorp/memberlist"
)

// transport is memberlist's own, with some things added: dials end with the
// context and come from the node's address, nothing goes to an address that is not
// known, inbound streams are bounded in number and size, and what memberlist cannot
// stand is kept from it.
type transport struct {
	*memberlist.NetTransport
	ctx     context.Context // of Run; memberlist's interface has none to pass
	addr    netip.Addr
	known   func(netip.AddrPort) bool
	packets chan *memberlist.Packet
	streams chan net.Conn
	open    streams
	stopped chan struct{}
	pump    sync.WaitGroup
	once    sync.Once
}

func newTransport(ctx context.Context, addr netip.Addr, port uint16, known func(netip.AddrPort) bool,
	logger *log.Logger) (*transport, error) {
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
		known:        known,
		packets:      make(chan *memberlist.Packet),
		streams:      make(chan net.Conn),
		stopped:      make(chan struct{}),
	}
	t.pump.Go(t.admitStreams)
	t.pump.Go(t.admitPackets)
	return t, nil
}

func (t *transport) local() netip.AddrPort {
	return netip.AddrPortFrom(t.addr, uint16(t.GetAutoBindPort()))
}

// PacketCh gives memberlist the packets that were admitted.
func (t *transport) PacketCh() <-chan *memberlist.Packet { return t.packets }

// StreamCh gives memberlist the streams that were admitted.
func (t *transport) StreamCh() <-chan net.Conn { return t.streams }

// DialTimeout dials like DialAddressTimeout.
func (t *transport) DialTimeout(addr string, timeout time.Duration) (net.Conn, error) {
	return t.DialAddressTimeout(memberlist.Address{Addr: addr}, timeout)
}

// DialAddressTimeout opens a stream to another node. The error is errUnknown for an
// address where none is known.
func (t *transport) DialAddressTimeout(a memberlist.Address, timeout time.Duration) (net.Conn, error) {
	if err := t.check("dial", "tcp", a.Addr); err != nil {
		return nil, err
	}
	dialer := net.Dialer{Timeout: timeout, LocalAddr: &net.TCPAddr{IP: t.addr.AsSlice(), Zone: t.addr.Zone()}}
	return dialer.DialContext(t.ctx, "tcp", a.Addr)
}

// WriteTo sends like WriteToAddress.
func (t *transport) WriteTo(packet []byte, addr string) (time.Time, error) {
	return t.WriteToAddress(packet, memberlist.Address{Addr: addr})
}

// WriteToAddress sends a packet to another node. The error is errUnknown for an address
// where none is known: members name addresses of themselves and of others, also of those
// who are to be asked and answered.
func (t *transport) WriteToAddress(packet []byte, a memberlist.Address) (time.Time, error) {
	if err := t.check("write", "udp", a.Addr); err != nil {
		return time.Time{}, err
	}
	return t.NetTransport.WriteToAddress(packet, a)
}

// check returns errUnknown as the network would have failed: only then memberlist gives up a
// member, which is where no node is known any longer.
func (t *transport) check(op, network, addr string) error {
	to, err := netip.ParseAddrPort(addr)
	if err != nil || !t.known(to) {
		return &net.OpError{Op: op, Net: network, Err: errUnknown}
	}
	return nil
}

// Shutdown closes the listeners and every inbound stream.
func (t *transport) Shutdown() error {
	// The pumps run on until the listeners are gone: they hand over what they
	// have just accepted before they end.
	err := t.NetTransport.Shutdown()
	t.once.Do(func() { close(t.stopped) })
	t.pump.Wait()
	t.open.close()
	return err
}

func (t *transport) admitPackets() {
	for {
		select {
		case <-t.stopped:
			return
		case packet := <-t.NetTransport.PacketCh():
			if checkPacket(packet.Buf) != nil {
				continue
			}
			select {
			case t.packets <- packet:
			case <-t.stopped:
			}
		}
	}
}

func (t *transport) admitStreams() {
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
	s := t.open.add(conn)
	select {
	case t.streams <- s:
	case <-t.stopped:
		_ = s.Close()
	}
}
