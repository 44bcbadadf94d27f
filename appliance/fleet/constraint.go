package fleet

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"unicode"

	"github.com/crawlbox/crawlbox/appliance/base/naming"
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

// Allows reports whether a node fulfils the constraint.
func (c Constraint) Allows(n Node) bool { return c.has(n) == c.equal }

// ParseConstraint reads KEY==VALUE or KEY!=VALUE. Swarm also takes keys that it
// does not know and addresses that are none, and then finds no node for them:
// those are errors here, as are control characters.
func ParseConstraint(s string) (Constraint, error) {
	c, err := parseConstraint(s)
	if err == nil && strings.ContainsFunc(s, unicode.IsControl) {
		err = errors.New("it has a control character")
	}
	if err != nil {
		return c, fmt.Errorf("constraint %q: %w", s, err)
	}
	return c, nil
}

// CheckLabel returns an error unless a constraint can name a node by the label.
func CheckLabel(name, value string) error {
	if _, err := ParseConstraint("node.labels." + name + "==" + value); err != nil || strings.ContainsAny(name, "=! ") {
		return fmt.Errorf("%q=%q can be no label of a node: use letters, digits, dots and dashes, as in zone=eu", name,
			value)
	}
	return nil
}

func parseConstraint(s string) (Constraint, error) {
	key, operator, value, err := naming.SplitConstraint(s)
	if err != nil {
		return Constraint{}, err
	}
	c := Constraint{text: key + operator + value, equal: operator == "=="}
	if strings.EqualFold(key, "node.ip") {
		network, err := parseNetwork(value)
		c.has = func(n Node) bool { return within(network, n.Addr) }
		return c, err
	}
	of := attribute(key)
	c.has = func(n Node) bool { return strings.EqualFold(of(n), value) }
	return c, nil
}

// attribute finds what a key stands for. The architecture is compared as the
// node names it: Swarm takes x86_64 and amd64 for the same only in an image.
func attribute(key string) func(Node) string {
	switch lower := strings.ToLower(key); {
	case lower == "node.id":
		return func(n Node) string { return n.ID }
	case lower == "node.hostname":
		return func(n Node) string { return n.Name }
	case lower == "node.role":
		return func(n Node) string { return n.Role }
	case lower == "node.platform.os":
		return func(n Node) string { return n.OS }
	case lower == "node.platform.arch":
		return func(n Node) string { return n.Arch }
	case strings.HasPrefix(lower, "node.labels."):
		return func(n Node) string { return n.Labels[key[len("node.labels."):]] }
	default:
		return func(n Node) string { return n.EngineLabels[key[len("engine.labels."):]] }
	}
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
