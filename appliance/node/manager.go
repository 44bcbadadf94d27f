package node

import (
	"context"
	"errors"
	"net/http"
	"net/netip"

	"github.com/opencontainers/go-digest"
	"github.com/redis/go-redis/v9"

	"github.com/crawlbox/crawlbox/appliance/agent"
	"github.com/crawlbox/crawlbox/appliance/agent/owner"
	"github.com/crawlbox/crawlbox/appliance/audit"
	"github.com/crawlbox/crawlbox/appliance/cluster/addressbook"
	"github.com/crawlbox/crawlbox/appliance/cluster/enroll"
	"github.com/crawlbox/crawlbox/appliance/cluster/member"
	"github.com/crawlbox/crawlbox/appliance/cluster/pki"
	"github.com/crawlbox/crawlbox/appliance/cluster/state"
	"github.com/crawlbox/crawlbox/appliance/cluster/token"
	"github.com/crawlbox/crawlbox/appliance/control"
	"github.com/crawlbox/crawlbox/appliance/controller/imagegc"
	"github.com/crawlbox/crawlbox/appliance/controller/services"
	"github.com/crawlbox/crawlbox/appliance/deploy"
	"github.com/crawlbox/crawlbox/appliance/deploy/history"
	"github.com/crawlbox/crawlbox/appliance/doctor"
	"github.com/crawlbox/crawlbox/appliance/failpoint"
	"github.com/crawlbox/crawlbox/appliance/fleet"
	"github.com/crawlbox/crawlbox/appliance/image"
	"github.com/crawlbox/crawlbox/appliance/lifecycle"
	"github.com/crawlbox/crawlbox/appliance/queueproc"
	"github.com/crawlbox/crawlbox/appliance/swarm"
	"github.com/crawlbox/crawlbox/appliance/upgrade"
	"github.com/crawlbox/crawlbox/embedded/gossip"
	"github.com/crawlbox/crawlbox/embedded/mirror/exchange"
	"github.com/crawlbox/crawlbox/embedded/registry"
	"github.com/crawlbox/crawlbox/embedded/registry/access"
)

// Manager is the first node of a cluster.
type Manager struct {
	*ground
	record   *record
	state    *state.Disk
	ca       *pki.CA
	tokens   *token.Store
	members  *member.List
	keys     *member.Keys // of gossip
	identity *pki.Identity
	joins    *enroll.Server
	nodes    *http.Client // to other nodes
	peers    *agent.Peers
	answered []agent.Handler // about this node itself
	audit    *audit.Log
	accounts *access.Accounts
	registry *registry.Registry
	pieces   *exchange.Exchange
	cutter   *cutter
	queue    *queueproc.Supervisor
	redis    *redis.Client
	gossip   *gossip.Gossip
	runner   *deploy.Runner
	sources  *deploy.Sources
	past     *history.Store // of deploys
	book     *addressbook.Book
	offers   *upgrade.Offers // of other versions of crawlbox
	upgrade  *upgrade.Node
}

// RunManager runs a manager until ctx ends, a part of it fails or it has left
// the cluster, which is ErrLeft. One that joins a cluster, or did so before, is
// a Worker with the role of a manager.
func RunManager(ctx context.Context, opts Options) error {
	if opts.Join != "" || stateOf(opts.Config.DataDir) == stateJoined {
		return RunWorker(ctx, fleet.RoleManager, opts)
	}
	g, err := prepare(opts)
	if err != nil {
		return err
	}
	m := &Manager{ground: g}
	ctx, m.leaving = context.WithCancelCause(ctx)
	defer m.leaving(nil)
	if err := m.settle(ctx); err != nil {
		m.close()
		return err
	}
	defer m.close()
	if err := m.build(ctx); err != nil {
		return err
	}
	defer m.release()
	token, err := m.joinTokens().Token(ctx, fleet.RoleWorker)
	if err != nil {
		return err
	}
	return m.run(ctx, token, m.parts())
}

