package doctor

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/crawlbox/crawlbox/appliance/base/clock"
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

// outward returns the cards at which other machines may reach this one.
func outward(cards []Card) []Card {
	list := slices.DeleteFunc(slices.Clone(cards),
		func(c Card) bool { return ofDocker(c.Name) || !c.Net.Addr().IsGlobalUnicast() })
	// One machine with an IPv4 and an IPv6 address has no choice to make.
	if v4 := slices.DeleteFunc(slices.Clone(list), func(c Card) bool { return !c.Net.Addr().Is4() }); len(v4) > 0 {
		return v4
	}
	return list
}

// choose returns the only address that other machines may reach this one at.
func choose(cards []Card) (netip.Addr, error) {
	list := outward(cards)
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

// unusable bounds how long an address that a card has may not be of use.
const unusable = 15 * time.Second

// AwaitUsable waits until an address of a network card can be used: of one of IPv6 a machine that
// boots first finds out for a second or more that nobody else has it. Of an address that no card
// has it does not wait.
func AwaitUsable(ctx context.Context, a netip.Addr) {
	ctx, cancel := context.WithTimeout(ctx, unusable)
	defer cancel()
	for !IsLocal(a) && isOnCard(a) {
		if clock.Sleep(ctx, 100*time.Millisecond) != nil {
			return
		}
	}
}

// isOnCard reports whether a network card has an address, usable or not.
func isOnCard(a netip.Addr) bool {
	addrs, _ := net.InterfaceAddrs()
	return slices.ContainsFunc(addrs, func(has net.Addr) bool {
		p, err := netip.ParsePrefix(has.String())
		return err == nil && p.Addr().Unmap() == a.Unmap()
	})
}

// CheckAddress is the name of the check of the address that others know.
const CheckAddress = "address"

// Moved says that a machine no longer has the address that others know it by, though it was its
// own: a lease ran out, or a provider gave the machine another one. That is not NAT, where the
// address was never on a card of the machine.
type Moved struct {
	From  netip.Addr
	First bool   // it made the cluster
	Cards []Card // that it has now
}

// FindMoved returns where a machine has gone that others know at an address; nil where it has it.
func FindMoved(known netip.Addr, first bool) *Moved {
	if IsLocal(known) || isOnCard(known) {
		return nil
	}
	return &Moved{From: known, First: first, Cards: Cards()}
}

// Text says what happened.
func (m Moved) Text() string {
	var now []string
	for _, c := range outward(m.Cards) {
		now = append(now, c.Net.Addr().String())
	}
	has := ""
	if len(now) > 0 {
		has = fmt.Sprintf(" (it has %s)", strings.Join(now, ", "))
	}
	if m.First {
		return fmt.Sprintf("this machine no longer has the address %s%s, at which it made the cluster: no other node "+
			"reaches it, and Swarm can't change the address of a manager", m.From, has)
	}
	return fmt.Sprintf("this machine no longer has the address %s%s, at which the other nodes know it", m.From, has)
}

// Sentence says what happened and what to do, on one line; empty: nothing has happened.
func (m *Moved) Sentence() string {
	if m == nil {
		return ""
	}
	return m.Text() + "; " + m.Remedy()
}

// Remedy says what to do.
func (m Moved) Remedy() string {
	again := "give it that address again"
	if c, ok := m.card(); ok {
		again += fmt.Sprintf(" (`ip addr add %s/%d dev %s`, and for good where its network is set up)", m.From,
			c.Net.Bits(), c.Name)
	}
	if m.First {
		return "run `crawlbox recover` here, and all nodes follow by themselves to the address that it has now; or " +
			again + ", and start Docker and crawlbox again"
	}
	return "crawlbox takes the one that it has now within a minute where systemd runs it, and else when it is " +
		"started again; or " + again
}

// card returns the card in whose network the address was.
func (m Moved) card() (Card, bool) {
	for _, c := range m.Cards {
		if c.Net.Contains(m.From) && !c.Net.Addr().IsLoopback() && !ofDocker(c.Name) {
			return c, true
		}
	}
	return Card{}, false
}

// SwarmAddr looks at the address that the Docker of a node that joined tells the other nodes.
func SwarmAddr(told netip.Addr) []Finding {
	if !told.IsValid() || FindMoved(told, false) == nil {
		return nil
	}
	return []Finding{wrong(CheckAddress, Warn,
		fmt.Sprintf("Docker tells other nodes the address %s, which this machine no longer has: overlay networks do "+
			"not reach it", told),
		"if services use such networks, restart Docker here, which finds the new one; where it was told the old one, "+
			"give the machine that again, or run `crawlbox leave` here and join again")}
}

func (m Moved) finding() Finding {
	level := Warn
	if m.First {
		level = Bad
	}
	return Finding{Check: CheckAddress, Level: level, Text: m.Text(), Remedy: m.Remedy()}
}
