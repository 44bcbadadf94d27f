package node

import (
	"fmt"
	"net"
	"net/netip"

	"github.com/crawlbox/crawlbox/appliance/agent/owner"
	"github.com/crawlbox/crawlbox/embedded/registry/access"
)

// registryAccess are the rules of the registry on the network.
func (m *Manager) registryAccess() access.Options {
	return access.Options{
		Accounts: m.accounts,
		Peer:     owner.NewNetwork(m.prover, m.identity, m.members, m.peers, m.addr).Right,
		Member: func(addr netip.Addr) bool {
			return addr == m.addr || addr == bindAddr(m.addr) || len(m.members.At(addr)) > 0
		},
		Host:  m.registryName,
		Admit: owner.Admit,
		Audit: m.audit.Record,
		Log:   m.log,
	}
}

// registryName says whether a Host header names the registry on the network: by
// a name or address that the manager's certificate is good for.
func (m *Manager) registryName(hostport string) bool {
	host, port, err := net.SplitHostPort(hostport)
	return err == nil && port == fmt.Sprint(m.cfg.Registry.Port) && m.identity.Certificate().Leaf.VerifyHostname(host) == nil
}
