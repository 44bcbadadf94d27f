package node

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/netip"
	"slices"

	"github.com/crawlbox/crawlbox/appliance/agent"
	"github.com/crawlbox/crawlbox/appliance/agent/copies"
	"github.com/crawlbox/crawlbox/appliance/cluster/authority"
	"github.com/crawlbox/crawlbox/appliance/cluster/backup"
	"github.com/crawlbox/crawlbox/appliance/cluster/enroll"
	"github.com/crawlbox/crawlbox/appliance/cluster/pki"
	"github.com/crawlbox/crawlbox/appliance/cluster/replica"
	"github.com/crawlbox/crawlbox/appliance/cluster/setup"
	"github.com/crawlbox/crawlbox/appliance/control"
	"github.com/crawlbox/crawlbox/appliance/controller/backups"
	"github.com/crawlbox/crawlbox/appliance/controller/restore"
	"github.com/crawlbox/crawlbox/appliance/deploy"
	"github.com/crawlbox/crawlbox/appliance/deploy/history"
	"github.com/crawlbox/crawlbox/appliance/failpoint"
	"github.com/crawlbox/crawlbox/appliance/fleet"
	"github.com/crawlbox/crawlbox/appliance/image"
	"github.com/crawlbox/crawlbox/appliance/lifecycle"
	"github.com/crawlbox/crawlbox/appliance/node/doors"
	"github.com/crawlbox/crawlbox/appliance/node/images"
	"github.com/crawlbox/crawlbox/appliance/node/leading"
	"github.com/crawlbox/crawlbox/appliance/node/queue"
	"github.com/crawlbox/crawlbox/appliance/relay"
	"github.com/crawlbox/crawlbox/appliance/upgrade"
)

// manager is what a manager has that has the cluster's state: with that it lets nodes in, deploys, and does all
// that another one does.
type manager struct {
	*Node
	created   bool // the cluster: its queue is here, and it has no other manager to thank for its certificate
	authority *authority.Authority
	images    images.Store
	queue     queue.Queue
	client    *http.Client // to other nodes
	answered  []agent.Handler
	peers     *agent.Peers
	offers    *upgrade.Offers // of other versions of crawlbox
	past      *history.Store  // of deploys
	runner    *deploy.Runner
	source    backup.Source
	backups   *backups.Controller
	leading   *leading.Manager
	restoring *restore.Controller // nil: this machine has restored no cluster
}

// authorityOf returns what a manager keeps. One that joined has an identity already.
func (n *Node) authorityOf(self pki.Self, joined *pki.Identity) authority.Options {
	calls := agent.NewManagers(func() *http.Client { return n.toManagers }, n.cfg.Node.Port)
	created := joined == nil
	has := replica.Has{Images: func() bool { return n.full() }, Queue: created}
	n.full = func() bool { return created } // until there is a registry
	return authority.Options{
		DataDir:  n.cfg.DataDir,
		NodeDir:  setup.NodeDir(n.cfg),
		Self:     self,
		Port:     n.cfg.Node.Port,
		Gossip:   n.cfg.Gossip.Port,
		Joined:   joined,
		Has:      has,
		Replicas: authority.Replicas(n.engine, calls, has, n.log),
		Log:      n.log,
	}
}

// buildCreated opens the state of a cluster that this machine created.
func (n *Node) buildCreated(ctx context.Context) (assembly, error) {
	a, err := authority.Open(ctx, n.authorityOf(pki.Self{Name: n.name, Addr: n.addr, Version: n.opts.Version}, nil))
	if err != nil {
		return assembly{}, err
	}
	n.identify(a.Identity)
	token, err := n.joinTokens(a).Token(ctx, fleet.RoleWorker)
	if err != nil {
		a.Close()
		return assembly{}, err
	}
	is, err := n.buildManager(ctx, a, true)
	is.token = token
	return is, err
}

// buildManager opens what a manager keeps on disk beside the state, and makes its parts.
func (n *Node) buildManager(ctx context.Context, a *authority.Authority, created bool) (assembly, error) {
	m := &manager{Node: n, authority: a, created: created, queue: queue.Off("")}
	if err := m.open(ctx); err != nil {
		m.release()
		return assembly{}, err
	}
	return assembly{parts: m.parts(), release: m.release}, nil
}

