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
	"github.com/crawlbox/crawlbox/appliance/cluster/backup"
	"github.com/crawlbox/crawlbox/appliance/cluster/enroll"
	"github.com/crawlbox/crawlbox/appliance/cluster/home/standby"
	"github.com/crawlbox/crawlbox/appliance/cluster/pki"
	"github.com/crawlbox/crawlbox/appliance/cluster/setup"
	"github.com/crawlbox/crawlbox/appliance/cluster/state"
	"github.com/crawlbox/crawlbox/appliance/failpoint"
	"github.com/crawlbox/crawlbox/appliance/fleet"
	"github.com/crawlbox/crawlbox/appliance/lifecycle"
	"github.com/crawlbox/crawlbox/appliance/node/images"
	"github.com/crawlbox/crawlbox/appliance/upgrade"
	"github.com/crawlbox/crawlbox/embedded/mirror/exchange/wire"
)

// joined is what a node that joined has and that has not the cluster's state, a worker or a manager that could not
// get it yet: a mirror of the registry, and news of the cluster from the managers.
type joined struct {
	*Node
	others *http.Client // to all
	mirror *images.Mirror
	news   enroll.News
}

// buildJoined opens the cluster's state on a manager, which then is one as any other, and a mirror elsewhere.
func (n *Node) buildJoined(ctx context.Context) (assembly, error) {
	n.toManagers = agent.NewClient(n.view.At, n.identity, fleet.RoleManager)
	a, err := n.openState(ctx)
	if err == nil && a != nil {
		return n.buildManager(ctx, a, false)
	}
	m := &joined{Node: n, news: enroll.News{Learn: n.learn, Out: backup.NewShelf(n.cfg.DataDir).Clear, Log: n.log}}
	m.others = agent.NewClient(n.view.At, n.identity)
	if err == nil {
		err = m.open()
	}
	if err != nil {
		m.release()
		return assembly{}, err
	}
	return assembly{parts: m.parts(), release: m.release}, nil
}

// openState opens the cluster's state on a manager, and removes what one that was demoted had of it. It is nil
// elsewhere, and where the state is still awaited.
func (n *Node) openState(ctx context.Context) (*authority.Authority, error) {
	if n.role == fleet.RoleManager && n.engine.IsWorker(ctx) {
		n.role = fleet.RoleWorker
		n.identity.RenewSoon() // its certificate says what it was
	}
	if n.role != fleet.RoleManager {
		return nil, errors.Join(state.Remove(n.cfg.DataDir), standby.Clear(n.cfg.DataDir))
	}
	a, err := authority.Open(ctx, n.authorityOf(n.identity.Self, n.identity))
	if errors.Is(err, authority.ErrNoState) {
		return nil, nil // it is awaited
	}
	return a, err
}

// awaitState ends a node that manages the swarm, to be built again with the cluster's state, once it can get that.
func (n *Node) awaitState(ctx context.Context) error {
	if n.role == fleet.RoleManager && authority.Await(ctx, n.authorityOf(n.identity.Self, n.identity)) == nil ||
		n.role != fleet.RoleManager && setup.AwaitPromotion(ctx, n.identity, n.engine) == nil {
		n.again()
	}
	<-ctx.Done()
	return nil
}

func (m *joined) open() (err error) {
	others := images.Others{View: m.view, Self: m.addr, ToManagers: m.toManagers, ToAll: m.others}
	if m.mirror, err = images.OpenMirror(m.cfg, others, m.log); err != nil {
		return err
	}
	m.upgradable(func(ctx context.Context, o upgrade.Offer) (io.ReadCloser, error) {
		return agent.FetchProgram(ctx, m.view.Targets(m.toManagers), o)
	})
	m.newCheckup(m.others, m.view.At, false)
	seeds := func() []netip.AddrPort { return m.identity.Membership().Seeds }
	return m.newGossip(m.identity.Membership().GossipKeys, seeds, agent.AtNodes(m.identity, m.cfg.Gossip.Port))
}

func (m *joined) release() {
	m.mirror.Close()
	m.toManagers.CloseIdleConnections()
	m.others.CloseIdleConnections()
}

func (m *joined) parts() []lifecycle.Part {
	served := failpoint.Handler(failpoint.HangRegistry, m.mirror.Handler())
	locks := func() { m.gossip.Members(); m.mirror.Stats() }
	return slices.Concat([]lifecycle.Part{
		{Name: "registry mirror", Component: m.localRegistry(served)},
		m.nodePort(m.handlers()),
		pki.Renewal(m.identity, m.renew, m.log),
		m.localAPI(m.areas()),
		{Name: "cluster", Component: lifecycle.Func(m.startDeferred)},
		lifecycle.Background("upgrade", m.upgrade.Run), lifecycle.Background("state", m.awaitState),
		m.logs.Part(m.engine, nil),
	}, m.watchdog(served, locks))
}

// startDeferred runs those parts that tasks do not need: at once, but where many nodes join at the same moment, and
// then the node is ready without them.
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
		m.hears().Part(m.view.Strays(m.others)),
		m.dockerWatch(func() {}),
		lifecycle.Background("checkup", m.checkup.Run),
		m.front.Part(),
		lifecycle.Background("address", m.machine().AwaitMove(m.identity, m.opts.Keep != nil)),
	)
}

// hear follows the news of the managers.
func (m *joined) hear(ctx context.Context) error {
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
	return append(m.answers(m.mirror),
		agent.Raw(agent.RouteImages, m.mirror.Kept()),
		agent.Raw(wire.Path, wire.NewServer(m.mirror.Exchange(), m.log).Handler(unguarded, m.view.Asker)),
	)
}

func (m *joined) leave(ctx context.Context, force bool) error {
	return m.news.Leaving(func() error {
		return m.left(m.machine().Leave(ctx, m.identity, m.view.Targets(m.toManagers), m.view.ManagerName(), force))
	})
}