// settle finds out where this node stands, opens its ports and makes or takes
// up its swarm.
func (m *Manager) settle(ctx context.Context) (err error) {
	if m.record, err = loadRecord(m.dir(recordFile)); err != nil {
		return err
	}
	info, err := m.askEngine(ctx)
	if away(err) && m.record.Cluster != "" {
		m.log.Warn("start without Docker and wait for it", "error", err)
		m.addr = m.record.Addr
		return m.open(true)
	}
	if err != nil {
		return err
	}
	if info.State == swarm.StatePending || info.State == swarm.StateActive && info.Manager && info.ClusterID == "" {
		if info, err = m.led(ctx); err != nil {
			return err
		}
	}
	what, err := judge(info, *m.record, m.opts.AdoptSwarm)
	if err != nil {
		return err
	}
	if m.record.Cluster == "" { // later, a full disk shall not keep images from being pulled
		if err := doctor.Disk(m.cfg.DataDir); err != nil {
			return err
		}
	}
	if what == swarmMissing {
		if err := doctor.SwarmPorts(true); err != nil {
			return err
		}
	}
	if m.addr, err = advertiseAddr(m.cfg.AdvertiseAddr, info, *m.record); err != nil {
		return err
	}
	if err := m.open(true); err != nil {
		return err
	}
	m.phase("making or taking up the swarm")
	return m.ownSwarm(ctx, m.record, what)
}

// build opens what the manager keeps on disk and makes its parts.
func (m *Manager) build(ctx context.Context) (err error) {
	if err := m.credentials(); err != nil {
		return err
	}
	if m.past, err = history.Open(m.dir("deploys")); err != nil {
		return err
	}
	m.registry, err = registry.Open(ctx, registry.Options{
		Dir: m.cfg.RegistryDir(), MinFree: int64(m.cfg.Registry.MinFree),
		Uploaded: func(d digest.Digest) { m.cutter.add(d) },
	}, m.log)
	if err != nil {
		return err
	}
	if err := m.buildQueue(); err != nil {
		return errors.Join(err, m.registry.Close())
	}
	if err := m.buildMembership(); err != nil {
		return errors.Join(err, m.registry.Close())
	}
	m.buildPeers()
	m.runner = deploy.NewRunner(m.engine, m.peers, m.past, m.log)
	m.sources = deploy.NewSources(m.engine)
	if m.cfg.Registry.Public {
		own := func(hostport string) bool { return m.loopbackName(hostport) || m.registryName(hostport) }
		copier := image.NewCopier(m.registry.Sparse(), pki.CertsDir)
		m.sources = deploy.NewCopyingSources(m.engine, copier, m.registry, m.cfg.Registry.Port, own, m.log)
	}
	return nil
}

// buildMembership makes what lets nodes in, tells them the news and puts them out.
func (m *Manager) buildMembership() (err error) {
	m.book = addressbook.New(m.engine, m.remotes, m.addr, m.log)
	seeds := func() []netip.AddrPort { return m.book.Seeds(m.cfg.Gossip.Port) }
	m.gossip, err = gossip.New(gossip.Options{
		Addr: bindAddr(m.addr), Advertise: m.addr, Port: m.cfg.Gossip.Port, Keys: rawKeys(m.keys.All()), Self: m.self(),
		Seeds: seeds, Known: agent.AtNodes(m.identity, m.cfg.Gossip.Port),
	}, m.log)
	if err != nil {
		return err
	}
	m.nodes = agent.NewClient(agent.AtMembers(m.identity, m.members, m.cfg.Node.Port), m.identity)
	pieces := m.exchanging(nil) // a manager has all, and fetches nothing
	pieces.Store = pushed{m.registry}
	m.pieces = exchange.New(pieces, m.log)
	m.cutter = newCutter(m.pieces, m.log)
	m.joins, err = enroll.NewServer(enroll.Options{
		CA: m.ca, Tokens: m.tokens, Members: m.members, Keys: m.keys, Identity: m.identity, Swarm: m, Seeds: seeds, Nodes: m.book.Known, Managers: m.managers,
		Changed: func(member pki.Membership) { m.learn(m.gossip, member) }, Audit: m.audit.Record, Log: m.log,
	})
	return err
}

