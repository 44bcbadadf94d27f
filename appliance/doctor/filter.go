package doctor

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/crawlbox/crawlbox/appliance/doctor/firewall"
)

// Firewall looks whether this machine's own packet filters let other nodes in. peers
// are those that are known; where there are none, the machine's network stands for
// them, if it is a private one.
func (s System) Firewall(ctx context.Context, needs []Need, card Card, peers []netip.Addr) (list []Finding) {
	q := firewall.Question{Ports: portsOf(needs), Interface: card.Name, IPv6: card.Net.Addr().Is6()}
	q.From, q.Sources = sources(card, peers)
	by, blocked, err := firewall.Look(ctx, s.Run, q)
	if err != nil {
		return []Finding{wrong("firewall", Warn,
			"the rules of this machine's firewall can't be read: "+err.Error(),
			"see by hand that it lets in "+firewall.List(q.Ports))}
	}
	for _, b := range blocked {
		vital := slices.ContainsFunc(b.Ports,
			func(p firewall.Port) bool { return p.Proto == "tcp" && IsVital(needs, p.Number) })
		f := wrong("firewall", levelOf(vital),
			fmt.Sprintf("other nodes are kept out of %s by %s", firewall.List(b.Ports), b.By), "open them",
			b.Commands...)
		if len(q.Sources) == 0 {
			f.Remedy += ", better to the addresses of your nodes only, since overlay networks (4789/udp) know no " +
				"password"
		}
		if b.Keep != "" {
			f.Remedy += "; " + b.Keep
		}
		list = append(list, f)
	}
	text := "no rules"
	if by != "" {
		text = by + " lets other nodes in"
	}
	return orGood(list, "firewall", text)
}

// sources returns the addresses to open ports to, and one of them.
func sources(card Card, peers []netip.Addr) (one netip.Addr, all []netip.Prefix) {
	local := card.Net.IsValid() && card.Net.Addr().IsPrivate()
	if local && !slices.ContainsFunc(peers, func(p netip.Addr) bool { return !card.Net.Contains(p) }) {
		all = []netip.Prefix{card.Net.Masked()}
		one = neighbour(card.Net)
	} else {
		for _, p := range peers {
			all = append(all, netip.PrefixFrom(p, p.BitLen()))
		}
		slices.SortFunc(all, func(a, b netip.Prefix) int { return strings.Compare(a.String(), b.String()) })
	}
	if len(peers) > 0 {
		one = peers[0]
	}
	return one, all
}

// neighbour returns an address of the network that is another's.
func neighbour(net netip.Prefix) netip.Addr {
	if next := net.Addr().Next(); net.Contains(next) {
		return next
	}
	return net.Addr().Prev()
}
