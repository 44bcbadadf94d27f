package sockowner

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"syscall"
	"testing"
	"time"
)

func TestHolds_ChildIsThePeer(t *testing.T) {
	t.Parallel()
	pid, c := child(t, listen(t, "tcp", "127.0.0.1:0"), 0)
	local, remote := peer(c)
	for name, tc := range map[string]struct {
		pid           int
		local, remote netip.AddrPort
		want          bool
	}{
		"the child has the peer's end":   {pid, local, remote, true},
		"the child has not our end":      {pid, remote, local, false},
		"we have not the peer's end":     {os.Getpid(), local, remote, false},
		"we have our end":                {os.Getpid(), remote, local, true},
		"process 1 has nothing of it":    {1, local, remote, false},
		"nobody has nothing":             {1 << 30, local, remote, false},
		"addresses may be mapped":        {pid, mapped(local), mapped(remote), true},
		"only one address may be mapped": {pid, local, mapped(remote), true},
	} {
		if got, err := Holds(tc.pid, tc.local, tc.remote); err != nil || got != tc.want {
			t.Errorf("%s: got %v, %v", name, got, err)
		}
	}
	if got, err := Holder(local, remote); err != nil || got != pid {
		t.Errorf("the holder is %d, %v; want %d", got, err, pid)
	}
}

func mapped(ap netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom16(ap.Addr().As16()), ap.Port())
}

// TestHolds_OtherPIDNamespace takes a peer that is number 1 where it lives, and
// something else here.
func TestHolds_OtherPIDNamespace(t *testing.T) {
	t.Parallel()
	pid, c := child(t, listen(t, "tcp", "127.0.0.1:0"), syscall.CLONE_NEWPID)
	local, remote := peer(c)
	if got, err := Holds(1, local, remote); err != nil || got {
		t.Errorf("it is taken for process 1: %v, %v", got, err)
	}
	if got, err := Holder(local, remote); err != nil || got != pid {
		t.Errorf("the holder is %d, %v; want %d", got, err, pid)
	}
}

func TestInode_EveryFamily(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct{ network, listen, dial string }{
		"IPv4":                  {"tcp4", "127.0.0.1:0", "127.0.0.1"},
		"IPv4 to a dual-stack":  {"tcp", ":0", "127.0.0.1"},
		"IPv6":                  {"tcp6", "[::1]:0", "::1"},
		"IPv6 to a dual-stack":  {"tcp", ":0", "::1"},
		"another loopback IPv4": {"tcp4", "127.1.2.3:0", "127.1.2.3"},
	} {
		client, server := pair(t, listen(t, tc.network, tc.listen), tc.dial)
		for way, find := range ways {
			for end, c := range map[string]net.Conn{"server": client, "client": server} {
				local, remote := peer(c)
				want := inodeOf(t, map[string]net.Conn{"server": server, "client": client}[end])
				if got, err := find(unmap(local), unmap(remote)); err != nil || got != want {
					t.Errorf("%s by %s: the %s's inode is %d, %v; want %d", name, way, end, got, err, want)
				}
			}
		}
	}
}

// TestHolds_DualStackClient has a peer whose socket is an IPv6 one, though it
// is connected over IPv4.
func TestHolds_DualStackClient(t *testing.T) {
	t.Parallel()
	local, remote := peer(mappedClient(t, listen(t, "tcp4", "127.0.0.1:0")))
	if got, err := Holds(os.Getpid(), local, remote); err != nil || !got {
		t.Errorf("got %v, %v", got, err)
	}
	for way, find := range ways {
		if _, err := find(local, remote); err != nil {
			t.Errorf("by %s: %v", way, err)
		}
	}
}