func (m *manager) open(ctx context.Context) (err error) {
	if err := m.ports.OpenRegistry(m.cfg, m.addr); err != nil {
		return err
	}
	if !m.addr.IsLoopback() {
		if err := pki.InstallCA(pki.CertsDir, m.registryAddr(), m.authority.CA.PEM()); err != nil {
			return err
		}
	}
	if m.past, err = history.Open(m.authority.Deploys()); err != nil {
		return err
	}
	if m.queue, err = m.openQueue(); err != nil {
		return err
	}
	if err := m.meetNodes(ctx); err != nil {
		return err
	}
	reg := m.images.Registry
	if m.created {
		m.restoring = restore.Open(m.cfg, m.authority, m.engine, reg.Sparse(), m.queue.Told(), m.addr, m.log)
	}
	m.runner = deploy.NewRunner(m.engine, m.peers, m.past, m.log)
	m.runner.TellQueue(m.queue.For(m.images.Handler()), m.queue.Outages)
	sources := deploy.NewSources(m.engine)
	if m.cfg.Registry.Public {
		own := func(hostport string) bool { return m.isLoopback(hostport) || m.network().Owns(hostport) }
		copier := image.NewCopier(reg.Sparse(), pki.CertsDir)
		sources = deploy.NewCopyingSources(m.engine, copier, reg, m.cfg.Registry.Port, own, m.log)
	}
	m.leading = &leading.Manager{
		Created:   m.created,
		Name:      m.name,
		Addr:      m.addr,
		Config:    m.cfg,
		Reload:    m.opts.Reload,
		Authority: m.authority,
		Engine:    m.engine,
		Sources:   sources,
		Runner:    m.runner,
		Past:      m.past,
		Registry:  m.images.Handler(),
		Peers:     m.peers,
		Backups:   m.backups,
		Queue:     m.queue.Led,
		View:      m.view,
		Members:   m.gossip.Members,
		Started:   m.started,
		Log:       m.log,
	}
	return m.leading.Init()
}

func (m *manager) openQueue() (queue.Queue, error) {
	return queue.Open(queue.Options{
		Created:   m.created,
		Config:    m.cfg,
		Engine:    m.engine,
		Listeners: m.ports.Queue,
		Addr:      m.addr,
		Authority: m.authority,
		Client:    func() *http.Client { return m.toManagers },
		Members:   m.view.Members,
		Front:     m.front,
		Again:     m.again,
		Audit:     m.audit.Record,
		Log:       m.log,
	}, control.QueueAway(m.authority.HomeOfQueue, m.errs()))
}

// meetNodes makes what lets nodes in, and what this node asks and tells them by.
func (m *manager) meetNodes(ctx context.Context) error {
	a := m.authority
	a.Locate(m.engine)
	if err := m.newGossip(a.Keys.All(), a.Seeds, m.atMembers(m.cfg.Gossip.Port)); err != nil {
		return err
	}
	if err := a.Serve(a, m.learn, m.audit.Record); err != nil {
		return err
	}
	m.client = agent.NewClient(m.atMembers(m.cfg.Node.Port), m.identity)
	m.toManagers = agent.NewClient(m.atMembers(m.cfg.Node.Port), m.identity, fleet.RoleManager)
	others := images.Others{View: m.view, Self: m.addr, ToManagers: m.toManagers, ToAll: m.client}
	if err := m.images.Open(ctx, m.cfg, a, m.created, m.past.KeptImages, others, m.log); err != nil {
		return err
	}
	m.full = m.images.Full
	m.ask()
	m.newCheckup(m.client, m.atMembers(m.cfg.Node.Port), m.created)
	return nil
}

// ask makes what this node asks the others by, and brings them other versions.
func (m *manager) ask() {
	m.upgradable(m.program)
	m.answered = m.answers(agent.NoPins{}) // the registry has all images
	m.peers = agent.NewPeers(m.engine, m.authority.MembersOf, m.client, m.addr, m.cfg.Node.Port, m.answered, m.log)
	m.offers = upgrade.OpenOffers(upgrade.In(m.cfg.DataDir), m.peers)
	m.source = backup.NewSource(m.engine, m.cfg, m.name, m.opts.Version)
	m.backups = backups.New(m.source.Read, copies.Nodes{Peers: m.peers}, m.cfg.Backup, m.log)
}

