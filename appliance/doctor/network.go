package doctor

import (
	"fmt"
	"net"
	"net/netip"
	"strconv"
)

// Card is a network interface with one of its addresses.
type Card struct {
	Name string
	MTU  int
	Net  netip.Prefix // its address, and how long its network's part is
}

// Cards lists those that are up.
func Cards() (list []Card) {
	ifs, _ := net.Interfaces()
	for _, i := range ifs {
		addrs, err := i.Addrs()
		if err != nil || i.Flags&net.FlagUp == 0 {
			continue
		}
		for _, a := range addrs {
			if p, err := netip.ParsePrefix(a.String()); err == nil {
				list = append(list, Card{i.Name, i.MTU, netip.PrefixFrom(p.Addr().Unmap(), p.Bits())})
			}
		}
	}
	return list
}

// CardAt returns the one that has an address; its zero value, if none has.
func CardAt(addr netip.Addr, cards []Card) Card {
	for _, c := range cards {
		if c.Net.Addr() == addr {
			return c
		}
	}
	return Card{}
}

// SeenAddr is the address from which another node sees this one come.
type SeenAddr struct {
	Node string
	At   netip.Addr
}

// Address looks at the address that others are told to use. moved says that the machine has lost
// it; nil: it has it, or never had it.
func Address(addr netip.Addr, card Card, seen []SeenAddr, moved *Moved) (list []Finding) {
	switch {
	case moved != nil:
		list = append(list, moved.finding())
	case addr.IsLoopback():
		list = append(list, wrong(CheckAddress, Warn,
			fmt.Sprintf("%s is good for a cluster of this machine alone", addr),
			"set advertise_addr to one that others reach"))
	case card.Name == "":
		list = append(list, wrong(CheckAddress, Warn,
			fmt.Sprintf("%s is no address of this machine, so it is behind NAT: others reach it only as far as "+
				"ports are forwarded", addr),
			"forward each port to this machine under the same number; overlay networks want 4789/udp, and that "+
				"other nodes see it come from that address"))
	}
	for _, s := range seen {
		if s.At != addr && !s.At.IsLoopback() && card.Name != "" {
			list = append(list, wrong(CheckAddress, Warn,
				fmt.Sprintf("%s sees this machine come from %s, while others are told %s: NAT, or a second network",
					s.Node, s.At, addr),
				fmt.Sprintf("if others can't reach %s, set advertise_addr; a node that has joined has to leave and "+
					"join again for that", addr)))
			break
		}
	}
	return orGood(list, CheckAddress, fmt.Sprintf("%s on %s", addr, card.Name))
}

// PeerMTU is the MTU of another node's network card.
type PeerMTU struct {
	Node string
	MTU  int
}

// MTU compares the largest packet of the network card with those of Docker's bridge
// and of other nodes.
func (s System) MTU(card Card, others []PeerMTU) (list []Finding) {
	if card.MTU == 0 {
		return nil
	}
	if bridge, err := strconv.Atoi(s.readTrimmed("sys/class/net/docker0/mtu")); err == nil && bridge > card.MTU {
		list = append(list, wrong("mtu", Warn,
			fmt.Sprintf("%s carries packets of %d bytes, Docker's bridge of %d: larger ones of containers get lost "+
				"where nothing tells them", card.Name, card.MTU, bridge),
			fmt.Sprintf("put \"mtu\": %d into /etc/docker/daemon.json and restart Docker; overlay networks want "+
				"`--opt com.docker.network.driver.mtu=%d`", card.MTU, card.MTU-50)))
	}
	for _, o := range others {
		if o.MTU != 0 && o.MTU != card.MTU {
			list = append(list, wrong("mtu", Warn,
				fmt.Sprintf("%s carries packets of %d bytes, the card of %s of %d: large ones may get lost between "+
					"them", card.Name, card.MTU, o.Node, o.MTU), "set the same MTU on all nodes of a network",
				fmt.Sprintf("ip link set %s mtu %d", card.Name, min(card.MTU, o.MTU))))
		}
	}
	return orGood(list, "mtu", fmt.Sprintf("%d on %s", card.MTU, card.Name))
}

// BindAddr returns the address to listen on for others: the advertised one, or, where
// that is not this machine's own (behind NAT), the one of its default route.
func BindAddr(advertised netip.Addr) netip.Addr {
	if IsLocal(advertised) || isOnCard(advertised) {
		return advertised
	}
	if a, err := AdvertiseAddr(); err == nil {
		return a
	}
	return advertised
}
