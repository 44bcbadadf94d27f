package node

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/netip"
	"slices"

	"github.com/crawlbox/crawlbox/appliance/agent"
	"github.com/crawlbox/crawlbox/appliance/base/clock"
	"github.com/crawlbox/crawlbox/appliance/cluster/authority"
	"github.com/crawlbox/crawlbox/appliance/cluster/enroll"
	"github.com/crawlbox/crawlbox/appliance/cluster/pki"
	"github.com/crawlbox/crawlbox/appliance/cluster/state"
	"github.com/crawlbox/crawlbox/appliance/failpoint"
	"github.com/crawlbox/crawlbox/appliance/fleet"
	"github.com/crawlbox/crawlbox/appliance/lifecycle"
	"github.com/crawlbox/crawlbox/appliance/pieces"
	"github.com/crawlbox/crawlbox/appliance/upgrade"
	"github.com/crawlbox/crawlbox/embedded/mirror"
	"github.com/crawlbox/crawlbox/embedded/mirror/exchange/wire"
)

// joined is what a node that joined has, worker or manager: a mirror of the registry. A manager has the
// cluster's state too, once it could get that; others have news of the cluster from the managers.
type joined struct {
	*Node
	others    *http.Client // to all
	links     *wire.Links
	mirror    *mirror.Mirror
	news      enroll.News
	authority *authority.Authority // nil: it has no state
}

// buildJoined opens the mirror and makes the parts of a node that joined.
func (n *Node) buildJoined(ctx context.Context) (assembly, error) {
	m := &joined{Node: n, news: enroll.News{Learn: n.learn, Log: n.log}}
	m.toManagers = agent.NewClient(n.view.At, n.identity, fleet.RoleManager)
	m.others = agent.NewClient(n.view.At, n.identity)
	m.links = wire.NewLinks(m.others)
	if err := m.open(ctx); err != nil {
		m.release()
		return assembly{}, err
	}
	return assembly{parts: m.parts(), release: m.release}, nil
}

// openState opens the cluster's state on a manager, and removes what one that was demoted had of it.
func (m *joined) openState(ctx context.Context) (err error) {
	if m.role == fleet.RoleManager && m.engine.IsWorker(ctx) {
		m.role = fleet.RoleWorker
		m.identity.RenewSoon() // its certificate says what it was
	}
	if m.role != fleet.RoleManager {
		return state.Remove(m.cfg.DataDir)
	}
	m.authority, err = authority.Open(ctx, m.authorityOf(m.identity.Self, m.identity))
	if errors.Is(err, authority.ErrNoState) {
		return nil // it is awaited
	}
	return err
}

func (m *joined) open(ctx context.Context) (err error) {
	if err := m.openState(ctx); err != nil {
		return err
	}
	opts := pieces.Options(m.cfg.Mirror, m.links, m.view.Addr(m.addr))
	opts.Trackers, opts.Nodes = m.view.Full, m.view.Alive
	m.mirror, err = mirror.Open(mirror.Options{
		Dir:      m.cfg.MirrorDir(),
		MaxBytes: int64(m.cfg.Mirror.MaxSize),
		Manager:  m.view.PrimaryName,
		Source: &mirror.HTTPSource{
			Client:       m.toManagers,
			Bases:        func() []string { return agent.URLs(m.view.Full()) },
			OthersClient: m.others,
			Others:       func() []string { return agent.URLs(m.view.Alive()) },
		},
		Exchange: &opts,
	}, m.log)
	if err != nil {
		return err
	}
	m.upgradable(func(ctx context.Context, o upgrade.Offer) (io.ReadCloser, error) {
		return agent.FetchProgram(ctx, m.view.Targets(m.toManagers), o)
	})
	m.newCheckup(m.others, m.view.At, false)
	keys, seeds := m.identity.Membership().GossipKeys, func() []netip.AddrPort { return m.identity.Membership().Seeds }
	if m.authority != nil {
		m.authority.Locate(m.engine)
		keys, seeds = m.authority.Keys.All(), m.authority.Seeds
	}
	if err := m.newGossip(keys, seeds, agent.AtNodes(m.identity, m.cfg.Gossip.Port)); err != nil || m.authority == nil {
		return err
	}
	return m.authority.Serve(m.authority, m.learn, m.audit.Record)
}

func (m *joined) release() {
	if m.mirror != nil {
		m.mirror.Close()
	}
	if m.authority != nil {
		m.authority.Close()
	}
	m.links.Close()
	m.toManagers.CloseIdleConnections()
	m.others.CloseIdleConnections()
}

func (m *joined) parts() []lifecycle.Part {
	images := failpoint.Handler(failpoint.HangRegistry, m.mirror.Handler())
	locks := func() { m.gossip.Members(); m.mirror.Stats() }
	return slices.Concat([]lifecycle.Part{
		{Name: "registry mirror", Component: m.localRegistry(images)},
		m.nodePort(m.handlers()),
		pki.Renewal(m.identity, m.renew, m.log),
		m.localAPI(m.areas()),
		{Name: "cluster", Component: lifecycle.Func(m.startDeferred)},
		lifecycle.Background("upgrade", m.upgrade.Run),
	}, m.managing(), m.watchdog(images, locks))
}

// managing are the parts of a manager.
func (m *joined) managing() []lifecycle.Part {
	switch {
	case m.authority != nil:
		return m.authority.Parts()
	case m.role == fleet.RoleManager:
		return []lifecycle.Part{lifecycle.Background("state", m.awaitState)}
	}
	return nil
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
		lifecycle.Background("news", m.hear),
		m.dockerWatch(func() {}),
		lifecycle.Background("checkup", m.checkup.Run),
		lifecycle.Background("address", m.machine().AwaitMove(m.identity, m.opts.Keep != nil)),
	)
}

// hear follows the news of the managers. One with the state needs none.
func (m *joined) hear(ctx context.Context) error {
	if m.authority != nil {
		<-ctx.Done()
		return nil
	}
	return enroll.Follow(ctx, m.identity, m.watch.SwarmID, m.news.Hear, m.log)
}

// renew gets another certificate. With that of a manager a worker is built again as one.
func (m *joined) renew(ctx context.Context) error {
	err := enroll.Renew(ctx, m.identity)
	if err == nil && m.role == fleet.RoleWorker && m.identity.Role() == fleet.RoleManager {
		m.leaving(errAnew)
	}
	return err
}

// handlers returns what the port between nodes serves.
func (m *joined) handlers() []agent.Handler {
	images, handlers := m.mirror.Kept(), m.answers(m.mirror)
	if m.authority != nil {
		images = m.mirror.Handler() // nodes may ask any manager for any image
		handlers = append(handlers, m.authority.Handlers(m.upgrade, m.view.Addr(m.addr))...)
	}
	return append(handlers,
		agent.Raw(agent.RouteImages, images),
		agent.Raw(wire.Path, wire.NewServer(m.mirror.Exchange(), m.log).Handler(unguarded, m.view.Asker)),
	)
}

func (m *joined) leave(ctx context.Context, force bool) error {
	return m.news.Leaving(func() error {
		return m.left(m.machine().Leave(ctx, m.identity, m.view.Targets(m.toManagers), m.view.PrimaryName(), force))
	})
}
