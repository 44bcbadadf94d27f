package bound

import "net/netip"

// Prefix returns the prefix that identifies one client: the address for IPv4, its /64
// for IPv6, the smallest network that a customer gets. It is
// the zero Prefix for the zero Addr.
func Prefix(addr netip.Addr) netip.Prefix {
	addr = addr.Unmap()
	bits := addr.BitLen()
	if addr.Is6() {
		bits = 64
	}
	prefix, _ := addr.Prefix(bits) // fails for no address only, and drops the zone
	return prefix
}
