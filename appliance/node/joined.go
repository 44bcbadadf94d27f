package node

import (
	"context"
	"io"
	"net/http"
	"net/netip"

	"github.com/crawlbox/crawlbox/appliance/agent"
	"github.com/crawlbox/crawlbox/appliance/base/clock"
	"github.com/crawlbox/crawlbox/appliance/cluster/enroll"
	"github.com/crawlbox/crawlbox/appliance/failpoint"
	"github.com/crawlbox/crawlbox/appliance/fleet"
	"github.com/crawlbox/crawlbox/appliance/lifecycle"
	"github.com/crawlbox/crawlbox/appliance/pieces"
	"github.com/crawlbox/crawlbox/appliance/upgrade"
	"github.com/crawlbox/crawlbox/embedded/mirror"
	"github.com/crawlbox/crawlbox/embedded/mirror/exchange/wire"
)

// joined is what a node that joined has, worker or manager: a mirror of the registry, and
// news of the cluster from the primary.
type joined struct {
	*Node
	client *http.Client // to managers
	others *http.Client // to all
	links  *wire.Links
	mirror *mirror.Mirror
	news   enroll.News
}

// buildJoined opens the mirror and makes the parts of a node that joined.
func (n *Node) buildJoined(context.Context) (assembly, error) {
	m := &joined{Node: n, news: enroll.News{Learn: n.learn, Log: n.log}}
	m.client = agent.NewClient(n.view.At, n.identity, fleet.RoleManager)
	m.others = agent.NewClient(n.view.At, n.identity)
	m.links = wire.NewLinks(m.others)
	if err := m.open(); err != nil {
		m.release()
		return assembly{}, err
	}
	return assembly{parts: m.parts(), release: m.release}, nil
}

func (m *joined) open() (err error) {
	opts := pieces.Options(m.cfg.Mirror, m.links, m.view.Addr(m.addr))
	opts.Trackers, opts.Nodes = m.view.Managers, m.view.Alive
	m.mirror, err = mirror.Open(mirror.Options{
		Dir:      m.cfg.MirrorDir(),
		MaxBytes: int64(m.cfg.Mirror.MaxSize),
		Manager:  m.view.PrimaryName,
		Source: &mirror.HTTPSource{
			Client:       m.client,
			Bases:        func() []string { return agent.URLs(m.view.Managers()) },
			OthersClient: m.others,
			Others:       func() []string { return agent.URLs(m.view.Alive()) },
		},
		Exchange: &opts,
	}, m.log)
	if err != nil {
		return err
	}
	m.upgradable(func(ctx context.Context, o upgrade.Offer) (io.ReadCloser, error) {
		return agent.FetchProgram(ctx, m.view.Targets(m.client), o)
	})
	seeds := func() []netip.AddrPort { return m.identity.Membership().Seeds }
	m.newCheckup(m.others, m.view.At, false)
	return m.newGossip(m.identity.Membership().GossipKeys, seeds, agent.AtNodes(m.identity, m.cfg.Gossip.Port))
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
		lifecycle.Background("upgrade", m.upgrade.Run),
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
		if clock.Sleep(ctx, wait) != nil {
			return nil
		}
	}
	m.watch.Learn(ctx)
	if err := m.gossip.Update(m.watch.Self()); err != nil {
		m.log.Warn("failed to tell the other nodes about this one", "error", err)
	}
	return lifecycle.Run(ctx, m.log, ready,
		lifecycle.Part{Name: "gossip", Component: m.gossip},
		lifecycle.Background("news", func(ctx context.Context) error {
			return enroll.Follow(ctx, m.identity, m.watch.SwarmID, m.news.Hear, m.log)
		}),
		m.dockerWatch(func() {}),
		lifecycle.Background("checkup", m.checkup.Run),
	)
}

// handlers returns what the port between nodes serves.
func (m *joined) handlers() []agent.Handler {
	return append(m.answers(m.mirror),
		agent.Raw(agent.RouteImages, m.mirror.Kept()),
		agent.Raw(wire.Path, wire.NewServer(m.mirror.Exchange(), m.log).Handler(unguarded, m.view.Asker)),
	)
}

func (m *joined) leave(ctx context.Context, force bool) error {
	return m.left(m.machine().Leave(ctx, m.identity, m.view.Targets(m.client), m.view.PrimaryName(), force))
}
