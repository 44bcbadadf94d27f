package firewall

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// nftList is the output of nft -j list ruleset, see libnftables-json(5).
type nftList struct {
	Nftables []struct {
		Chain *nftChain
		Rule  *nftRule
	}
}

type nftChain struct {
	Family, Table, Name, Type, Hook, Policy string
}

type nftRule struct {
	Family, Table, Chain string
	Handle               int
	Expr                 []map[string]json.RawMessage
}

type nftMatch struct {
	Op          string
	Left, Right json.RawMessage
}

// parseNft reads rules but those that iptables has put there: it says them better.
func parseNft(text string, iptables, ipv6 bool) (*ruleset, error) {
	family := "ip"
	if ipv6 {
		family = "ip6"
	}
	var list nftList
	if err := json.Unmarshal([]byte(text), &list); err != nil {
		return nil, fmt.Errorf("read what nft says: %w", err)
	}
	s := &ruleset{tool: "nftables", chains: map[string]*chain{}}
	for _, e := range list.Nftables {
		c := e.Chain
		if c == nil || iptables && isIptablesTable(c.Family, c.Table) || c.Family != "inet" && c.Family != family {
			continue
		}
		table := c.Family + " " + c.Table
		made := &chain{name: c.Name, table: table, drops: c.Policy == "drop"}
		s.chains[table+c.Name] = made
		if c.Type == "filter" && c.Hook == "input" {
			s.bases = append(s.bases, made)
		}
	}
	for _, e := range list.Nftables {
		if e.Rule == nil {
			continue
		}
		if c := s.chains[e.Rule.Family+" "+e.Rule.Table+e.Rule.Chain]; c != nil {
			c.rules = append(c.rules, e.Rule.rule(c))
		}
	}
	return s, nil
}

// isIptablesTable reports whether a table is one that iptables-nft keeps.
func isIptablesTable(family, table string) bool {
	return family != "inet" && slices.Contains([]string{"filter", "nat", "mangle", "raw", "security"}, table)
}

func (r *nftRule) rule(c *chain) rule {
	made := rule{by: fmt.Sprintf("%s, rule %d", c.describe(), r.Handle)}
	for _, expr := range r.Expr {
		for name, raw := range expr {
			switch name {
			case "accept":
				made.kind = accept
			case "drop", "reject":
				made.kind = drop
			case "return":
				made.kind = back
			case "jump", "goto":
				made.kind = map[string]kind{"jump": jump, "goto": jumpForGood}[name]
				var to struct{ Target string }
				_ = json.Unmarshal(raw, &to)
				made.target = to.Target
			case "match":
				var m nftMatch
				_ = json.Unmarshal(raw, &m)
				made.when = append(made.when, m.holds)
			case "counter", "log", "comment", "mangle", "meter", "set":
			default: // a limit, a map of verdicts, an extension of iptables
				made.when = append(made.when, func(packet) answer { return maybe })
			}
		}
	}
	return made
}

func (m nftMatch) holds(p packet) answer {
	a := m.is(p)
	if m.Op == "!=" && a != maybe {
		return yes - a
	}
	return a
}

// is answers as if the operator was ==, which "in" is for what is asked here.
func (m nftMatch) is(p packet) answer {
	var left struct {
		Payload struct{ Protocol, Field string }
		Meta    struct{ Key string }
		CT      struct{ Key string }
	}
	if json.Unmarshal(m.Left, &left) != nil || strings.ContainsAny(m.Op, "<>&|") {
		return maybe
	}
	switch field := left.Payload.Protocol + " " + left.Payload.Field; {
	case field == "tcp dport" || field == "udp dport":
		if left.Payload.Protocol != p.Proto {
			return no
		}
		return oneOf(m.Right, isPort(p.Number))
	case field == "th dport":
		return oneOf(m.Right, isPort(p.Number))
	case left.Payload.Protocol == "ip" && p.ipv6, left.Payload.Protocol == "ip6" && !p.ipv6:
		return no
	case field == "ip protocol", field == "ip6 nexthdr", left.Meta.Key == "l4proto":
		return oneOf(m.Right, isText(p.Proto))
	case field == "ip saddr" || field == "ip6 saddr":
		return oneOf(m.Right, isSource(p))
	case left.Meta.Key == "nfproto":
		return oneOf(m.Right, isText(map[bool]string{false: "ipv4", true: "ipv6"}[p.ipv6]))
	case left.Meta.Key == "iifname" || left.Meta.Key == "iif":
		return isInterface(m.Right, p)
	case left.CT.Key == "state":
		return oneOf(m.Right, isText("new"))
	case left.CT.Key == "status":
		return oneOf(m.Right, isText("confirmed"))
	case left.Payload.Protocol == "icmp", left.Payload.Protocol == "icmpv6":
		return no
	}
	return maybe
}

func isInterface(right json.RawMessage, p packet) answer {
	if p.iface == "" {
		return min(maybe, 1-oneOf(right, isText("lo"))/2)
	}
	return oneOf(right, func(v json.RawMessage) answer {
		var name string
		_ = json.Unmarshal(v, &name)
		if prefix, wild := strings.CutSuffix(name, "*"); wild {
			return answerOf(strings.HasPrefix(p.iface, prefix))
		}
		return answerOf(name == p.iface)
	})
}

// oneOf asks for each of several values, or for the only one.
func oneOf(right json.RawMessage, is func(json.RawMessage) answer) answer {
	var list []json.RawMessage
	if json.Unmarshal(right, &list) != nil {
		var set struct{ Set []json.RawMessage }
		if json.Unmarshal(right, &set) == nil && set.Set != nil {
			list = set.Set
		} else {
			list = []json.RawMessage{right}
		}
	}
	best := no
	for _, v := range list {
		var named string
		if json.Unmarshal(v, &named) == nil && strings.HasPrefix(named, "@") {
			best = max(best, maybe)
			continue
		}
		best = max(best, is(v))
	}
	return best
}

func isText(want string) func(json.RawMessage) answer {
	return func(v json.RawMessage) answer {
		var text string
		_ = json.Unmarshal(v, &text)
		return answerOf(text == want)
	}
}

func isPort(want uint16) func(json.RawMessage) answer {
	return func(v json.RawMessage) answer {
		var number int
		if json.Unmarshal(v, &number) == nil {
			return answerOf(number == int(want))
		}
		var between struct{ Range []int }
		if json.Unmarshal(v, &between) == nil && len(between.Range) == 2 {
			return answerOf(between.Range[0] <= int(want) && int(want) <= between.Range[1])
		}
		return maybe
	}
}

func isSource(p packet) func(json.RawMessage) answer {
	return func(v json.RawMessage) answer {
		var text string
		if json.Unmarshal(v, &text) == nil {
			a, err := netip.ParseAddr(text)
			if err != nil {
				return maybe
			}
			return fromNetwork(p, netip.PrefixFrom(a, a.BitLen()))
		}
		var net struct {
			Prefix struct {
				Addr netip.Addr
				Len  int
			}
		}
		if json.Unmarshal(v, &net) == nil && net.Prefix.Addr.IsValid() {
			return fromNetwork(p, netip.PrefixFrom(net.Prefix.Addr, net.Prefix.Len))
		}
		return maybe
	}
}
