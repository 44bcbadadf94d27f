package doctor

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"

	"github.com/crawlbox/crawlbox/appliance/doctor/firewall"
)

// Docker's own ports, which can't be chosen.
const (
	swarmManagement = 2377 // on managers
	swarmGossip     = 7946
	overlay         = 4789 // the kernel's, for overlay networks
)

// Keys of the config that choose ports which are opened on loopback too.
const (
	keyRegistry = "registry.port"
	keyQueue    = "queue.port"
)

// Loopback is where a node serves its own machine.
var Loopback = netip.AddrFrom4([4]byte{127, 0, 0, 1})

// Need is a port of this machine that other nodes use.
type Need struct {
	firewall.Port
	Key string // of the config that chooses another; empty: it is Docker's
	// Vital ports are those without which a machine is no node.
	Vital bool
}

// Ports holds the ports of crawlbox that can be chosen.
type Ports struct {
	Node, Gossip uint16
	// Those of the manager that has the registry; 0 on others, and where there is no queue.
	Registry, Queue uint16
}

// Needs lists what other nodes use of a manager or a worker.
func Needs(p Ports, manager bool) []Need {
	tcp, udp := func(n uint16) firewall.Port {
		return firewall.Port{Proto: "tcp", Number: n}
	}, func(n uint16) firewall.Port { return firewall.Port{Proto: "udp", Number: n} }
	list := []Need{
		{tcp(p.Node), "node.port", true},
		{tcp(p.Gossip), "gossip.port", false},
		{udp(p.Gossip), "gossip.port", false},
	}
	if p.Registry != 0 {
		list = append(list, Need{tcp(p.Registry), keyRegistry, false})
	}
	if p.Queue != 0 {
		list = append(list, Need{tcp(p.Queue), keyQueue, false})
	}
	return append(list, swarmNeeds(manager)...)
}

func swarmNeeds(manager bool) (list []Need) {
	if manager {
		list = append(list, Need{firewall.Port{Proto: "tcp", Number: swarmManagement}, "", true})
	}
	return append(list, Need{firewall.Port{Proto: "tcp", Number: swarmGossip}, "", false},
		Need{firewall.Port{Proto: "udp", Number: swarmGossip}, "", false},
		Need{firewall.Port{Proto: "udp", Number: overlay}, "", false})
}

// TryablePorts returns the ports that other nodes can be asked to connect to.
func TryablePorts(needs []Need) (ports []uint16) {
	for _, n := range needs {
		if n.Proto == "tcp" {
			ports = append(ports, n.Number)
		}
	}
	return ports
}

// IsVital reports whether a machine without this port is no node.
func IsVital(needs []Need, port uint16) bool {
	return slices.ContainsFunc(needs, func(n Need) bool { return n.Vital && n.Number == port })
}

// SwarmPorts checks that Docker will get its own ports when it makes a swarm or joins
// one.
func SwarmPorts(manager bool) error {
	for _, n := range swarmNeeds(manager) {
		if n.Number == overlay { // the kernel shares it
			continue
		}
		if err := n.free(netip.IPv4Unspecified()); err != nil {
			return err
		}
	}
	return nil
}

// addrs returns where the port is opened: the registry and the queue serve this machine on
// loopback too.
func (n Need) addrs(bind netip.Addr) []netip.Addr {
	switch {
	case n.Key == "":
		return []netip.Addr{netip.IPv4Unspecified()}
	case (n.Key == keyRegistry || n.Key == keyQueue) && !bind.IsLoopback():
		return []netip.Addr{bind, Loopback}
	}
	return []netip.Addr{bind}
}

// free reports whether the port can be had. A port of Docker's own that Docker has is one
// that it has not given up yet, just after it has left a swarm.
func (n Need) free(bind netip.Addr) error {
	addr := netip.AddrPortFrom(bind, n.Number)
	err := n.listen(addr)
	if err != nil && n.Key == "" && strings.HasPrefix(portOwner(addr, n.Proto), "dockerd ") {
		return nil
	}
	return err
}

func (n Need) listen(addr netip.AddrPort) error {
	if n.Proto == "tcp" {
		return Port(addr, n.Key)
	}
	conn, err := net.ListenPacket("udp", addr.String())
	if err != nil {
		return portError(err, addr, n.Key, n.Proto)
	}
	return conn.Close()
}

// PortsHere looks whether what is not in use yet can be used. In use are those of
// crawlbox while it runs, and those of Docker while it is in a swarm.
func PortsHere(needs []Need, bind netip.Addr, crawlbox, swarm bool) (list []Finding) {
	var by string
	for _, n := range needs {
		if n.Key == "" && swarm || n.Key != "" && crawlbox || n.Number == overlay {
			continue
		}
		for _, at := range n.addrs(bind) {
			if err := n.free(at); err != nil {
				list = append(list, Failed("ports here", Bad, err))
			}
		}
	}
	switch {
	case crawlbox && swarm:
		by = "crawlbox and Docker have theirs"
	case crawlbox:
		by = "crawlbox has its own"
	case swarm:
		by = "Docker has its own, the others are free"
	default:
		by = fmt.Sprintf("%s are free", firewall.List(portsOf(needs)))
	}
	return orGood(list, "ports here", by)
}

func portsOf(needs []Need) (ports []firewall.Port) {
	for _, n := range needs {
		ports = append(ports, n.Port)
	}
	return ports
}
