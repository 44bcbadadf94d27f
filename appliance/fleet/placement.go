package fleet

import (
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"strings"
)

// Constraint is one placement constraint of a service, such as
// node.labels.zone==eu. It is read as Swarm reads it (manager/constraint in
// swarmkit): values and the names of attributes in any case, the names of
// labels in theirs, and a label that a node lacks is an empty one.
type Constraint struct {
	text  string
	equal bool
	has   func(Node) bool // whether the node has the value, whatever the operator
}

// String writes the constraint without spaces around its operator.
func (c Constraint) String() string { return c.text }

// Allows says whether a node fulfils the constraint.
func (c Constraint) Allows(n Node) bool { return c.has(n) == c.equal }

// ParseConstraint reads KEY==VALUE or KEY!=VALUE. Swarm also takes keys that it
// does not know and addresses that are none, and then finds no node for them:
// those are errors here.
func ParseConstraint(s string) (Constraint, error) {
	c, err := parseConstraint(s)
	if err != nil {
		return c, fmt.Errorf("constraint %q: %w", s, err)
	}
	return c, nil
}

var constraintForm = regexp.MustCompile(`^([A-Za-z_][\w.-]+)\s*(==|!=)\s*([\w:.*()?+\[\]\\^$|/\s-]+)$`)

func parseConstraint(s string) (Constraint, error) {
	parts := constraintForm.FindStringSubmatch(strings.TrimSpace(s))
	if parts == nil {
		return Constraint{}, errors.New("it is not of the form KEY==VALUE or KEY!=VALUE")
	}
	key, operator, value := parts[1], parts[2], parts[3]
	c := Constraint{text: key + operator + value, equal: operator == "=="}
	if strings.EqualFold(key, "node.ip") {
		network, err := parseNetwork(value)
		c.has = func(n Node) bool { return within(network, n.Addr) }
		return c, err
	}
	of, err := attribute(key)
	c.has = func(n Node) bool { return strings.EqualFold(of(n), value) }
	return c, err
}

// attribute finds what a key stands for. The architecture is compared as the
// node names it: Swarm takes x86_64 and amd64 for the same only in an image.
func attribute(key string) (func(Node) string, error) {
	switch lower := strings.ToLower(key); {
	case lower == "node.id":
		return func(n Node) string { return n.ID }, nil
	case lower == "node.hostname":
		return func(n Node) string { return n.Name }, nil
	case lower == "node.role":
		return func(n Node) string { return n.Role }, nil
	case lower == "node.platform.os":
		return func(n Node) string { return n.OS }, nil
	case lower == "node.platform.arch":
		return func(n Node) string { return n.Arch }, nil
	case strings.HasPrefix(lower, "node.labels.") && len(key) > len("node.labels."):
		return func(n Node) string { return n.Labels[key[len("node.labels."):]] }, nil
	case strings.HasPrefix(lower, "engine.labels.") && len(key) > len("engine.labels."):
		return func(n Node) string { return n.EngineLabels[key[len("engine.labels."):]] }, nil
	}
	return nil, errors.New("its key is none of node.id, node.hostname, node.ip, node.role, node.platform.os, node.platform.arch, node.labels.NAME and engine.labels.NAME")
}

func parseNetwork(s string) (netip.Prefix, error) {
	if network, err := netip.ParsePrefix(s); err == nil {
		return network, nil
	}
	addr, err := netip.ParseAddr(s)
	if err != nil {
		return netip.Prefix{}, errors.New("its value is neither an address nor a network such as 10.0.0.0/24")
	}
	addr = addr.Unmap()
	return netip.PrefixFrom(addr, addr.BitLen()), nil
}

func within(network netip.Prefix, address string) bool {
	addr, err := netip.ParseAddr(address)
	return err == nil && network.Contains(addr.Unmap())
}

// Platform is one that an image was made for; what is empty may be anything.
type Platform struct {
	OS   string `json:"os"`
	Arch string `json:"arch"`
}

func (p Platform) String() string {
	if p.OS == "" || p.OS == "linux" {
		return p.Arch
	}
	return p.OS + "/" + p.Arch
}

