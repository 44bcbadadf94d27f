package firewall

import (
	"fmt"
	"net/netip"
)

// packet is the first of a new connection, or of a datagram exchange, from another
// node to this one.
type packet struct {
	Port
	iface string
	from  netip.Addr
	ipv6  bool
}

// answer reports whether a condition holds for a packet.
type answer int

const (
	no answer = iota
	maybe
	yes
)

// kind says what a rule does.
type kind int

const (
	pass kind = iota // nothing: the next rule is looked at
	accept
	drop
	jump
	jumpForGood // goto: does not come back behind the rule
	back        // return
)

type rule struct {
	when   []func(packet) answer
	kind   kind
	target string // of a jump
	by     string // for people: where it stands
}

type chain struct {
	name  string
	table string // of nftables, with the family
	rules []rule
	drops bool // its policy
}

// ruleset holds the rules that one tool knows.
type ruleset struct {
	tool   string // nftables, iptables or ip6tables
	chains map[string]*chain
	bases  []*chain // where packets to this machine come in
}

// verdict is how it ends, and by what.
type verdict struct {
	kind kind // accept, drop, or pass where the chain has no last word
	by   string
}

// maxDepth bounds how deep chains call each other; the kernel's own bound is 16.
const maxDepth = 16

func (s *ruleset) evaluate(base *chain, p packet) verdict {
	v := s.follow(base, p, 0)
	if v.kind == pass || v.kind == back {
		v = verdict{accept, ""}
		if base.drops {
			v = verdict{drop, fmt.Sprintf("%s, by its policy", base.describe())}
		}
	}
	return v
}

func (s *ruleset) follow(c *chain, p packet, depth int) verdict {
	for _, r := range c.rules {
		sure := r.matches(p)
		if sure == no {
			continue
		}
		v := verdict{r.kind, r.by}
		if r.kind == jump || r.kind == jumpForGood {
			target := s.chains[c.table+r.target]
			if target == nil || depth == maxDepth {
				continue
			}
			v = s.follow(target, p, depth+1)
			if r.kind == jumpForGood && v.kind == pass && sure == yes {
				return v
			}
		}
		switch {
		case v.kind == accept:
			return v
		case v.kind == drop && sure == yes:
			return v
		case r.kind == back:
			return verdict{kind: pass}
		}
	}
	return verdict{kind: pass}
}

// matches returns the least sure of all conditions.
func (r rule) matches(p packet) answer {
	all := yes
	for _, when := range r.when {
		all = min(all, when(p))
	}
	return all
}

func (c *chain) describe() string {
	if c.table == "" {
		return "chain " + c.name
	}
	return fmt.Sprintf("chain %s of table %s", c.name, c.table)
}

// answerOf turns what is sure into an answer.
func answerOf(ok bool) answer {
	if ok {
		return yes
	}
	return no
}

// fromNetwork reports whether a packet comes from a network.
func fromNetwork(p packet, network netip.Prefix) answer {
	switch {
	case !network.IsValid(), !p.from.IsValid() && network.Bits() > 0:
		return maybe
	case !p.from.IsValid():
		return yes
	}
	return answerOf(network.Contains(p.from))
}
