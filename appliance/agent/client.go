package agent

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"time"

	"github.com/crawlbox/crawlbox/appliance/cluster/member"
	"github.com/crawlbox/crawlbox/appliance/cluster/pki"
	"github.com/crawlbox/crawlbox/embedded/gossip"
)

// A node connects to another one only where the cluster's managers know a node to be:
// where it came from when it got its certificate, and where Swarm sees it. What gossip,
// another node or an answer says of an address only chooses among these.

// ErrNoNode is returned by the clients of NewClient for an address where no node is known.
var ErrNoNode = errors.New("no node of the cluster is known to be there")

// isNode reports whether a node is at an address, with the port that nodes have, or a
// manager. Managers of earlier versions do not say where nodes are; then each address
// may be one.
func isNode(m pki.Membership, to netip.AddrPort, port uint16) bool {
	to = netip.AddrPortFrom(to.Addr().Unmap(), to.Port())
	at := func(manager netip.AddrPort) bool { return manager.Addr().Unmap() == to.Addr() }
	switch {
	case slices.Contains(m.Managers, to):
		return true
	case to.Port() != port:
		return false
	}
	return len(m.Nodes) == 0 || slices.Contains(m.Nodes, to.Addr()) || slices.ContainsFunc(m.Managers, at)
}

// AtNodes returns isNode by what a node knows now.
func AtNodes(id *pki.Identity, port uint16) func(netip.AddrPort) bool {
	return func(to netip.AddrPort) bool { return isNode(id.Membership(), to, port) }
}

// AtMembers returns AtNodes of a manager, which knows at once of a node that has joined.
func AtMembers(id *pki.Identity, list *member.List, port uint16) func(netip.AddrPort) bool {
	at := AtNodes(id, port)
	return func(to netip.AddrPort) bool {
		joined := func(n member.Member) bool { return n.Remote.Unmap() == to.Addr().Unmap() }
		return at(to) || to.Port() == port && slices.ContainsFunc(list.At(to.Addr()), joined)
	}
}

// NewClient returns a client that speaks to nodes of the cluster with one of the roles, of
// any where none is given, and to nothing else; at is where they may be. It goes where it is
// sent, and not where an answer sends it.
func NewClient(at func(netip.AddrPort) bool, id *pki.Identity, roles ...string) *http.Client {
	dialer := net.Dialer{Timeout: 5 * time.Second}
	return &http.Client{
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{
			TLSClientConfig:       id.ClientTLS(roles...),
			TLSHandshakeTimeout:   5 * time.Second,
			ResponseHeaderTimeout: 15 * time.Second,
			IdleConnTimeout:       time.Minute,
			MaxIdleConnsPerHost:   8,
			DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
				if to, err := netip.ParseAddrPort(addr); err != nil || !at(to) {
					return nil, fmt.Errorf("connect to %s: %w", addr, ErrNoNode)
				}
				return dialer.DialContext(ctx, network, addr)
			},
		},
	}
}

// Hints returns the members of gossip that have not left and are where nodes are, but for
// the one at self. What gossip names elsewhere is not asked.
func Hints(all []gossip.Member, self netip.Addr, port uint16, at func(netip.AddrPort) bool) []gossip.Member {
	return slices.DeleteFunc(slices.Clone(all), func(m gossip.Member) bool {
		return m.State == gossip.Left || m.Addr == self || !at(netip.AddrPortFrom(m.Addr, port))
	})
}

// AskerAddr returns where others reach the node that sent a request: the address that its
// certificate has, which is where it was when it got it or, of a manager, where it says it
// is; and where that has none, the one from which it asks.
func AskerAddr(r *http.Request) netip.Addr {
	if r.TLS != nil && len(r.TLS.PeerCertificates) > 0 {
		for _, ip := range r.TLS.PeerCertificates[0].IPAddresses {
			if addr, ok := netip.AddrFromSlice(ip); ok && !addr.Unmap().IsLoopback() {
				return addr.Unmap()
			}
		}
	}
	return peerOf(r).Addr.Addr()
}

// View is what a node knows of where the others are: from the news of the managers, which
// count, and from gossip, which is a hint.
type View struct {
	id      *pki.Identity
	self    netip.Addr
	port    uint16
	members func() []gossip.Member
}

// NewView returns the view of a node with an address. members are those that gossip knows.
func NewView(id *pki.Identity, self netip.Addr, port uint16, members func() []gossip.Member) *View {
	return &View{id, self, port, members}
}

