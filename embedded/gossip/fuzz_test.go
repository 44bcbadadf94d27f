package gossip

import (
	"bytes"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"encoding/binary"
	"io"
	"log/slog"
	"net"
	"slices"
	"testing"
	"time"

	"github.com/hashicorp/memberlist"
)

func FuzzMeta(f *testing.F) {
	full, _ := encodeMeta(fullNode, 1)
	f.Add(full)
	f.Add([]byte("\x01\x01\x01a"))
	f.Add(encodeFarewell("a", 1))
	f.Fuzz(func(t *testing.T, in []byte) {
		_, _, _ = decodeFarewell(in)
		n, boot, err := decodeMeta(in)
		if err != nil {
			return
		}
		again, err := encodeMeta(n, boot)
		if err != nil {
			t.Fatalf("decoded but not encoded: %v", err)
		}
		if m, b, err := decodeMeta(again); err != nil || m != n || b != boot {
			t.Fatalf("%+v became %+v, %v", n, m, err)
		}
	})
}

// FuzzEvents plays what memberlist passes on from peers: each event is a kind, a
// length, a name of one letter and as much metadata or message.
func FuzzEvents(f *testing.F) {
	event := func(kind byte, name byte, body []byte) []byte {
		return append([]byte{kind, byte(len(body)), name}, body...)
	}
	meta, _ := encodeMeta(Node{ID: "a", Name: "n", Addr: testAddr}, 7)
	join, bye := event(0, 'a', meta), event(3, 0, encodeFarewell("a", 7))
	f.Add(append(append(join, bye...), event(2, 'a', nil)...))
	f.Add(append(append(join, event(4, 'a', nil)...), join...))
	f.Add(append(join, event(1, 's', meta)...))
	f.Fuzz(func(t *testing.T, in []byte) {
		opts := Options{Addr: testAddr, Keys: [][]byte{testKey}, Self: Node{ID: "s"}}
		g, err := New(opts, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		for len(in) > 2 && len(in) >= 3+int(in[1]) {
			kind, name, body := in[0], string(in[2:3]), in[3:3+int(in[1])]
			in = in[3+len(body):]
			play(g, kind, &memberlist.Node{Name: name, Addr: body, Meta: body}, body)
		}
		for _, m := range g.Members() {
			if checkText(m.ID) != nil || m.ID != m.Name && m.Name != "" && checkText(m.Name) != nil ||
				g.roster.isForgotten(m.ID) {
				t.Errorf("member %+v", m)
			}
		}
		for _, msg := range g.GetBroadcasts(0, 1<<20) {
			if _, _, err := decodeFarewell(msg); err != nil {
				t.Errorf("%q is passed on", msg)
			}
		}
	})
}

func play(g *Gossip, kind byte, n *memberlist.Node, body []byte) {
	switch kind % 6 {
	case 0, 1: // as memberlist does, which asks first
		if g.roster.NotifyAlive(n) != nil {
			return
		}
		g.roster.NotifyJoin(n)
		g.roster.NotifyUpdate(n)
	case 2:
		g.roster.NotifyLeave(n)
	case 3:
		g.NotifyMsg(body)
	case 4:
		g.Forget(n.Name)
	case 5:
		g.MergeRemoteState(body, true)
		_, _ = g.lines.Write(body)
	}
}

// fuzzed is a node that hears what a fuzz test says.
type fuzzed struct {
	*Gossip
	list *memberlist.Memberlist
	wire *transport
}

func startFuzzed(f *testing.F) *fuzzed {
	opts := Options{Addr: testAddr, Keys: [][]byte{testKey}, Self: Node{ID: "self"}}
	node := &fuzzed{}
	opts.tune = func(c *memberlist.Config) { node.wire = c.Transport.(*transport) }
	g, err := New(opts, slog.New(slog.DiscardHandler))
	if err != nil {
		f.Fatal(err)
	}
	conf, err := g.config(context.Background())
	if err != nil {
		f.Fatal(err)
	}
	if node.list, err = memberlist.Create(conf); err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { _ = node.list.Shutdown() })
	node.Gossip = g
	return node
}

