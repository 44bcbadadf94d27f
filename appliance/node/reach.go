package node

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"github.com/crawlbox/crawlbox/appliance/base/bound"
	"github.com/crawlbox/crawlbox/appliance/doctor"
	"github.com/crawlbox/crawlbox/appliance/fleet"
	"github.com/crawlbox/crawlbox/appliance/join"
	"github.com/crawlbox/crawlbox/embedded/gossip"
)

// pathReach is where a node asks another one to connect back to it.
const pathReach = "/v1/reach"

const (
	// reachTimeout bounds the question to one node, which tries all ports at once.
	reachTimeout = 5 * time.Second
	// maxNeighbours bounds how many nodes are asked.
	maxNeighbours = 8
	// maxReach bounds how many ports one node may have tried.
	maxReach = 8
	// reachBurst is how often at once one node may have ports tried, and reachEvery how
	// often then.
	reachBurst = 10
	reachEvery = 10 * time.Second
)

func newReached() *bound.Rate[string] { return bound.NewRate[string](reachEvery, reachBurst, maxWhere) }

type reachQuestion struct {
	Ports []uint16 `json:"ports"` // TCP ports of the node that asks
}

type reachAnswer struct {
	Time  time.Time    `json:"time"`
	Seen  netip.Addr   `json:"seen"` // where the question came from
	MTU   int          `json:"mtu"`
	Tries []doctor.Try `json:"tries"`
}

// answerReach tries ports of the node that asks, at the address from which it asks
// and at no other: a node that was broken into has no others scan for it.
func (g *ground) answerReach(rw http.ResponseWriter, r *http.Request) {
	if peer, _ := join.PeerFrom(r.Context()); !g.reached.Allow(peer.ID) {
		http.Error(rw, "it was asked too often", http.StatusTooManyRequests)
		return
	}
	var q reachQuestion
	if err := bound.JSON(r.Body, 4<<10, &q); err != nil || len(q.Ports) > maxReach {
		http.Error(rw, "not a question about ports", http.StatusBadRequest)
		return
	}
	at, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		http.Error(rw, "the address of who asks is not known", http.StatusBadRequest)
		return
	}
	seen := at.Addr().Unmap()
	answer := reachAnswer{Time: time.Now(), Seen: seen, MTU: doctor.CardAt(bindAddr(g.addr), doctor.Cards()).MTU, Tries: doctor.Dial(r.Context(), seen, q.Ports)}
	rw.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(rw).Encode(answer)
}

// tryEachOther has this node and others try each other's ports. The number of those
// that stand first among the others have the registry.
func (g *ground) tryEachOther(ctx context.Context, client *http.Client, own []doctor.Need, others []doctor.Neighbour, first int) []doctor.Neighbour {
	others = others[:min(len(others), maxNeighbours)]
	var all sync.WaitGroup
	for i := range others {
		n := &others[i]
		theirs := needsOf(g.cfg, n.Role, i < first)
		all.Go(func() { n.There = doctor.Dial(ctx, n.Addr, doctor.Tried(theirs)) })
		all.Go(func() {
			if err := g.askReach(ctx, client, n, doctor.Tried(own)); err != nil {
				n.Error = err.Error()
			}
		})
	}
	all.Wait()
	return others
}

func (g *ground) askReach(ctx context.Context, client *http.Client, n *doctor.Neighbour, ports []uint16) error {
	ctx, cancel := context.WithTimeoutCause(ctx, reachTimeout, fmt.Errorf("no answer within %s", reachTimeout))
	defer cancel()
	body, err := json.Marshal(reachQuestion{ports})
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "https://"+g.nodeAddr(n.Addr)+pathReach, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Close = true // a new connection is what is asked about
	asked := time.Now()
	resp, err := client.Do(req)
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case err != nil:
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("it answers %s, so its crawlbox is of another version", resp.Status)
	}
	var a reachAnswer
	if err := bound.JSON(resp.Body, 64<<10, &a); err != nil {
		return fmt.Errorf("read its answer: %w", err)
	}
	n.Here, n.Seen, n.MTU, n.Skew = a.Tries, a.Seen, a.MTU, a.Time.Sub(asked)
	if n.Skew > 0 { // it took a while to get there, and to answer
		n.Skew = max(0, n.Skew-time.Since(asked))
	}
	return nil
}

func (m *Manager) neighbours(ctx context.Context) []doctor.Neighbour {
	own := needsOf(m.cfg, fleet.RoleManager, true)
	return m.tryEachOther(ctx, m.nodes, own, m.known(m.gossip.Members(), m.atMembers(m.cfg.Node.Port)), 0)
}

func (w *Worker) neighbours(ctx context.Context) []doctor.Neighbour {
	var list []doctor.Neighbour
	known := w.known(w.gossip.Members(), atNodes(w.identity, w.cfg.Node.Port))
	asked := map[netip.Addr]bool{w.addr: true}
	for _, addr := range w.identity.Membership().Managers { // also those that gossip has lost
		n := doctor.Neighbour{Name: addr.Addr().String(), Role: fleet.RoleManager, Addr: addr.Addr()}
		for _, k := range known {
			if k.Addr == n.Addr {
				n.Name = k.Name
			}
		}
		if !asked[n.Addr] {
			list = append(list, n)
		}
		asked[n.Addr] = true
	}
	first := len(list)
	for _, n := range known {
		if !asked[n.Addr] {
			list = append(list, n)
		}
	}
	return w.tryEachOther(ctx, w.nodes, needsOf(w.cfg, w.role, false), list, first)
}

// known are the other nodes that have not left, as far as gossip has them where nodes
// are.
func (g *ground) known(members []gossip.Member, at func(netip.AddrPort) bool) (list []doctor.Neighbour) {
	for _, m := range members {
		if m.State != gossip.Left && m.Addr != g.addr && at(netip.AddrPortFrom(m.Addr, g.cfg.Node.Port)) {
			list = append(list, doctor.Neighbour{Name: m.Name, Role: m.Role, Addr: m.Addr})
		}
	}
	return list
}
