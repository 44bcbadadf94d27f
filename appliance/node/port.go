package node

import (
	"context"
	"io"
	"net/http"
	"slices"

	"github.com/crawlbox/crawlbox/appliance/agent"
	"github.com/crawlbox/crawlbox/appliance/agent/owner"
	"github.com/crawlbox/crawlbox/appliance/agent/reach"
	"github.com/crawlbox/crawlbox/appliance/cluster/member"
	"github.com/crawlbox/crawlbox/appliance/fleet"
	"github.com/crawlbox/crawlbox/appliance/lifecycle"
	"github.com/crawlbox/crawlbox/appliance/upgrade"
	"github.com/crawlbox/crawlbox/embedded/mirror/exchange/wire"
	"github.com/crawlbox/crawlbox/embedded/registry"
)

// answers are what every node answers about itself.
func (g *ground) answers(pins agent.Pins, u *upgrade.Node) []agent.Handler {
	return append(agent.Answers(g.engine, pins, u, g.log), owner.Answer(g.prover, g.log), reach.Answer(bindAddr(g.addr)))
}

// buildPeers makes what the manager asks other nodes by, and upgrades them.
func (m *Manager) buildPeers() {
	m.upgrade = m.upgradable(func(_ context.Context, o upgrade.Offer) (io.ReadCloser, error) {
		return m.offers.Open(o.SHA256)
	})
	certified := func(n fleet.Node) []member.Member { return m.members.Of(memberNode(n)) }
	m.answered = m.answers(agent.NoPins{}, m.upgrade) // the registry has all images
	m.peers = agent.NewPeers(m.engine, certified, m.nodes, m.addr, m.cfg.Node.Port, m.answered, m.log)
	m.offers = upgrade.OpenOffers(upgrade.In(m.cfg.DataDir), m.peers)
}

// nodeHandlers are what the port between nodes serves of a manager.
func (m *Manager) nodeHandlers(images http.Handler) []agent.Handler {
	handlers := slices.Concat(m.answered, []agent.Handler{
		agent.Raw(agent.RouteImages, registry.ReadOnly(images)),
		agent.Raw(wire.Path, wire.NewServer(m.pieces, m.log).Handler(unguarded, m.asker)),
		agent.AnswerProgram(m.offers),
		agent.AnswerLeave(m.joins, m.members, m.book.Forget, m.log),
	})
	for route, h := range m.joins.Handlers() {
		handlers = append(handlers, agent.Raw(route, h))
	}
	return append(handlers, agent.AnswerBootstrap(m.joins, m.ca, m.upgrade, m.nodeAddr(m.addr), m.log)...)
}

// nodeHandlers are what the port between nodes serves of a worker.
func (w *Worker) nodeHandlers() []agent.Handler {
	return append(w.answers(w.mirror, w.upgrade),
		agent.Raw(agent.RouteImages, w.mirror.Kept()),
		agent.Raw(wire.Path, wire.NewServer(w.mirror.Exchange(), w.log).Handler(unguarded, w.asker)),
	)
}

// upgradable makes this node one that can be upgraded.
func (g *ground) upgradable(fetch func(context.Context, upgrade.Offer) (io.ReadCloser, error)) *upgrade.Node {
	n := &upgrade.Node{
		Folder:  upgrade.In(g.cfg.DataDir),
		Version: g.opts.Version,
		Fetch:   fetch,
		Keep:    g.opts.Keep,
		Log:     g.log,
	}
	return n.Init()
}

func upgradePart(n *upgrade.Node) lifecycle.Part {
	return lifecycle.Part{Name: "upgrade", Component: background(n.Run)}
}
