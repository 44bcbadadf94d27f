package doctor

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
)

// Candidate is an address that other machines may reach this one at.
type Candidate struct {
	Interface string
	Addr      netip.Addr
}

// AdvertiseAddr finds the address that other nodes should use: the one that the
// default route goes out from, else the only global address of the machine.
func AdvertiseAddr() (netip.Addr, error) {
	if a, ok := SourceAddr(netip.MustParseAddr("192.0.2.1")); ok {
		return a, nil
	}
	if a, ok := SourceAddr(netip.MustParseAddr("2001:db8::1")); ok {
		return a, nil
	}
	list, err := Candidates()
	if err != nil {
		return netip.Addr{}, err
	}
	return choose(list)
}

func choose(list []Candidate) (netip.Addr, error) {
	switch len(list) {
	case 0:
		return netip.Addr{}, fmt.Errorf(
			"this machine has no address that others could reach; connect it to a network, or name one with " +
				"--advertise-addr")
	case 1:
		return list[0].Addr, nil
	}
	names := make([]string, len(list))
	for i, c := range list {
		names[i] = fmt.Sprintf("%s (%s)", c.Addr, c.Interface)
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

// Candidates lists the global addresses of the machine, without those of
// Docker's own networks.
func Candidates() ([]Candidate, error) {
	ifs, err := net.Interfaces()
	if err != nil {
		return nil, fmt.Errorf("list network interfaces: %w", err)
	}
	var list []Candidate
	for _, i := range ifs {
		if i.Flags&net.FlagUp == 0 || ofDocker(i.Name) {
			continue
		}
		addrs, err := i.Addrs()
		if err != nil {
			return nil, fmt.Errorf("list addresses of %s: %w", i.Name, err)
		}
		for _, a := range addrs {
			p, err := netip.ParsePrefix(a.String())
			if err == nil && p.Addr().IsGlobalUnicast() {
				list = append(list, Candidate{i.Name, p.Addr().Unmap()})
			}
		}
	}
	// One machine with an IPv4 and an IPv6 address has no choice to make.
	if v4 := slices.DeleteFunc(slices.Clone(list), func(c Candidate) bool { return !c.Addr.Is4() }); len(v4) > 0 {
		return v4, nil
	}
	return list, nil
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
