package node

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/crawlbox/crawlbox/appliance/fleet"
	"github.com/crawlbox/crawlbox/appliance/join"
	"github.com/crawlbox/crawlbox/appliance/members"
)

// A node connects to another one only where the cluster's managers know a node to be:
// where it came from when it got its certificate, and where Swarm sees it. What gossip,
// another node or an answer says of an address only chooses among these.

// errNoNode is for an address where no node is known.
var errNoNode = errors.New("no node of the cluster is known to be there")

// isNode reports whether a node is at an address, with the port that nodes have, or a
// manager. Managers of earlier versions do not say where nodes are; then each address
// may be one.
func isNode(m join.Membership, to netip.AddrPort, port uint16) bool {
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

// atNodes is isNode by what a node knows now.
func atNodes(id *join.Identity, port uint16) func(netip.AddrPort) bool {
	return func(to netip.AddrPort) bool { return isNode(id.Membership(), to, port) }
}

// atMembers is atNodes of the manager, which knows at once of a node that has joined.
func (m *Manager) atMembers(port uint16) func(netip.AddrPort) bool {
	return func(to netip.AddrPort) bool {
		joined := func(n members.Member) bool { return n.Remote.Unmap() == to.Addr().Unmap() }
		return isNode(m.identity.Membership(), to, port) || to.Port() == port && slices.ContainsFunc(m.members.At(to.Addr()), joined)
	}
}

// nodeClient speaks to nodes of the cluster with one of the roles, of any where
// none is given, and to nobody else; at is where they may be. It goes where it is sent,
// and not where an answer sends it.
func nodeClient(at func(netip.AddrPort) bool, id *join.Identity, roles ...string) *http.Client {
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
					return nil, fmt.Errorf("connect to %s: %w", addr, errNoNode)
				}
				return dialer.DialContext(ctx, network, addr)
			},
		},
	}
}

// maxWhere bounds the addresses that nodes are told.
const maxWhere = 5000

// whereabouts are the addresses of all nodes, as the manager knows them.
type whereabouts struct {
	mu    sync.Mutex
	addrs []netip.Addr // sorted
}

func (w *whereabouts) list() []netip.Addr {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.addrs
}

// set reports whether the addresses are others than before. Of too many the first stay.
func (w *whereabouts) set(all []netip.Addr) (changed bool) {
	seen := map[netip.Addr]bool{}
	addrs := make([]netip.Addr, 0, len(all))
	for _, a := range all {
		if !seen[a] && len(addrs) < maxWhere {
			seen[a] = true
			addrs = append(addrs, a)
		}
	}
	slices.SortFunc(addrs, netip.Addr.Compare)
	w.mu.Lock()
	defer w.mu.Unlock()
	changed = !slices.Equal(w.addrs, addrs)
	w.addrs = addrs
	return changed
}

// tellWhere tells nodes where all are, whenever that changes.
func (m *Manager) tellWhere(ctx context.Context) error {
	tick := time.NewTicker(watchInterval)
	defer tick.Stop()
	for {
		_, _ = m.around.nodes(m.engine.Nodes)
		if m.where.set(m.whereNodesAre()) {
			if err := m.joins.Refresh(); err != nil {
				m.log.Warn("tell nodes where the others are", "error", err)
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// whereNodesAre are the addresses at which Swarm sees its nodes, and then those from
// which nodes came when they got their certificates.
func (m *Manager) whereNodesAre() []netip.Addr {
	addrs := append([]netip.Addr{m.addr}, m.around.all()...)
	for _, n := range m.members.All() {
		if n.Remote.IsValid() {
			addrs = append(addrs, n.Remote.Unmap())
		}
	}
	return addrs
}

// certifiedAddr is where a node was when it got the certificate that it shows; for a
// manager, where it says it is. It is not valid for one that came from elsewhere.
func certifiedAddr(r *http.Request) netip.Addr {
	if r.TLS == nil || len(r.TLS.PeerCertificates) == 0 {
		return netip.Addr{}
	}
	for _, ip := range r.TLS.PeerCertificates[0].IPAddresses {
		if addr, ok := netip.AddrFromSlice(ip); ok && !addr.Unmap().IsLoopback() {
			return addr.Unmap()
		}
	}
	return netip.Addr{}
}

// swarmAddrs are the addresses of nodes.
func swarmAddrs(nodes []fleet.Node) (addrs []netip.Addr) {
	for _, n := range nodes {
		if a, err := netip.ParseAddr(n.Addr); err == nil && !a.IsUnspecified() {
			addrs = append(addrs, a.Unmap())
		}
	}
	return addrs
}