// closing is a connection that tells when it is closed.
type closing struct {
	net.Conn
	closed chan struct{}
}

func (c *closing) Close() error {
	defer func() { _ = recover() }()
	close(c.closed)
	return c.Conn.Close()
}

// stream says something on a stream, and waits until the node is done with it.
func (n *fuzzed) stream(data []byte) {
	client, server := net.Pipe()
	defer client.Close()
	go func() { _, _ = io.Copy(io.Discard, client) }()
	conn := &closing{Conn: server, closed: make(chan struct{})}
	n.wire.pass(conn)
	_, _ = client.Write(data)
	_ = client.Close()
	<-conn.closed
}

// packet sends a packet and waits until memberlist has taken it.
func (n *fuzzed) packet(t *testing.T, data []byte) {
	client, server := net.Pipe()
	go func() {
		_, _ = client.Write(data)
		_ = client.Close()
	}()
	if err := n.wire.IngestPacket(server, &net.UDPAddr{IP: net.IPv4(127, 0, 0, 9), Port: 9}, time.Now(),
		true); err != nil {
		t.Fatal(err)
	}
}

// FuzzStranger says anything to a node without its key, as a stream and as a
// packet.
func FuzzStranger(f *testing.F) {
	node := startFuzzed(f)
	f.Add([]byte{})
	f.Add([]byte("\x00\x85\xa5SeqNo\x01"))                             // a ping
	f.Add([]byte("\x06\x83\xa4Join\xc3\xa5Nodes\xce\x7f\xff\xff\xff")) // a push/pull
	f.Add([]byte("\x0a\x00\x00\x00\x40\x01" + string(make([]byte, 64))))
	f.Add([]byte("\x0a\xff\xff\xff\xff\x01"))
	f.Add([]byte("\xf4\x03abc\x06"))
	f.Add(append([]byte{0}, make([]byte, 60)...))
	f.Fuzz(func(t *testing.T, data []byte) {
		node.stream(data)
		if len(data) > 0 {
			node.packet(t, data)
		}
		if n := len(node.Members()); n != 1 || node.list.NumMembers() != 1 {
			t.Errorf("%q made it know %d members", data, n)
		}
	})
}

// FuzzPeer says anything to a node with its key.
func FuzzPeer(f *testing.F) {
	node := startFuzzed(f)
	f.Add([]byte{})                       // ends memberlist as a stream
	f.Add(bytes.Repeat([]byte{0xff}, 20)) // and that with the padding of version 0
	f.Add([]byte("\x08" + string(encodeFarewell("self", 1))))
	f.Add([]byte("\x08\x81\xaaUserMsgLen\x03Fxx"))
	f.Add([]byte(
		"\x04\x86\xabIncarnation\x01\xa4Node\xa1a\xa4Addr\xc4\x04\x7f\x00\x00\x01\xa4Port\xcd\x1f\x2d" +
			"\xa4Meta\xc4\x04\x01\x01\x01a\xa3Vsn\xc4\x06\x01\x05\x02\x00\x00\x00"))
	f.Add([]byte("\x06\x83\xa4Join\xc3\xa5Nodes\x00\xacUserStateLen\x00"))
	f.Fuzz(func(t *testing.T, data []byte) {
		head := binary.BigEndian.AppendUint32([]byte{10}, uint32(len(data)+29))
		message, packet := seal(t, data, head), seal(t, data, nil)
		for version := range byte(2) { // of the cipher; not what the tag protects
			message[0], packet[0] = version, version
			node.stream(slices.Concat(head, message))
			node.packet(t, packet)
		}
		for _, m := range node.Members() {
			if checkText(m.ID) != nil {
				t.Errorf("member %+v", m)
			}
		}
	})
}

// seal encrypts as memberlist does.
func seal(t *testing.T, plain, authenticated []byte) []byte {
	t.Helper()
	block, err := aes.NewCipher(testKey)
	if err != nil {
		t.Fatal(err)
	}
	gcm, err := cipher.NewGCM(block)
	if err != nil {
		t.Fatal(err)
	}
	sealed := make([]byte, 13)
	sealed[0] = 1
	return gcm.Seal(sealed, sealed[1:13], plain, authenticated)
}
