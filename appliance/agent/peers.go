package agent

import (
	"fmt"
	"net/http"
	"net/netip"

	"github.com/crawlbox/crawlbox/appliance/deploy"
	"github.com/crawlbox/crawlbox/appliance/fleet"
	"github.com/crawlbox/crawlbox/appliance/members"
)

// Peers are the crawlboxes on the nodes of the swarm, that of this node among them, as
// somebody asks them who knows the nodes' certificates. Its methods may be called at the
// same time.
type Peers struct {
	client    *http.Client
	self      netip.Addr
	port      uint16
	certified func(fleet.Node) []members.Member
	own       map[string]Handler
}

// NewPeers returns those that client reaches at a port. self is where Swarm has this
// node, certified returns who may answer for a node, and own are the handlers that answer
// here.
func NewPeers(client *http.Client, self netip.Addr, port uint16, certified func(fleet.Node) []members.Member, own []Handler) *Peers {
	p := &Peers{client: client, self: self, port: port, certified: certified, own: map[string]Handler{}}
	for _, h := range own {
		p.own[h.Route()] = h
	}
	return p
}

// IsSelf reports whether a node is this one.
func (p *Peers) IsSelf(n fleet.Node) bool { return n.Addr == p.self.String() }

// target is the crawlbox on a node. The error wraps deploy.ErrNotStageable where none is
// known there.
func (p *Peers) target(n fleet.Node) (Target, error) {
	addr, err := netip.ParseAddr(n.Addr)
	may := p.certified(n)
	if err != nil || len(may) == 0 {
		return Target{}, fmt.Errorf("no crawlbox is known on %s: %w", n.Display, deploy.ErrNotStageable)
	}
	return p.At(addr, may), nil
}

// At is one of some nodes, at an address.
func (p *Peers) At(addr netip.Addr, may []members.Member) Target {
	ids := make([]string, len(may))
	for i, n := range may {
		ids[i] = n.ID
	}
	return Target{Client: p.client, Addr: netip.AddrPortFrom(addr.Unmap(), p.port), IDs: ids}
}
