package server

import (
	"net"
	"net/http"
	"net/netip"
	"slices"
	"time"

	"github.com/crawlbox/crawlbox/appliance/doctor"
	"github.com/crawlbox/crawlbox/appliance/guard"
	"github.com/crawlbox/crawlbox/configs"
)

// Ports are the listeners of a node, before anything is served on them.
type Ports struct {
	Meanwhile http.Handler // answers on Socket until that is served, where a start takes long

	Socket   net.Listener    // the local API
	Local    *guard.Listener // the registry on loopback
	Nodes    *guard.Listener // mutual TLS between nodes
	Registry *guard.Listener // the registry on the network; nil where it is not served
	// Queue is guarded by the queue's process: on the network, and on loopback where that is
	// elsewhere; nil where there is none.
	Queue []net.Listener
}

// loopback are the limits there, where all have one address.
var loopback = guard.Limits{Strangers: 4096, PerAddr: 4096, PerParty: 4096}

// Open opens all ports of a node with an address, or none. The first manager of a cluster has
// the registry and the queue on the network, others open the registry's port when they are ready for it.
func (p *Ports) Open(cfg configs.Config, addr netip.Addr, first bool) (err error) {
	defer func() {
		if err != nil {
			p.Close()
		}
	}()
	if err = p.OpenSocket(cfg); err != nil {
		return err
	}
	bind := doctor.BindAddr(addr)
	own := netip.AddrPortFrom(doctor.Loopback, cfg.Registry.Port)
	if p.Local, err = listen(own, "registry.port", loopback); err != nil {
		return err
	}
	if p.Nodes, err = listen(netip.AddrPortFrom(bind, cfg.Node.Port), "node.port", guard.Limits{}); err != nil {
		return err
	}
	if err = doctor.Port(netip.AddrPortFrom(bind, cfg.Gossip.Port), "gossip.port"); err != nil {
		return err
	}
	if first && cfg.Queue != nil {
		if err = p.openQueue(bind, cfg.Queue.Port); err != nil {
			return err
		}
	}
	if first {
		err = p.OpenRegistry(cfg, addr)
	}
	return err
}

// OpenRegistry opens the registry's port on the network, as each manager has it. Where it is open already,
// nothing is done.
func (p *Ports) OpenRegistry(cfg configs.Config, addr netip.Addr) (err error) {
	bind := doctor.BindAddr(addr)
	if p.Registry != nil || bind.IsLoopback() { // a cluster of one machine for itself has no network to serve
		return nil
	}
	p.Registry, err = listen(netip.AddrPortFrom(bind, cfg.Registry.Port), "registry.port", guard.Limits{})
	return err
}

// openQueue opens the queue's port, for people of this machine on loopback.
func (p *Ports) openQueue(bind netip.Addr, port uint16) error {
	addrs := []netip.Addr{bind}
	if !bind.IsLoopback() {
		addrs = append(addrs, doctor.Loopback)
	}
	for _, addr := range addrs {
		// Of a crawlbox that was killed the queue's process ends a moment later.
		ln, err := doctor.ListenSoon(netip.AddrPortFrom(addr, port), "queue.port")
		if err != nil {
			return err
		}
		p.Queue = append(p.Queue, ln)
	}
	return nil
}

// OpenSocket opens the socket of the local API alone, and has Meanwhile answer there.
func (p *Ports) OpenSocket(cfg configs.Config) error {
	ln, err := ListenSocket(cfg.Socket, cfg.SocketGroup)
	if err == nil {
		p.Socket = newLobby(ln, p.Meanwhile, quickStart)
	}
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
func (p *Ports) guarded() []*guard.Listener {
	all := []*guard.Listener{p.Local, p.Nodes, p.Registry}
	return slices.DeleteFunc(all, func(ln *guard.Listener) bool { return ln == nil })
}

// lastAnswer is how long a node that was removed may take to read the answer to what it had asked before.
const lastAnswer = time.Second

// DropSoon is Drop after lastAnswer.
func (p *Ports) DropSoon(ids []string) { time.AfterFunc(lastAnswer, func() { p.Drop(ids) }) }

// Drop closes the connections of nodes that were removed, by their IDs.
func (p *Ports) Drop(removed []string) {
	for _, ln := range p.guarded() {
		for _, id := range removed {
			ln.Drop(id)
		}
	}
}

// Close closes those that are open.
func (p *Ports) Close() {
	for _, ln := range p.guarded() {
		ln.Close()
	}
	for _, ln := range p.Queue {
		ln.Close()
	}
	if p.Socket != nil {
		p.Socket.Close()
	}
}
