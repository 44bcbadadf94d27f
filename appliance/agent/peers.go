package agent

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"

	"github.com/crawlbox/crawlbox/appliance/cluster/member"
	"github.com/crawlbox/crawlbox/appliance/deploy"
	"github.com/crawlbox/crawlbox/appliance/fleet"
)

// Peers asks the crawlboxes on the nodes of the swarm, that of this node among them, for a
// caller that knows the nodes' certificates. Its methods may be called at the
// same time.
type Peers struct {
	swarm     Swarm
	certified func(fleet.Node) []member.Member
	client    *http.Client
	self      netip.Addr
	port      uint16
	own       map[string]Handler
	log       *slog.Logger
}

type Swarm interface {
	Nodes(ctx context.Context) ([]fleet.Node, error)
}

// NewPeers returns those that client reaches at a port. certified returns who may answer
// for a node, self is where Swarm has this node, and own are the handlers that answer here.
func NewPeers(
	s Swarm, certified func(fleet.Node) []member.Member,
	client *http.Client, self netip.Addr, port uint16, own []Handler, log *slog.Logger,
) *Peers {
	p := &Peers{s, certified, client, self, port, map[string]Handler{}, log}
	for _, h := range own {
		p.own[h.Route()] = h
	}
	return p
}

// IsSelf reports whether a node is this one.
func (p *Peers) IsSelf(n fleet.Node) bool { return n.Addr == p.self.String() }

// own returns this node's handler of a route for a request, which is valid or not.
func own[H Handler](p *Peers, route string, valid bool, invalid string) (h H, err error) {
	h, ok := p.own[route].(H)
	switch {
	case !ok:
		err = fmt.Errorf("this node does not answer %s", route)
	case !valid:
		err = &StatusError{Code: http.StatusBadRequest, Text: invalid}
	}
	return h, err
}

// target returns the crawlbox on a node. The error wraps deploy.ErrNoAgent where none is
// known there.
func (p *Peers) target(n fleet.Node) (Target, error) {
	addr, err := netip.ParseAddr(n.Addr)
	may := p.certified(n)
	if err != nil || len(may) == 0 {
		return Target{}, fmt.Errorf("no crawlbox is known on %s: %w", n.Display, deploy.ErrNoAgent)
	}
	return p.At(addr, may), nil
}

// At returns the target for any of some nodes, at an address.
func (p *Peers) At(addr netip.Addr, may []member.Member) Target {
	ids := make([]string, len(may))
	for i, n := range may {
		ids[i] = n.ID
	}
	return Target{Client: p.client, Addr: netip.AddrPortFrom(addr.Unmap(), p.port), IDs: ids}
}

// Others returns the other nodes of the swarm as far as they are known.
func (p *Peers) Others() (list []Target) {
	ctx, cancel := context.WithTimeout(context.Background(), leaveTimeout)
	defer cancel()
	nodes, err := p.swarm.Nodes(ctx)
	if err != nil {
		p.log.Debug("failed to list the nodes", "error", err)
	}
	for _, n := range nodes {
		if to, err := p.target(n); err == nil && !p.IsSelf(n) {
			list = append(list, to)
		}
	}
	return list
}