// remotes are where nodes came from when they got their certificates.
func (m *Manager) remotes() (list []netip.Addr) {
	for _, n := range m.members.All() {
		if n.Remote.IsValid() {
			list = append(list, n.Remote.Unmap())
		}
	}
	return list
}

// release closes what build opened, after the parts have stopped.
func (m *Manager) release() {
	if m.redis != nil {
		m.redis.Close()
	}
	m.nodes.CloseIdleConnections()
	m.audit.Close()
	m.state.Close()
	if err := m.registry.Close(); err != nil {
		m.log.Warn("close the registry", "error", err)
	}
}

func (m *Manager) registryAddr() string {
	return netip.AddrPortFrom(m.addr, m.cfg.Registry.Port).String()
}

func (m *Manager) parts() []lifecycle.Part {
	images := failpoint.Handler(failpoint.HangRegistry, m.registry.Handler())
	services := services.New(m.engine, m.sources, m.runner, m.past, m.cfg, m.opts.Reload, m.log)
	unused := imagegc.New(m.engine, m.past, m.peers.Prune, m.log)
	m.runner.OnEnd(services.Again)
	m.runner.OnEnd(unused.Again)
	written := services.AfterPush(images)
	parts := []lifecycle.Part{
		{Name: "pieces", Component: background(m.cutter.run)},
		{Name: "registry", Component: m.serveLocal(written)},
	}
	if m.ground.registry != nil {
		parts = append(parts, lifecycle.Part{Name: "registry on the network",
			Component: serve(site{handler: access.Network(written, m.registryAccess()), tls: m.identity.ServerTLS(), conn: owner.Provable}, m.log, m.ground.registry)})
	}
	if m.queue != nil {
		parts = append(parts, lifecycle.Part{Name: "queue", Component: m.queue})
	}
	watch := &watcher{engine: m.engine, gossip: m.gossip, self: m.self(), dir: m.cfg.DataDir, known: &m.swarmID, back: services.Again, say: m.phase, round: &m.round, log: m.log}
	parts = append(parts,
		lifecycle.Part{Name: "gossip", Component: m.gossip},
		lifecycle.Part{Name: "node port", Component: serve(site{handler: agent.Port(m.identity, m.nodeHandlers(images)), tls: m.identity.ServerTLS()}, m.log, m.node)},
		lifecycle.Part{Name: "certificate", Component: m.renewal()},
		lifecycle.Part{Name: "keys", Component: background(m.joins.Run)},
		lifecycle.Part{Name: "addresses", Component: background(func(ctx context.Context) error { return m.book.Run(ctx, m.joins.Refresh) })},
		lifecycle.Part{Name: "local API", Component: m.serveAPI(m.audit.Record, m.areas(services))},
		lifecycle.Part{Name: "watch", Component: watch.component()},
		lifecycle.Part{Name: "deploys", Component: background(m.runner.Resume)},
		services.Part(),
		unused.Part(),
		upgradePart(m.upgrade),
	)
	return append(parts, m.watchdog(m.probes(images, func() { m.gossip.Members() }))...)
}

func (m *Manager) renewal() lifecycle.Component {
	return background(func(ctx context.Context) error {
		renew := func(context.Context) error {
			if m.queue != nil {
				m.queue.Renew()
			}
			return m.ca.Reissue(m.identity)
		}
		return pki.KeepRenewed(ctx, m.identity, renew, m.log)
	})
}

func (m *Manager) managers() []netip.AddrPort {
	return []netip.AddrPort{netip.AddrPortFrom(m.addr, m.cfg.Node.Port)}
}

func (m *Manager) self() gossip.Node {
	n := gossip.Node{ID: m.identity.Node.ID, Name: m.name, Role: fleet.RoleManager, Version: m.opts.Version,
		Docker: dockerRunning, FreeDisk: control.FreeDisk(m.cfg.DataDir)}
	ctx, cancel := context.WithTimeout(context.Background(), watchInterval)
	defer cancel()
	if info, err := m.engine.Info(ctx); err == nil {
		n.Swarm = info.NodeID
	}
	return n
}