// Members returns those that gossip knows, none before it has begun.
func (v *View) Members() []gossip.Member { return v.members() }

// At reports whether a node of the cluster may be at an address.
func (v *View) At(to netip.AddrPort) bool { return AtNodes(v.id, v.port)(to) }

// Addr returns the port between nodes at an address.
func (v *View) Addr(a netip.Addr) string { return netip.AddrPortFrom(a, v.port).String() }

// Managers returns the ports of the managers.
func (v *View) Managers() (list []string) {
	for _, addr := range v.id.Membership().Managers {
		list = append(list, addr.String())
	}
	return list
}

// Full returns the ports of the managers that have all images, but for this node's.
func (v *View) Full() (list []string) {
	m := v.id.Membership()
	full := m.Full
	if len(full) == 0 { // of a version that does not say
		full = m.Managers
	}
	for _, addr := range full {
		if addr.Addr().Unmap() != v.self {
			list = append(list, addr.String())
		}
	}
	return list
}

// Targets returns the managers as they are called.
func (v *View) Targets(client *http.Client) (list []Target) {
	for _, addr := range v.id.Membership().Managers {
		list = append(list, Target{Client: client, Addr: addr})
	}
	return list
}

// Alive returns the ports of the other nodes that are up, as far as gossip has them where
// nodes are.
func (v *View) Alive() (list []string) {
	for _, m := range Hints(v.members(), v.self, v.port, v.At) {
		if m.State == gossip.Alive {
			list = append(list, v.Addr(m.Addr))
		}
	}
	return list
}

// unheard is how long no manager of a node has answered before it asks other nodes where they are.
const unheard = time.Minute

// Strays returns the other nodes that are known, to be asked by a client, where no manager has answered for a
// while: they may know where the cluster is by now. Gossip may have another key there.
func (v *View) Strays(client *http.Client) func() []Target {
	begun := time.Now()
	return func() (list []Target) {
		if time.Since(begun) < unheard || v.id.HeardWithin(unheard) {
			return nil
		}
		for _, addr := range v.id.Membership().Nodes {
			if addr != v.self {
				list = append(list, Target{Client: client, Addr: netip.AddrPortFrom(addr, v.port)})
			}
		}
		return list
	}
}

// IsSelf reports whether an address is this node's.
func (v *View) IsSelf(addr netip.Addr) bool { return addr == v.self }

// IsAlive reports whether a crawlbox runs at an address, as far as gossip has heard.
func (v *View) IsAlive(at netip.Addr) bool {
	return slices.ContainsFunc(v.members(), func(m gossip.Member) bool {
		return m.Addr == at && m.State == gossip.Alive
	})
}

// IsGone reports whether gossip has heard that no crawlbox runs at an address; what it has not heard of may run.
func (v *View) IsGone(at netip.Addr) bool {
	members := v.members()
	known := slices.ContainsFunc(members, func(m gossip.Member) bool { return m.Addr == at })
	return known && !v.IsAlive(at)
}

// Asker names the node that sent a request as others reach it; empty: it is not known.
func (v *View) Asker(r *http.Request) string {
	addr := AskerAddr(r)
	if !addr.IsValid() {
		return ""
	}
	return v.Addr(addr)
}

// Manager returns where a manager is that this node may ask: one that runs, as far as gossip has heard, or the
// first that it knows. It is not valid where none is known.
func (v *View) Manager() (first netip.Addr) {
	for _, m := range v.id.Membership().Managers {
		addr := m.Addr().Unmap()
		switch {
		case addr == v.self:
		case v.IsAlive(addr):
			return addr
		case !first.IsValid():
			first = addr
		}
	}
	return first
}

// ManagerName names that manager for people.
func (v *View) ManagerName() string { return v.Name(v.Manager()) }

// Name names the manager at an address for people.
func (v *View) Name(addr netip.Addr) string {
	if !addr.IsValid() {
		return "of this cluster"
	}
	if name := v.HostName(addr); name != "" {
		return fmt.Sprintf("%s (%s)", name, addr)
	}
	return addr.String()
}

// HostName returns the name of the machine at an address, as gossip has it; empty: it has heard of none.
func (v *View) HostName(addr netip.Addr) string {
	for _, m := range v.members() {
		if m.Addr == addr {
			return m.Name
		}
	}
	return ""
}

// URLs returns those of ports between nodes.
func URLs(ports []string) (list []string) {
	for _, port := range ports {
		list = append(list, "https://"+port)
	}
	return list
}
