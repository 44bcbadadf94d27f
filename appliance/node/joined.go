package node

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/crawlbox/crawlbox/appliance/agent"
	"github.com/crawlbox/crawlbox/appliance/cluster/enroll"
	"github.com/crawlbox/crawlbox/appliance/cluster/pki"
	"github.com/crawlbox/crawlbox/appliance/failpoint"
	"github.com/crawlbox/crawlbox/appliance/fleet"
	"github.com/crawlbox/crawlbox/appliance/lifecycle"
	"github.com/crawlbox/crawlbox/appliance/upgrade"
	"github.com/crawlbox/crawlbox/embedded/gossip"
	"github.com/crawlbox/crawlbox/embedded/mirror"
	"github.com/crawlbox/crawlbox/embedded/mirror/exchange/wire"
)

// joined is what a node that joined has, worker or manager: a mirror of the registry, and
// news of the cluster from the primary.
type joined struct {
	*Node
	client  *http.Client // to managers
	others  *http.Client // to all
	links   *wire.Links
	mirror  *mirror.Mirror
	refused atomic.Value // string: why a manager refuses this node, if it does
}

// buildJoined opens the mirror and makes the parts of a node that joined.
func (n *Node) buildJoined(context.Context) (assembly, error) {
	m := &joined{Node: n}
	at := n.atNodes()
	m.client = agent.NewClient(at, n.identity, fleet.RoleManager)
	m.others = agent.NewClient(at, n.identity)
	m.links = wire.NewLinks(m.others)
	if err := m.open(); err != nil {
		m.release()
		return assembly{}, err
	}
	return assembly{parts: m.parts(), release: m.release}, nil
}

func (m *joined) open() (err error) {
	pieces := m.exchanging(m.links)
	pieces.Trackers, pieces.Nodes = m.trackers, m.otherNodes
	m.mirror, err = mirror.Open(mirror.Options{
		Dir:      m.cfg.MirrorDir(),
		MaxBytes: int64(m.cfg.Mirror.MaxSize),
		Manager:  m.primaryName,
		Source: &mirror.HTTPSource{
			Client:       m.client,
			Bases:        func() []string { return urls(m.trackers()) },
			OthersClient: m.others,
			Others:       func() []string { return urls(m.otherNodes()) },
		},
		Exchange: &pieces,
	}, m.log)
	if err != nil {
		return err
	}
	m.upgradable(func(ctx context.Context, o upgrade.Offer) (io.ReadCloser, error) {
		return agent.FetchProgram(ctx, m.managerTargets(m.client), o)
	})
	seeds := func() []netip.AddrPort { return m.identity.Membership().Seeds }
	return m.newGossip(m.identity.Membership().GossipKeys, seeds)
}

func (m *joined) release() {
	if m.mirror != nil {
		m.mirror.Close()
	}
	m.links.Close()
	m.client.CloseIdleConnections()
	m.others.CloseIdleConnections()
}

func (m *joined) parts() []lifecycle.Part {
	images := failpoint.Handler(failpoint.HangRegistry, m.mirror.Handler())
	locks := func() { m.gossip.Members(); m.mirror.Stats() }
	return append([]lifecycle.Part{
		{Name: "registry mirror", Component: m.localRegistry(images)},
		m.nodePort(m.handlers()),
		m.certificate(func(ctx context.Context) error { return enroll.Renew(ctx, m.identity) }),
		m.localAPI(m.areas()),
		{Name: "cluster", Component: lifecycle.Func(m.startDeferred)},
		background("upgrade", m.upgrade.Run),
	}, m.watchdog(images, locks)...)
}

