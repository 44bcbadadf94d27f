package fleet

import (
	"fmt"
	"slices"
	"strings"

	"github.com/crawlbox/crawlbox/appliance/base/words"
)

// Platform is one that an image was made for; what is empty may be anything.
type Platform struct {
	OS   string `json:"os"`
	Arch string `json:"arch"`
}

// ParsePlatform reads a platform as Docker writes it, such as linux/arm64/v8, or arm64 alone.
func ParsePlatform(text string) Platform {
	parts := strings.Split(text, "/")
	if len(parts) == 1 {
		parts = []string{"linux", text}
	}
	return Platform{OS: parts[0], Arch: goArch(parts[1])}
}

func (p Platform) String() string {
	return strings.Trim(p.OS+"/"+p.Arch, "/")
}

func (p Platform) fits(n Node) bool {
	return (p.Arch == "" || goArch(p.Arch) == goArch(n.Arch)) && (p.OS == "" || p.OS == n.OS)
}

// Platform returns the node's platform, in the words of images.
func (n Node) Platform() Platform { return Platform{OS: n.OS, Arch: goArch(n.Arch)} }

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
	May []Node `json:"may"`
	// Fit are those that may, and those that are only drained, paused or down.
	Fit []Node      `json:"fit"`
	Why []Exclusion `json:"why"` // without those that exclude no node
	Of  int         `json:"of"`  // nodes there are
}

// Eligible sorts nodes by what a service asks for. No platforms are any
// platform; a constraint that can't be read excludes every node.
func Eligible(nodes []Node, needs Needs) Eligibility {
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
	left := func() (list []Node) {
		for i, n := range nodes {
			if !excluded[i] {
				list = append(list, n)
			}
		}
		return list
	}
	for _, s := range needs.Constraints {
		exclude(constraintRule(s))
	}
	if len(needs.Platforms) > 0 {
		exclude(platformRule(needs.Platforms, nodes))
	}
	needs.reservations(nodes, exclude)
	e.Fit = left()
	exclude(reasonDrained, func(n Node) bool { return n.Availability != AvailabilityDrain })
	exclude(reasonPaused, func(n Node) bool { return n.Availability != AvailabilityPause })
	exclude(reasonDown, func(n Node) bool { return n.State == StateReady })
	e.May = left()
	return e
}

func constraintRule(s string) (reason string, allows func(Node) bool) {
	c, err := parseConstraint(s)
	if err != nil {
		return fmt.Sprintf("constraint %s (%v)", s, err), func(Node) bool { return false }
	}
	return "constraint " + c.String(), c.Allows
}

func platformRule(platforms []Platform, nodes []Node) (reason string, allows func(Node) bool) {
	allows = func(n Node) bool {
		return slices.ContainsFunc(platforms, func(p Platform) bool { return p.fits(n) })
	}
	var wanted, others []Platform
	for _, p := range platforms {
		// The build's attestations stand beside the images, for no platform.
		if p.OS != "unknown" {
			wanted = append(wanted, p)
		}
	}
	for _, n := range nodes {
		if !allows(n) && !slices.Contains(others, n.Platform()) {
			others = append(others, n.Platform())
		}
	}
	return fmt.Sprintf("image for %s (nodes are %s)", names(wanted), names(others)), allows
}

func names(platforms []Platform) string {
	list := make([]string, len(platforms))
	for i, p := range platforms {
		list[i] = p.String()
	}
	return strings.Join(list, ", ")
}

// Explain says in one line how many nodes can run the service and what
// excludes the others.
func (e Eligibility) Explain() string {
	lead := fmt.Sprintf("%d of %s can run it", len(e.May), words.Count(e.Of, "node"))
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
			parts = append(parts, fmt.Sprintf("%d of %s %s", x.Nodes, words.Count(e.Of, "node"), x.Reason))
		default:
			parts = append(parts, fmt.Sprintf("%s excludes %d of %s", x.Reason, x.Nodes, words.Count(e.Of, "node")))
		}
	}
	if len(parts) == 0 {
		return lead
	}
	return lead + ": " + strings.Join(parts, "; ")
}
