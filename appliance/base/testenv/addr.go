package testenv

import (
	"math/rand/v2"
	"net"
	"net/netip"
	"testing"
)

// FreeAddr returns an address of loopback that is free and stays so, since no connection gets its port by itself: Linux
// takes those of 32,768 and above. So what a test starts there may end and begin anew.
func FreeAddr(t testing.TB) netip.AddrPort {
	t.Helper()
	for range 100 {
		ln, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 20_000 + rand.IntN(10_000)})
		if err == nil {
			defer ln.Close()
			return ln.Addr().(*net.TCPAddr).AddrPort()
		}
	}
	t.Fatal("no port of loopback is free")
	return netip.AddrPort{}
}
