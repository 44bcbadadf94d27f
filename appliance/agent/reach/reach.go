// Package reach has nodes try each other's ports: a firewall between two machines, or an
// address that is not the one others see, is known to no machine alone. So a node asks others
// to connect to it, and says which of its ports they reached.
package reach

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"github.com/crawlbox/crawlbox/appliance/agent"
	"github.com/crawlbox/crawlbox/appliance/base/bound"
	"github.com/crawlbox/crawlbox/appliance/cluster/pki"
	"github.com/crawlbox/crawlbox/appliance/doctor"
	"github.com/crawlbox/crawlbox/appliance/fleet"
	"github.com/crawlbox/crawlbox/embedded/gossip"
)

const (
	// maxNeighbours bounds how many nodes are asked.
	maxNeighbours = 8
	// maxPorts bounds how many ports one node may have tried.
	maxPorts = 8
	// burst is how often at once one node may have ports tried, and every how often then.
	burst = 10
	every = 10 * time.Second
	// maxAskers bounds the nodes whose questions are counted.
	maxAskers = 5000
)

type request struct {
	Ports []uint16 `json:"ports"` // TCP ports of the node that asks
}

type answer struct {
	Time  time.Time    `json:"time"`
	Seen  netip.Addr   `json:"seen"` // where the question came from
	MTU   int          `json:"mtu"`
	Tries []doctor.Try `json:"tries"`
}

// call asks another node to connect back. It tries all ports at once.
var call = agent.Call[request, answer]{
	Route:      agent.RouteReach,
	MaxRequest: 4 << 10,
	MaxAnswer:  64 << 10,
	Timeout:    5 * time.Second,
	Valid:      func(r request) bool { return len(r.Ports) <= maxPorts },
	Invalid:    "not a question about ports",
}

// Answer tries ports of the node that asks, at the address from which it asks and at no
// other: a node that was broken into has no others scan for it. addr is where this node
// listens.
func Answer(addr netip.Addr, log *slog.Logger) agent.Handler {
	asked := bound.NewRate[string](every, burst, maxAskers)
	return call.Handler(log, func(ctx context.Context, from agent.Peer, r request) (answer, error) {
		if !asked.Allow(from.ID) {
			return answer{}, &agent.StatusError{Code: http.StatusTooManyRequests, Text: "it was asked too often"}
		}
		seen := from.Addr.Addr()
		if !seen.IsValid() {
			return answer{}, &agent.StatusError{
				Code: http.StatusBadRequest,
				Text: "the address of who asks is not known",
			}
		}
		return answer{
			Time:  time.Now(),
			Seen:  seen,
			MTU:   doctor.CardAt(addr, doctor.Cards()).MTU,
			Tries: doctor.Dial(ctx, seen, r.Ports),
		}, nil
	})
}

// Prober has a node and its neighbours try each other's ports.
type Prober struct {
	Client   *http.Client
	Self     netip.Addr
	Port     uint16                                 // between nodes
	At       func(netip.AddrPort) bool              // where nodes are
	Members  func() []gossip.Member                 // those that gossip knows
	Managers func() []netip.AddrPort                // those that have the registry
	Ports    func(role string, first bool) []uint16 // that a node listens on; first has the queue
}

// Near is Probe of a node of a role, with the ports that such a one has.
func (p Prober) Near(role string, first bool) func(context.Context) []doctor.Neighbour {
	return func(ctx context.Context) []doctor.Neighbour { return p.Probe(ctx, p.Ports(role, first)) }
}

// Probe probes from a node with the ports own. Managers come first. That of the queue is tried of none: its home alone
// has it, and that tries the others.
func (p Prober) Probe(ctx context.Context, own []uint16) []doctor.Neighbour {
	others := p.neighbours()
	var all sync.WaitGroup
	for i := range others {
		n := &others[i]
		all.Go(func() { n.There = doctor.Dial(ctx, n.Addr, p.Ports(n.Role, false)) })
		all.Go(func() {
			if err := p.ask(ctx, n, own); err != nil {
				n.Error = err.Error()
			}
		})
	}
	all.Wait()
	return others
}

// neighbours returns the other nodes: the managers first, also those that gossip has lost.
func (p Prober) neighbours() (list []doctor.Neighbour) {
	known := agent.Hints(p.Members(), p.Self, p.Port, p.At)
	asked := map[netip.Addr]bool{p.Self: true}
	add := func(n doctor.Neighbour) {
		if !asked[n.Addr] && len(list) < maxNeighbours {
			list = append(list, n)
		}
		asked[n.Addr] = true
	}
	for _, addr := range p.Managers() {
		n := doctor.Neighbour{Name: addr.Addr().String(), Role: fleet.RoleManager, Addr: addr.Addr()}
		for _, k := range known {
			if k.Addr == n.Addr {
				n.Name = k.Name
			}
		}
		add(n)
	}
	for _, k := range known {
		add(doctor.Neighbour{Name: k.Name, Role: k.Role, Addr: k.Addr})
	}
	return list
}

// ask asks for a connection back. That needs one that is new.
func (p Prober) ask(ctx context.Context, n *doctor.Neighbour, ports []uint16) error {
	to := agent.Target{Client: p.Client, Addr: netip.AddrPortFrom(n.Addr, p.Port), Fresh: true}
	asked := time.Now()
	a, err := call.Ask(ctx, to, request{ports})
	n.Removed = errors.Is(err, pki.ErrRemoved)
	if status, ok := errors.AsType[*agent.StatusError](err); ok && status.Code == http.StatusNotFound {
		return fmt.Errorf("%w, so its crawlbox is of another version", err)
	}
	if err != nil {
		return err
	}
	n.Here, n.Seen, n.MTU, n.Skew = a.Tries, a.Seen, a.MTU, a.Time.Sub(asked)
	if n.Skew > 0 { // it took a while to get there, and to answer
		n.Skew = max(0, n.Skew-time.Since(asked))
	}
	return nil
}
