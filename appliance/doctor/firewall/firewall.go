// Package firewall finds out whether the packet filters of this machine let other
// nodes in, and which commands open what they do not.
//
// It reads the rules that the kernel has, by nft and iptables-save, and follows a
// new connection through them: that is true whoever wrote the rules. ufw and
// firewalld only matter for the commands, since they would undo a rule that was put
// past them. A rule that cannot be judged, such as one that looks at a set, is taken
// for one that lets in: what is said to be blocked is blocked.
package firewall

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// Port is one that others must reach.
type Port struct {
	Proto  string // tcp or udp
	Number uint16
}

func (p Port) String() string { return fmt.Sprintf("%d/%s", p.Number, p.Proto) }

// Question describes what should be let in.
type Question struct {
	Ports     []Port
	IPv6      bool       // by which nodes reach each other, instead of IPv4
	Interface string     // of the network card that it comes in by; empty: not known
	From      netip.Addr // another node, by which rules are judged; not valid: any
	// Sources lists the other nodes, as the commands should have it. None: from anywhere.
	Sources []netip.Prefix
}

// Blocked lists what one chain of rules does not let in.
type Blocked struct {
	Ports    []Port
	By       string   // such as: nftables (chain input of table inet filter, by its policy)
	Commands []string // that open them, to be run in this order
	Keep     string   // how that outlives a reboot; empty: it does
}

// Runner runs a program and returns what it printed. Its error wraps
// exec.ErrNotFound where there is no such program.
type Runner func(ctx context.Context, argv ...string) (string, error)

// Look judges the ports by the rules of this machine. by names what was looked at,
// empty if there is no packet filter.
func Look(ctx context.Context, run Runner, q Question) (by string, blocked []Blocked, err error) {
	sets, err := read(ctx, run, q.IPv6)
	if err != nil {
		return "", nil, err
	}
	who := owner(ctx, run, q.Interface)
	names := []string{}
	for _, s := range sets {
		if len(s.bases) > 0 && !slices.Contains(names, s.tool) {
			names = append(names, s.tool)
		}
		for _, base := range s.bases {
			blocked = append(blocked, s.blocked(base, q, who)...)
		}
	}
	if who.name != "" && len(names) > 0 {
		names = []string{who.name}
	}
	return strings.Join(names, " and "), merge(blocked), nil
}

// blocked returns the ports that do not come through a base chain, by the rules that
// stop them.
func (s *ruleset) blocked(base *chain, q Question, who manager) (list []Blocked) {
	byRule := map[string][]Port{}
	for _, port := range q.Ports {
		v := s.evaluate(base, packet{port, q.Interface, q.From, q.IPv6})
		if v.kind == drop {
			byRule[v.by] = append(byRule[v.by], port)
		}
	}
	for by, ports := range byRule {
		b := Blocked{Ports: ports, By: fmt.Sprintf("%s (%s)", s.tool, by)}
		b.Commands, b.Keep = who.commands(s, base, ports, q.Sources)
		list = append(list, b)
	}
	slices.SortFunc(list, func(a, b Blocked) int { return strings.Compare(a.By, b.By) })
	return list
}

// merge joins what is opened by the same commands, such as those of ufw.
func merge(list []Blocked) (merged []Blocked) {
	for _, b := range list {
		same := slices.IndexFunc(merged, func(m Blocked) bool { return slices.Equal(m.Commands, b.Commands) })
		if same < 0 {
			merged = append(merged, b)
		}
	}
	return merged
}

// List writes ports as people do: 2377/tcp, 7946/tcp and udp.
func List(ports []Port) string {
	var parts []string
	for _, p := range sorted(ports) {
		if n := len(parts) - 1; n >= 0 && p.Proto == "udp" && parts[n] == fmt.Sprintf("%d/tcp", p.Number) {
			parts[n] += "+udp"
			continue
		}
		parts = append(parts, p.String())
	}
	return strings.Join(parts, ", ")
}

func sorted(ports []Port) []Port {
	return slices.SortedFunc(slices.Values(ports), func(a, b Port) int {
		return cmp.Or(cmp.Compare(a.Number, b.Number), strings.Compare(a.Proto, b.Proto))
	})
}

// numbers returns the ports of one protocol, as text.
func numbers(ports []Port, proto string) (list []string) {
	for _, p := range sorted(ports) {
		if p.Proto == proto {
			list = append(list, fmt.Sprint(p.Number))
		}
	}
	return list
}