func TestHolds_ClosedPeer(t *testing.T) {
	t.Parallel()
	client, server := pair(t, listen(t, "tcp", "127.0.0.1:0"), "127.0.0.1")
	local, remote := peer(server)
	client.Close()
	server.SetReadDeadline(time.Now().Add(10 * time.Second))
	server.Read(make([]byte, 1)) // until the peer's end has come
	wantNoSocket(t, local, remote)
	server.Close()
	wantNoSocket(t, local, remote)
}

func TestHolds_NoSuchConnection(t *testing.T) {
	t.Parallel()
	ln := listen(t, "tcp", "127.0.0.1:0")
	_, server := pair(t, ln, "127.0.0.1")
	local, remote := peer(server)
	listener := addrOf(ln.Addr())
	none := netip.MustParseAddrPort("127.0.0.1:1")
	elsewhere := netip.MustParseAddrPort("192.0.2.1:8003")
	// The kernel would offer the listener for each connection to its port.
	wantNoSocket(t, listener, none)
	wantNoSocket(t, listener, elsewhere)
	wantNoSocket(t, none, listener)
	wantNoSocket(t, elsewhere, remote)
	wantNoSocket(t, netip.AddrPortFrom(netip.IPv6Loopback(), local.Port()), remote)
	wantNoSocket(t, netip.AddrPort{}, netip.AddrPort{})
}

func wantNoSocket(t *testing.T, local, remote netip.AddrPort) {
	t.Helper()
	if got, err := Holds(os.Getpid(), local, remote); got || !errors.Is(err, ErrNoSocket) {
		t.Errorf("Holds(%s, %s): %v, %v", local, remote, got, err)
	}
	if pid, err := Holder(local, remote); pid != 0 || !errors.Is(err, ErrNoSocket) {
		t.Errorf("Holder(%s, %s): %d, %v", local, remote, pid, err)
	}
	if local.IsValid() && local.Addr().Is4() == remote.Addr().Is4() {
		for way, find := range ways {
			if _, err := find(local, remote); !errors.Is(err, ErrNoSocket) {
				t.Errorf("%s to %s by %s: %v", local, remote, way, err)
			}
		}
	}
}

// TestHolds_InodeNumberCameRound has a process with a socket of the right
// number that is another one.
func TestHolds_InodeNumberCameRound(t *testing.T) {
	t.Parallel()
	ln := listen(t, "tcp", "127.0.0.1:0")
	_, one := pair(t, ln, "127.0.0.1")
	_, other := pair(t, ln, "127.0.0.1")
	remote, local := peer(one) // our own end
	for inode, want := range map[uint32]bool{inodeOf(t, one): true, inodeOf(t, other): false} {
		if got, err := hasOpen(os.Getpid(), socket{inode, local, remote}); err != nil || got != want {
			t.Errorf("the socket of the connection is taken for its own: %v, %v; want %v", got, err, want)
		}
	}
}

func TestHaveDiag(t *testing.T) {
	t.Parallel()
	if !haveDiag() {
		t.Error("this kernel does not answer sock_diag, so half of these tests found nothing")
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte{})
	f.Add(make([]byte, 16))
	f.Add(make([]byte, 200))
	f.Fuzz(func(t *testing.T, msg []byte) {
		if reply, err := decode(msg); err != nil && reply.Inode != 0 && reply.State == established {
			t.Errorf("an error and an answer: %v, %+v", err, reply)
		}
	})
}

func BenchmarkHolds(b *testing.B) {
	ln := listen(b, "tcp", "127.0.0.1:0")
	for range 5000 {
		pair(b, ln, "127.0.0.1")
	}
	_, server := pair(b, ln, "127.0.0.1")
	local, remote := peer(server)
	b.Run("beside 10000 sockets", func(b *testing.B) {
		for b.Loop() {
			if ok, err := Holds(os.Getpid(), local, remote); !ok || err != nil {
				b.Fatal(ok, err)
			}
		}
	})
	for way, find := range ways {
		b.Run("inode by "+way, func(b *testing.B) {
			for b.Loop() {
				if _, err := find(local, remote); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