// program opens what was offered to this manager, or to another one.
func (m *manager) program(ctx context.Context, o upgrade.Offer) (io.ReadCloser, error) {
	if file, err := m.offers.Open(o.SHA256); err == nil {
		return file, nil
	}
	return agent.FetchProgram(ctx, m.view.Targets(m.toManagers), o)
}

// release closes what open opened, as far as it came.
func (m *manager) release() {
	m.queue.Close()
	for _, client := range []*http.Client{m.client, m.toManagers} {
		if client != nil {
			client.CloseIdleConnections()
		}
	}
	m.images.Close()
	m.authority.Close()
}

func (m *manager) parts() []lifecycle.Part {
	served := failpoint.Handler(failpoint.HangRegistry, m.images.Handler())
	written := m.leading.Services.AfterPush(served)
	own, led, atHome := m.areas()
	local, passed := m.leading.Areas(led, atHome, m.toManagers)
	parts := slices.Concat(m.images.Parts(), []lifecycle.Part{
		{Name: "registry", Component: m.localRegistry(written)},
	}, m.network().Parts(written), m.queue.Parts, []lifecycle.Part{
		{Name: "gossip", Component: m.gossip},
		m.nodePort(append(m.handlers(), relay.Answer(m.view, m.audit.Record, m.log, passed))),
		pki.Renewal(m.identity, m.renew, m.log),
		m.localAPI(append(own, local...)), m.dockerWatch(m.leading.Services.Again),
		m.hears().Part(m.peers.Others),
		lifecycle.Background("checkup", m.checkup.Run), lifecycle.Background("upgrade", m.upgrade.Run),
		m.logs.Part(m.engine, m.peers),
	}, m.leading.Parts(), m.authority.Parts())
	if m.created {
		shares := func(ctx context.Context) error { return m.source.Share(ctx, m.authority.HomeFiles(), m.log) }
		parts = append(parts, m.restoring.Part(), lifecycle.Background("files for backups", shares))
	} else {
		parts = append(parts, lifecycle.Background("address", m.machine().AwaitMove(m.identity, m.opts.Keep != nil)))
	}
	return append(parts, m.watchdog(served, func() { m.gossip.Members(); m.images.Look() })...)
}

// handlers returns what the port between nodes serves.
func (m *manager) handlers() []agent.Handler {
	all := slices.Concat(m.answered, m.images.Handlers(m.view.Asker), m.queue.Answers,
		m.authority.Handlers(m.upgrade, m.view.Addr(m.addr)))
	return append(all, agent.AnswerProgram(m.offers))
}

// network is the registry's door on the network.
func (m *manager) network() doors.Network {
	return doors.Network{
		Authority: m.authority,
		Prover:    m.prover,
		Peers:     m.peers,
		Addr:      m.addr,
		Port:      m.cfg.Registry.Port,
		Listener:  m.ports.Registry,
		Audit:     m.audit.Record,
		Log:       m.log,
	}
}

func (m *manager) renew(ctx context.Context) error {
	if !m.created {
		return enroll.Renew(ctx, m.identity)
	}
	m.queue.Renew()
	return m.authority.CA.Reissue(m.identity)
}

func (m *manager) registryAddr() string {
	return netip.AddrPortFrom(m.addr, m.cfg.Registry.Port).String()
}

// atMembers reports where nodes listen on a port; a manager knows at once of one that has joined.
func (m *manager) atMembers(port uint16) func(netip.AddrPort) bool {
	return agent.AtMembers(m.identity, m.authority.Members, port)
}

func (m *manager) errs() control.Errors {
	return control.NewErrors(m.name, func() string { return m.view.Name(m.authority.HomeOfQueue()) })
}

// joinTokens are what lets nodes in.
func (n *Node) joinTokens(a *authority.Authority) *control.Tokens {
	errs := control.NewErrors(n.name, n.view.ManagerName)
	return control.NewTokens(a.Tokens, a.CA, a.Managers, n.engine, errs)
}

func (m *manager) leave(ctx context.Context, force bool) error {
	return m.left(m.machine().Leave(ctx, m.identity, m.view.Targets(m.toManagers), m.view.ManagerName(), force))
}

func (n *Node) again() { n.leaving(errAnew) }

// errAnew ends a node that is to be built again, since it has another part in the cluster.
var errAnew = errors.New("this node has another part in its cluster now")