// startDeferred runs those parts by which nodes know of each other and which tasks do not
// need: at once, but where many nodes join at the same moment, and then the node is ready
// without them.
func (m *joined) startDeferred(ctx context.Context, ready func()) error {
	if wait := m.identity.StartDelay; wait > 0 {
		ready()
		ready = nil
		m.log.Debug("many nodes join now; gossip begins later", "after", wait)
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return nil
		}
	}
	m.learnSwarmID(ctx)
	if err := m.gossip.Update(m.self()); err != nil {
		m.log.Warn("failed to tell the other nodes about this one", "error", err)
	}
	return lifecycle.Run(ctx, m.log, ready,
		lifecycle.Part{Name: "gossip", Component: m.gossip},
		background("news", func(ctx context.Context) error {
			return enroll.Follow(ctx, m.identity, m.ownSwarmID, m.hear, m.log)
		}),
		m.dockerWatch(func() {}),
	)
}

// hear takes up what a manager says is new of the cluster.
func (m *joined) hear(news pki.Membership, err error) {
	if err != nil {
		text := RemovedText
		if !errors.Is(err, pki.ErrRemoved) {
			text = err.Error()
		}
		if m.refused.Swap(text) != text {
			m.log.Warn(text)
		}
		return
	}
	m.refused.Store("")
	m.learn(news)
}

// RemovedText is the problem, in the status, of a node that is no longer one of the
// cluster, and what to do there.
const RemovedText = "this node was removed from its cluster; run `crawlbox leave` on it, " +
	"or join again with `crawlbox worker --join TOKEN`"

// problems are those that only a node that joined has.
func (m *joined) problems() (list []string) {
	if text, _ := m.refused.Load().(string); text != "" {
		return []string{text}
	}
	primary := m.primaryAddr()
	for _, node := range m.gossip.Members() {
		if node.Addr == primary && node.State != gossip.Alive {
			list = append(list, fmt.Sprintf("the manager %s does not answer since %s; look at it",
				m.primaryName(), node.Seen.Format(time.RFC3339)))
		}
	}
	return list
}

// handlers returns what the port between nodes serves.
func (m *joined) handlers() []agent.Handler {
	return append(m.answers(m.mirror),
		agent.Raw(agent.RouteImages, m.mirror.Kept()),
		agent.Raw(wire.Path, wire.NewServer(m.mirror.Exchange(), m.log).Handler(unguarded, m.asker)),
	)
}

func (m *joined) leave(ctx context.Context, force bool) error {
	return m.left(m.machine().Leave(ctx, m.identity, m.managerTargets(m.client), m.primaryName(), force))
}

// trackers are the managers as the exchange of pieces asks them.
func (m *joined) trackers() (list []string) {
	for _, addr := range m.identity.Membership().Managers {
		list = append(list, addr.String())
	}
	return list
}

// otherNodes are the other nodes that are up.
func (m *joined) otherNodes() []string {
	if m.gossip == nil { // not yet
		return nil
	}
	return m.alive(m.gossip.Members(), m.atNodes())
}

func urls(addrs []string) (list []string) {
	for _, addr := range addrs {
		list = append(list, "https://"+addr)
	}
	return list
}

func (n *Node) atNodes() func(netip.AddrPort) bool { return agent.AtNodes(n.identity, n.cfg.Node.Port) }

// managerTargets returns the managers as they are called.
func (n *Node) managerTargets(client *http.Client) (list []agent.Target) {
	for _, addr := range n.identity.Membership().Managers {
		list = append(list, agent.Target{Client: client, Addr: addr})
	}
	return list
}

// primaryAddr is where the primary is. It is not valid where none is known.
func (n *Node) primaryAddr() netip.Addr {
	if managers := n.identity.Membership().Managers; len(managers) > 0 {
		return managers[0].Addr().Unmap()
	}
	return netip.Addr{}
}

// primaryName names the primary for people.
func (n *Node) primaryName() string {
	addr := n.primaryAddr()
	if !addr.IsValid() {
		return "of this cluster"
	}
	if n.gossip == nil { // crawlbox does not run
		return addr.String()
	}
	for _, m := range n.gossip.Members() {
		if m.Addr == addr {
			return fmt.Sprintf("%s (%s)", m.Name, addr)
		}
	}
	return addr.String()
}
