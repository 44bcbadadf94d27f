// Package reach has nodes try each other's ports: a firewall between two machines, or an
// address that is not the one others see, is known to no machine alone.
package reach

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"github.com/crawlbox/crawlbox/appliance/agent"
	"github.com/crawlbox/crawlbox/appliance/base/bound"
	"github.com/crawlbox/crawlbox/appliance/doctor"
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
func Answer(addr netip.Addr) agent.Handler {
	asked := bound.NewRate[string](every, burst, maxAskers)
	return call.Handler(func(ctx context.Context, from agent.Peer, r request) (answer, error) {
		if !asked.Allow(from.ID) {
			return answer{}, &agent.StatusError{Code: http.StatusTooManyRequests, Text: "it was asked too often"}
		}
		seen := from.Addr.Addr()
		if !seen.IsValid() {
			return answer{}, &agent.StatusError{Code: http.StatusBadRequest, Text: "the address of who asks is not known"}
		}
		return answer{
			Time:  time.Now(),
			Seen:  seen,
			MTU:   doctor.CardAt(addr, doctor.Cards()).MTU,
			Tries: doctor.Dial(ctx, seen, r.Ports),
		}, nil
	})
}

// Try has this node, which listens on the ports own, and others try each other's ports.
// theirs returns the ports of the other with an index; port is the one between nodes.
func Try(
	ctx context.Context, client *http.Client, port uint16,
	own []uint16, others []doctor.Neighbour, theirs func(i int) []uint16,
) []doctor.Neighbour {
	others = others[:min(len(others), maxNeighbours)]
	var all sync.WaitGroup
	for i := range others {
		n := &others[i]
		all.Go(func() { n.There = doctor.Dial(ctx, n.Addr, theirs(i)) })
		all.Go(func() {
			// A new connection is what is asked about.
			to := agent.Target{Client: client, Addr: netip.AddrPortFrom(n.Addr, port), Fresh: true}
			if err := askBack(ctx, to, n, own); err != nil {
				n.Error = err.Error()
			}
		})
	}
	all.Wait()
	return others
}

func askBack(ctx context.Context, to agent.Target, n *doctor.Neighbour, ports []uint16) error {
	asked := time.Now()
	a, err := call.Ask(ctx, to, request{ports})
	var status *agent.StatusError
	if errors.As(err, &status) {
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
