package firewall

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os/exec"
	"strings"
)

// read asks each tool that is there.
func read(ctx context.Context, run Runner, ipv6 bool) (sets []*ruleset, err error) {
	iptables := "iptables"
	if ipv6 {
		iptables = "ip6tables"
	}
	tables, iptablesErr := run(ctx, iptables+"-save", "-t", "filter")
	if iptablesErr == nil {
		sets = append(sets, parseIptables(tables, iptables))
	}
	list, nftErr := run(ctx, "nft", "-j", "list", "ruleset")
	if nftErr == nil {
		s, err := parseNft(list, iptablesErr == nil, ipv6)
		if err != nil {
			return nil, err
		}
		sets = append(sets, s)
	}
	switch {
	case len(sets) > 0:
		return sets, nil
	case errors.Is(nftErr, exec.ErrNotFound) && errors.Is(iptablesErr, exec.ErrNotFound):
		return nil, fmt.Errorf("neither nft nor %s-save is installed", iptables)
	case errors.Is(nftErr, exec.ErrNotFound):
		return nil, iptablesErr
	}
	return nil, nftErr
}

// manager is the program that writes the rules: ufw, firewalld, or, with no name, a person.
type manager struct {
	name string
	zone string // of firewalld
}

// owner asks who writes the rules. Programs that are not there are no error.
func owner(ctx context.Context, run Runner, iface string) manager {
	if said, err := run(ctx, "ufw", "status"); err == nil && strings.Contains(said, "Status: active") {
		return manager{name: "ufw"}
	}
	if said, err := run(ctx, "firewall-cmd", "--state"); err != nil || strings.TrimSpace(said) != "running" {
		return manager{}
	}
	zone, err := run(ctx, "firewall-cmd", "--get-zone-of-interface="+iface)
	if err != nil || strings.TrimSpace(zone) == "" {
		zone, _ = run(ctx, "firewall-cmd", "--get-default-zone")
	}
	return manager{name: "firewalld", zone: strings.TrimSpace(zone)}
}

// commands open ports to the sources in a base chain.
func (m manager) commands(s *ruleset, base *chain, ports []Port, sources []netip.Prefix) (list []string, keep string) {
	for _, source := range orAnywhere(sources) {
		for _, proto := range []string{"tcp", "udp"} {
			if n := numbers(ports, proto); len(n) > 0 {
				list = append(list, m.open(s, base, proto, n, source))
			}
		}
	}
	switch {
	case m.name == "firewalld":
		return append(list, "firewall-cmd --reload"), ""
	case m.name == "ufw":
		return list, ""
	case s.tool != "nftables":
		return list, "the rule is gone after a reboot unless `netfilter-persistent save` or what else brings your " +
			"rules back keeps it"
	}
	return list, "the rule is gone after a reboot unless it also stands in /etc/nftables.conf"
}

func orAnywhere(sources []netip.Prefix) []netip.Prefix {
	if len(sources) == 0 {
		return []netip.Prefix{{}}
	}
	return sources
}

// open returns one command, for the ports of one protocol.
func (m manager) open(s *ruleset, base *chain, proto string, ports []string, source netip.Prefix) string {
	text := ""
	if source.IsValid() {
		text = source.String()
		if source.IsSingleIP() {
			text = source.Addr().String()
		}
	}
	switch {
	case m.name == "ufw":
		if text == "" {
			text = "any"
		}
		return fmt.Sprintf("ufw allow proto %s from %s to any port %s", proto, text, strings.Join(ports, ","))
	case m.name == "firewalld":
		return firewalld(m.zone, proto, ports, text)
	case s.tool != "nftables":
		if text != "" {
			text = " -s " + text
		}
		return fmt.Sprintf("%s -I INPUT -p %s%s -m multiport --dports %s -j ACCEPT", s.tool, proto, text,
			strings.Join(ports, ","))
	}
	if text != "" {
		text = fmt.Sprintf(" %s saddr %s", map[bool]string{false: "ip", true: "ip6"}[source.Addr().Is6()], text)
	}
	return fmt.Sprintf("nft insert rule %s %s%s %s dport '{ %s }' accept", base.table, base.name, text, proto,
		strings.Join(ports, ", "))
}

// firewalld needs one option for each port; those with a source are rich rules.
func firewalld(zone, proto string, ports []string, source string) string {
	b := strings.Builder{}
	b.WriteString("firewall-cmd --permanent --zone=" + zone)
	for _, p := range ports {
		if source == "" {
			fmt.Fprintf(&b, " --add-port=%s/%s", p, proto)
			continue
		}
		family := "ipv4"
		if strings.Contains(source, ":") {
			family = "ipv6"
		}
		fmt.Fprintf(&b, " --add-rich-rule='rule family=%s source address=%s port port=%s protocol=%s accept'", family,
			source, p, proto)
	}
	return b.String()
}
