package doctor

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
)

// AdvertiseAddr finds the address that other nodes should use: the one that the
// default route goes out from, else the only global address of the machine.
func AdvertiseAddr() (netip.Addr, error) {
	if a, ok := SourceAddr(netip.MustParseAddr("192.0.2.1")); ok {
		return a, nil
	}
	if a, ok := SourceAddr(netip.MustParseAddr("2001:db8::1")); ok {
		return a, nil
	}
	return choose(Cards())
}

// choose returns the only address that other machines may reach this one at.
func choose(cards []Card) (netip.Addr, error) {
	list := slices.DeleteFunc(cards, func(c Card) bool { return ofDocker(c.Name) || !c.Net.Addr().IsGlobalUnicast() })
	// One machine with an IPv4 and an IPv6 address has no choice to make.
	if v4 := slices.DeleteFunc(slices.Clone(list), func(c Card) bool { return !c.Net.Addr().Is4() }); len(v4) > 0 {
		list = v4
	}
	switch len(list) {
	case 0:
		return netip.Addr{}, fmt.Errorf(
			"this machine has no address that others could reach; connect it to a network, or name one with " +
				"--advertise-addr")
	case 1:
		return list[0].Net.Addr(), nil
	}
	names := make([]string, len(list))
	for i, c := range list {
		names[i] = fmt.Sprintf("%s (%s)", c.Net.Addr(), c.Name)
	}
	return netip.Addr{}, fmt.Errorf(
		"this machine has several addresses and no default route: %s; choose with --advertise-addr",
		strings.Join(names, ", "))
}

// SourceAddr returns the address from which packets to dst would leave. It
// sends nothing.
func SourceAddr(dst netip.Addr) (netip.Addr, bool) {
	conn, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(netip.AddrPortFrom(dst, 9)))
	if err != nil {
		return netip.Addr{}, false
	}
	defer conn.Close()
	a := conn.LocalAddr().(*net.UDPAddr).AddrPort().Addr().Unmap()
	return a, a.IsValid() && !a.IsUnspecified()
}

func ofDocker(name string) bool {
	return name == "docker0" || name == "docker_gwbridge" || strings.HasPrefix(name, "br-") ||
		strings.HasPrefix(name, "veth")
}

// IsLocal reports whether the address belongs to an interface of this machine.
func IsLocal(a netip.Addr) bool {
	ln, err := net.Listen("tcp", netip.AddrPortFrom(a, 0).String())
	if err != nil {
		return false
	}
	ln.Close()
	return true
}
