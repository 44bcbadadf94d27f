package e2e

import (
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/memberlist" // strangers speak it as it is, without embedded/gossip

	"github.com/crawlbox/crawlbox/appliance/lab"
)

// tryGossip comes as a member, with no key and with keys that are none.
func (h *heist) tryGossip(host *lab.Host, d door) {
	h.Helper()
	h.tryStreams(host, d)
	wrong := make([]byte, 32)
	_, _ = rand.Read(wrong) // never fails
	old := h.stolen.Membership().GossipKeys[0]
	var all sync.WaitGroup
	for name, key := range map[string][]byte{"no key": nil, "a random key": wrong, "the key of before": old} {
		all.Go(func() {
			if g := h.gossip(host, key); g.joined == nil || g.answered == nil || len(g.members) != 1 {
				h.Errorf("with %s %s says %v", name, host.Name(), g)
			}
		})
	}
	all.Wait()
}

// gossipAsNode shows that the same with a key that is good finds the members,
// and that none of the strangers is one: also with the key nothing is sent to where no
// node is known, so packets get no answer.
func (h *heist) gossipAsNode() {
	h.Helper()
	want := []string{nameOfStranger, h.copyIdentity(h.manager).Node.ID, h.live.Node.ID}
	slices.Sort(want)
	for _, host := range h.hosts {
		// A node that was removed is suspected for some seconds, before the others drop it.
		lab.WaitFor(h, patience, "gossip on "+host.Name(), func() error {
			g := h.gossip(host, h.sharedKey())
			if g.joined != nil || g.answered == nil || !slices.Equal(g.members, want) {
				return fmt.Errorf("it says %v, want the members %v", g, want)
			}
			return nil
		})
	}
}

const nameOfStranger = "stranger"

// gossiped is what a member of a moment has heard.
type gossiped struct {
	members  []string // with itself
	joined   error    // nil: it was given the list of members
	answered error    // nil: a packet was answered
}

func (h *heist) gossip(host *lab.Host, key []byte) (g gossiped) {
	conn, err := h.stranger.DialContext(h.Context(), "udp", addrOf(host, 7981))
	if err != nil {
		return gossiped{joined: err, answered: err}
	}
	via := &remoteTransport{
		host:    h.stranger,
		packets: make(chan *memberlist.Packet),
		streams: make(chan net.Conn),
		stop:    make(chan struct{}),
		conn:    conn,
	}
	via.reader.Go(via.read)
	conf := memberlist.DefaultLANConfig()
	conf.Name, conf.Transport, conf.LogOutput = nameOfStranger, via, io.Discard
	conf.SecretKey = key
	conf.TCPTimeout, conf.ProbeTimeout = 5*time.Second, time.Second
	list, err := memberlist.Create(conf)
	if err != nil {
		return gossiped{joined: err, answered: err}
	}
	defer list.Shutdown()
	_, g.joined = list.Join([]string{addrOf(host, 7981)})
	for _, m := range list.Members() {
		g.members = append(g.members, m.Name)
	}
	slices.Sort(g.members)
	_, g.answered = list.Ping("", conn.RemoteAddr())
	return g
}

// remoteTransport lets a memberlist in the test speak from a host to one other.
// Nobody can come to it: packets are answered where they come from.
type remoteTransport struct {
	host    *lab.Host
	conn    net.Conn // for packets
	packets chan *memberlist.Packet
	streams chan net.Conn
	stop    chan struct{}
	reader  sync.WaitGroup
}

func (t *remoteTransport) FinalAdvertiseAddr(string, int) (net.IP, int, error) {
	self := t.conn.LocalAddr().(*net.UDPAddr)
	return self.IP, self.Port, nil
}

func (t *remoteTransport) WriteTo(b []byte, _ string) (time.Time, error) {
	_, err := t.conn.Write(b)
	return time.Now(), err
}

func (t *remoteTransport) read() {
	for {
		buf := make([]byte, 1<<16)
		n, err := t.conn.Read(buf)
		if err != nil {
			return
		}
		select {
		case t.packets <- &memberlist.Packet{Buf: buf[:n], From: t.conn.RemoteAddr(), Timestamp: time.Now()}:
		case <-t.stop:
			return
		}
	}
}

func (t *remoteTransport) PacketCh() <-chan *memberlist.Packet { return t.packets }
func (t *remoteTransport) StreamCh() <-chan net.Conn           { return t.streams }

func (t *remoteTransport) DialTimeout(addr string, timeout time.Duration) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	return t.host.DialContext(ctx, "tcp", addr)
}

func (t *remoteTransport) Shutdown() error {
	close(t.stop)
	t.conn.Close()
	t.reader.Wait()
	return nil
}
