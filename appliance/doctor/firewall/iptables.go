package firewall

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// parseIptables reads the table filter of what iptables-save, or the same for IPv6,
// prints.
func parseIptables(text, tool string) *ruleset {
	s := &ruleset{tool: tool, chains: map[string]*chain{}}
	inFilter := false
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		switch {
		case strings.HasPrefix(line, "*"):
			inFilter = line == "*filter"
		case !inFilter:
		case strings.HasPrefix(line, ":"):
			fields := strings.Fields(line[1:])
			if len(fields) < 2 {
				continue
			}
			c := &chain{name: fields[0], drops: fields[1] == "DROP"}
			s.chains[c.name] = c
			if c.name == "INPUT" {
				s.bases = append(s.bases, c)
			}
		case strings.HasPrefix(line, "-A "):
			words := strings.Fields(line)
			if c := s.chains[words[1]]; c != nil {
				c.rules = append(c.rules, iptablesRule(c, words[2:], line))
			}
		}
	}
	// A machine without a firewall has the chain too, and nothing in it.
	s.bases = slices.DeleteFunc(s.bases, func(c *chain) bool { return !c.drops && len(c.rules) == 0 })
	return s
}

// targets that end a packet's way, or lead it elsewhere; others only note it.
var targets = map[string]kind{
	"ACCEPT": accept, "DROP": drop, "REJECT": drop, "RETURN": back,
	"LOG": pass, "NFLOG": pass, "MARK": pass, "CONNMARK": pass,
}

func iptablesRule(c *chain, words []string, line string) rule {
	r := rule{by: c.describe() + ": " + line}
	negated := false
	for i := 0; i < len(words); i++ {
		option, value := words[i], ""
		if option == "!" {
			negated = true
			continue
		}
		if i+1 < len(words) {
			value = words[i+1]
		}
		switch option {
		case "-m", "--reject-with", "--comment", "--log-prefix", "--log-level", "--set-xmark", "--nflog-prefix",
			"--nflog-group":
			i++
			if strings.HasPrefix(value, `"`) {
				for i < len(words)-1 && !strings.HasSuffix(words[i], `"`) {
					i++
				}
			}
			if option == "-m" && !slices.Contains(harmless, value) {
				r.when = append(r.when, func(packet) answer { return maybe })
			}
		case "-j", "-g":
			known, ok := targets[value]
			r.kind = known
			if !ok {
				r.kind, r.target = map[string]kind{"-j": jump, "-g": jumpForGood}[option], value
			}
			i++
		case "--syn":
			r.when = append(r.when, condition(negated, func(p packet) answer { return answerOf(p.Proto == "tcp") }))
			negated = false
		default:
			r.when = append(r.when, condition(negated, iptablesMatch(option, value)))
			negated = false
			i++
		}
	}
	return r
}

// harmless lists the extensions whose options are known here.
var harmless = []string{"icmp6", "tcp", "udp", "multiport", "state", "conntrack", "comment", "addrtype", "icmp"}

func condition(negated bool, is func(packet) answer) func(packet) answer {
	return func(p packet) answer {
		a := is(p)
		if negated && a != maybe {
			return yes - a
		}
		return a
	}
}

func iptablesMatch(option, value string) func(packet) answer {
	switch option {
	case "-p":
		return func(p packet) answer { return answerOf(value == p.Proto || value == "all") }
	case "-s":
		network, _ := netip.ParsePrefix(value)
		return func(p packet) answer { return fromNetwork(p, network) }
	case "-i":
		return func(p packet) answer {
			if prefix, wild := strings.CutSuffix(value, "+"); wild {
				return answerOf(strings.HasPrefix(p.iface, prefix))
			}
			if p.iface == "" && value != "lo" {
				return maybe
			}
			return answerOf(p.iface == value)
		}
	case "--dport", "--dports":
		return func(p packet) answer { return answerOf(hasPort(value, p.Number)) }
	case "--state", "--ctstate":
		return func(packet) answer { return answerOf(slices.Contains(strings.Split(value, ","), "NEW")) }
	case "--dst-type":
		return func(packet) answer { return answerOf(value == "LOCAL") }
	case "--icmp-type", "--icmpv6-type":
		return func(packet) answer { return no }
	}
	return func(packet) answer { return maybe }
}

// hasPort reads 80, 80:90 and 22,80:90.
func hasPort(list string, port uint16) bool {
	for part := range strings.SplitSeq(list, ",") {
		first, last, isRange := strings.Cut(part, ":")
		if !isRange {
			last = first
		}
		from, _ := strconv.Atoi(first)
		to, err := strconv.Atoi(last)
		if err != nil && last == "" {
			to = 65535
		}
		if from <= int(port) && int(port) <= to {
			return true
		}
	}
	return false
}
