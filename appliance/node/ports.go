package node

import (
	"net"
	"net/netip"
	"slices"

	"github.com/crawlbox/crawlbox/appliance/doctor"
	"github.com/crawlbox/crawlbox/appliance/guard"
	"github.com/crawlbox/crawlbox/appliance/server"
	"github.com/crawlbox/crawlbox/configs"
)

// ports are the listeners of a node, before anything is served on them.
type ports struct {
	socket   net.Listener    // the local API
	local    *guard.Listener // the registry on loopback
	nodes    *guard.Listener // mutual TLS between nodes
	registry *guard.Listener // the registry on the network; nil where it is not served
	queue    net.Listener    // guarded by the queue's process; nil where there is none
}

// loopback are the limits there, where all have one address.
var loopback = guard.Limits{Strangers: 4096, PerAddr: 4096, PerParty: 4096}

// open opens all ports of a node with an address, or none. The first manager of a cluster
// serves the registry and the queue on the network.
func (p *ports) open(cfg configs.Config, addr netip.Addr, first bool) (err error) {
	defer func() {
		if err != nil {
			p.close()
		}
	}()
	if err = p.openSocket(cfg); err != nil {
		return err
	}
	bind, own := doctor.BindAddr(addr), netip.AddrFrom4([4]byte{127, 0, 0, 1})
	if p.local, err = listen(netip.AddrPortFrom(own, cfg.Registry.Port), "registry.port", loopback); err != nil {
		return err
	}
	if p.nodes, err = listen(netip.AddrPortFrom(bind, cfg.Node.Port), "node.port", guard.Limits{}); err != nil {
		return err
	}
	if err = doctor.Port(netip.AddrPortFrom(bind, cfg.Gossip.Port), "gossip.port"); err != nil {
		return err
	}
	if first && cfg.Queue != nil {
		if p.queue, err = doctor.Listen(netip.AddrPortFrom(bind, cfg.Queue.Port), "queue.port"); err != nil {
			return err
		}
	}
	// A cluster of one machine for itself has no network to serve.
	if first && !bind.IsLoopback() {
		p.registry, err = listen(netip.AddrPortFrom(bind, cfg.Registry.Port), "registry.port", guard.Limits{})
	}
	return err
}

func (p *ports) openSocket(cfg configs.Config) (err error) {
	p.socket, err = server.ListenSocket(cfg.Socket, cfg.SocketGroup)
	return err
}

// listen opens a port and bounds what strangers can take of it.
func listen(addr netip.AddrPort, key string, limits guard.Limits) (*guard.Listener, error) {
	ln, err := doctor.Listen(addr, key)
	if err != nil {
		return nil, err
	}
	return guard.New(ln, limits), nil
}

// guarded returns the listeners that are open and can be reached from other machines or
// containers.
func (p *ports) guarded() []*guard.Listener {
	all := []*guard.Listener{p.local, p.nodes, p.registry}
	return slices.DeleteFunc(all, func(ln *guard.Listener) bool { return ln == nil })
}

// drop closes the connections of nodes that were removed, by their IDs.
func (p *ports) drop(removed []string) {
	for _, ln := range p.guarded() {
		for _, id := range removed {
			ln.Drop(id)
		}
	}
}

func (p *ports) close() {
	for _, ln := range p.guarded() {
		ln.Close()
	}
	if p.queue != nil {
		p.queue.Close()
	}
	if p.socket != nil {
		p.socket.Close()
	}
}
