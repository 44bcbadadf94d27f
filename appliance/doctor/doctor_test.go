package doctor

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
)

func TestEngine(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		version     string
		liveRestore bool
		want        string // part of the error; empty: none
	}{
		{"20.10.24+dfsg1", false, ""},
		{"29.1.0", false, ""},
		{"library-import", false, ""},
		{"19.03.15", false, "19.03.15 is too old"},
		{"20.9.1", false, "needs 20.10"},
		{"28.5.2", true, "live-restore"},
	} {
		err := Engine{Version: tc.version, LiveRestore: tc.liveRestore}.Check()
		if tc.want == "" && err != nil || tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want)) {
			t.Errorf("%s, live-restore %v: got %v, want %q", tc.version, tc.liveRestore, err, tc.want)
		}
	}
}

func TestListen_NamesWhoHasThePort(t *testing.T) {
	t.Parallel()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	addr := ln.Addr().(*net.TCPAddr).AddrPort()
	err = Port(addr, "registry.port")
	if err == nil {
		t.Fatal("a port in use was called free")
	}
	for _, want := range []string{fmt.Sprintf("port %d",
		addr.Port()), fmt.Sprintf("pid %d", os.Getpid()), "registry.port"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q does not say %q", err, want)
		}
	}
}

func TestListen_ForeignAddress(t *testing.T) {
	t.Parallel()
	_, err := Listen(netip.MustParseAddrPort("192.0.2.1:0"), "node.port")
	if err == nil || !strings.Contains(err.Error(), "not an address of this machine") {
		t.Fatalf("got %v", err)
	}
}

func TestChoose(t *testing.T) {
	t.Parallel()
	one := Card{Name: "eth0", Net: netip.MustParsePrefix("10.0.0.1/24")}
	two := Card{Name: "eth1", Net: netip.MustParsePrefix("10.1.0.1/24")}
	if a, err := choose([]Card{one}); err != nil || a != one.Net.Addr() {
		t.Errorf("one candidate: got %v, %v", a, err)
	}
	if _, err := choose(nil); err == nil {
		t.Error("no candidate: no error")
	}
	_, err := choose([]Card{one, two})
	if err == nil || !strings.Contains(err.Error(), "10.0.0.1 (eth0), 10.1.0.1 (eth1)") ||
		!strings.Contains(err.Error(), "--advertise-addr") {
		t.Errorf("two candidates: got %v", err)
	}
}

func TestPortOwner(t *testing.T) {
	t.Parallel()
	mine := fmt.Sprintf("(pid %d)", os.Getpid())
	for _, at := range []string{"127.0.0.1:0", "[::1]:0", "0.0.0.0:0", "[::]:0"} {
		ln, err := net.Listen("tcp", at)
		if err != nil {
			t.Fatal(err)
		}
		defer ln.Close()
		addr := netip.MustParseAddrPort(ln.Addr().String())
		conn, err := net.ListenPacket("udp", addr.String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		for _, proto := range []string{"tcp", "udp"} {
			if got := portOwner(addr, proto); !strings.Contains(got, mine) {
				t.Errorf("%s/%s is of %q, want %s", addr, proto, got, mine)
			}
		}
		if addr.Addr() == netip.MustParseAddr("127.0.0.1") {
			if got := portOwner(netip.AddrPortFrom(netip.MustParseAddr("127.0.0.2"), addr.Port()), "tcp"); got != "" {
				t.Errorf("the port of another address is of %q", got)
			}
			if got := portOwner(netip.AddrPortFrom(netip.IPv4Unspecified(), addr.Port()), "tcp"); got == "" {
				t.Error("nobody has the port at any address")
			}
		}
	}
}