func (p Platform) fits(n Node) bool {
	return (p.Arch == "" || goArch(p.Arch) == goArch(n.Arch)) && (p.OS == "" || p.OS == n.OS)
}

// goArch translates what a kernel calls its architecture to what images call it.
func goArch(arch string) string {
	switch {
	case arch == "x86_64":
		return "amd64"
	case arch == "aarch64":
		return "arm64"
	case strings.HasPrefix(arch, "armv"):
		return "arm"
	}
	return arch
}

// Exclusion is one reason why nodes cannot run a service, and how many nodes
// it would exclude if it were the only one.
type Exclusion struct {
	Reason string `json:"reason"`
	Nodes  int    `json:"nodes"`
}

// Reasons that lie with the node and not with the service.
const (
	reasonDrained = "drained"
	reasonPaused  = "paused"
	reasonDown    = "down"
)

// Eligibility says which nodes may run a service, and why others may not.
type Eligibility struct {
	May []Node      `json:"may"`
	Why []Exclusion `json:"why"` // without those that exclude nobody
	Of  int         `json:"of"`  // nodes there are
}

// Eligible judges nodes by what a service asks for. No platforms are any
// platform; a constraint that can't be read excludes every node.
func Eligible(nodes []Node, constraints []string, platforms []Platform) Eligibility {
	e := Eligibility{Of: len(nodes)}
	excluded := make([]bool, len(nodes))
	exclude := func(reason string, allows func(Node) bool) {
		count := 0
		for i, n := range nodes {
			if !allows(n) {
				excluded[i] = true
				count++
			}
		}
		if count > 0 {
			e.Why = append(e.Why, Exclusion{Reason: reason, Nodes: count})
		}
	}
	for _, s := range constraints {
		exclude(constraintRule(s))
	}
	if len(platforms) > 0 {
		exclude(platformRule(platforms))
	}
	exclude(reasonDrained, func(n Node) bool { return n.Availability != AvailabilityDrain })
	exclude(reasonPaused, func(n Node) bool { return n.Availability != AvailabilityPause })
	exclude(reasonDown, func(n Node) bool { return n.State == StateReady })
	for i, n := range nodes {
		if !excluded[i] {
			e.May = append(e.May, n)
		}
	}
	return e
}

func constraintRule(s string) (reason string, allows func(Node) bool) {
	c, err := parseConstraint(s)
	if err != nil {
		return fmt.Sprintf("constraint %s (%v)", s, err), func(Node) bool { return false }
	}
	return "constraint " + c.String(), c.Allows
}

func platformRule(platforms []Platform) (reason string, allows func(Node) bool) {
	var names []string
	for _, p := range platforms {
		// The build's attestations stand beside the images, for no platform.
		if p.OS != "unknown" {
			names = append(names, p.String())
		}
	}
	return "platform " + strings.Join(names, ", "), func(n Node) bool {
		for _, p := range platforms {
			if p.fits(n) {
				return true
			}
		}
		return false
	}
}

// Explain says in one line how many nodes can run the service and what
// excludes the others.
func (e Eligibility) Explain() string {
	lead := fmt.Sprintf("%d of %s can run it", len(e.May), countNodes(e.Of))
	if len(e.May) == 0 {
		lead = "no node can run it"
	}
	if e.Of == 0 {
		return lead + ": there is none"
	}
	var parts []string
	for _, x := range e.Why {
		switch x.Reason {
		case reasonDrained, reasonPaused, reasonDown:
			parts = append(parts, fmt.Sprintf("%d of %s %s", x.Nodes, countNodes(e.Of), x.Reason))
		default:
			parts = append(parts, fmt.Sprintf("%s excludes %d of %s", x.Reason, x.Nodes, countNodes(e.Of)))
		}
	}
	if len(parts) == 0 {
		return lead
	}
	return lead + ": " + strings.Join(parts, "; ")
}

func countNodes(n int) string {
	if n == 1 {
		return "1 node"
	}
	return fmt.Sprintf("%d nodes", n)
}
