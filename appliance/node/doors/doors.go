// Package doors puts the two doors of a node's registry together: on loopback, for this machine's Docker
// Engine, and on the network, for people and other machines. It is apart from package node since that is long,
// and who may come in by which door is a subject of its own.
package doors

import (
	"log/slog"
	"net"
	"net/http"
	"net/netip"

	"github.com/crawlbox/crawlbox/appliance/agent"
	"github.com/crawlbox/crawlbox/appliance/agent/owner"
	"github.com/crawlbox/crawlbox/appliance/cluster/authority"
	"github.com/crawlbox/crawlbox/appliance/doctor"
	"github.com/crawlbox/crawlbox/appliance/guard"
	"github.com/crawlbox/crawlbox/appliance/lifecycle"
	"github.com/crawlbox/crawlbox/appliance/server"
	"github.com/crawlbox/crawlbox/embedded/registry/access"
)

// Local serves images on loopback. isOwn reports whether a Host header names that port.
func Local(
	images http.Handler, isOwn func(hostport string) bool, prover *owner.Prover, ln net.Listener, log *slog.Logger,
) lifecycle.Component {
	handler := access.Local(images, isOwn, prover.DockerOnly)
	return server.Serve(server.Site{Handler: handler, Conn: owner.Provable}, log, ln)
}

// Network is the door on the network of a manager.
type Network struct {
	Authority *authority.Authority
	Prover    *owner.Prover
	Peers     *agent.Peers
	Addr      netip.Addr // that others reach it at
	Port      uint16
	Listener  *guard.Listener // nil: it is not served
	Audit     func(event string, attrs ...slog.Attr)
	Log       *slog.Logger
}

// Owns reports whether a Host header names this door.
func (n Network) Owns(hostport string) bool {
	return server.IsCertified(hostport, n.Port, n.Authority.Identity.Certificate().Leaf)
}

// Parts serve images.
func (n Network) Parts(images http.Handler) []lifecycle.Part {
	if n.Listener == nil {
		return nil
	}
	a := n.Authority
	handler := access.Network(images, access.Options{
		Accounts: a.Accounts,
		Peer:     owner.NewNetwork(n.Prover, a.Identity, a.Members, n.Peers, n.Addr).Right,
		Member: func(addr netip.Addr) bool {
			return addr == n.Addr || addr == doctor.BindAddr(n.Addr) || len(a.Members.At(addr)) > 0
		},
		Host:  n.Owns,
		Admit: owner.Admit,
		Audit: n.Audit,
		Log:   n.Log,
	})
	site := server.Site{Handler: handler, TLS: a.Identity.ServerTLS(), Conn: owner.Provable}
	return []lifecycle.Part{{Name: "registry on the network", Component: server.Serve(site, n.Log, n.Listener)}}
}
