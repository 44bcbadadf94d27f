package node

import (
	"context"
	"io"
	"net/http"
	"net/netip"
	"slices"

	"github.com/opencontainers/go-digest"

	"github.com/crawlbox/crawlbox/appliance/agent"
	"github.com/crawlbox/crawlbox/appliance/agent/copies"
	"github.com/crawlbox/crawlbox/appliance/agent/owner"
	"github.com/crawlbox/crawlbox/appliance/api"
	"github.com/crawlbox/crawlbox/appliance/cluster/authority"
	"github.com/crawlbox/crawlbox/appliance/cluster/backup"
	"github.com/crawlbox/crawlbox/appliance/cluster/pki"
	"github.com/crawlbox/crawlbox/appliance/cluster/setup"
	"github.com/crawlbox/crawlbox/appliance/control"
	"github.com/crawlbox/crawlbox/appliance/controller/backups"
	"github.com/crawlbox/crawlbox/appliance/controller/imagegc"
	"github.com/crawlbox/crawlbox/appliance/controller/readmit"
	"github.com/crawlbox/crawlbox/appliance/controller/services"
	"github.com/crawlbox/crawlbox/appliance/deploy"
	"github.com/crawlbox/crawlbox/appliance/deploy/history"
	"github.com/crawlbox/crawlbox/appliance/doctor"
	"github.com/crawlbox/crawlbox/appliance/failpoint"
	"github.com/crawlbox/crawlbox/appliance/fleet"
	"github.com/crawlbox/crawlbox/appliance/image"
	"github.com/crawlbox/crawlbox/appliance/lifecycle"
	"github.com/crawlbox/crawlbox/appliance/pieces"
	"github.com/crawlbox/crawlbox/appliance/server"
	"github.com/crawlbox/crawlbox/appliance/upgrade"
	"github.com/crawlbox/crawlbox/embedded/mirror/exchange"
	"github.com/crawlbox/crawlbox/embedded/mirror/exchange/wire"
	"github.com/crawlbox/crawlbox/embedded/registry"
	"github.com/crawlbox/crawlbox/embedded/registry/access"
)

// primary is what the manager that created the cluster has: the CA, the registry, the
// queue, the record of deploys and the controllers.
type primary struct {
	*Node
	authority *authority.Authority
	registry  *registry.Registry
	pieces    *exchange.Exchange
	cutter    *pieces.Cutter
	queue     queue
	client    *http.Client // to other nodes
	answered  []agent.Handler
	peers     *agent.Peers
	offers    *upgrade.Offers // of other versions of crawlbox
	past      *history.Store  // of deploys
	runner    *deploy.Runner
	sources   *deploy.Sources
	backups   *backups.Controller
}

// buildPrimary opens what the primary keeps on disk and makes its parts.
func (n *Node) buildPrimary(ctx context.Context) (assembly, error) {
	p := &primary{Node: n, queue: noQueue("")}
	var token api.Token
	err := p.open(ctx)
	if err == nil {
		token, err = p.joinTokens().Token(ctx, fleet.RoleWorker)
	}
	if err != nil {
		p.release()
		return assembly{}, err
	}
	return assembly{token: token, parts: p.parts(), release: p.release}, nil
}

func (p *primary) open(ctx context.Context) (err error) {
	self := pki.Self{Name: p.name, Addr: p.addr, Version: p.opts.Version}
	p.authority, err = authority.Open(p.cfg.DataDir, setup.NodeDir(p.cfg), self, p.managers(), p.cfg.Gossip.Port, p.log)
	if err != nil {
		return err
	}
	p.identify(p.authority.Identity)
	if !p.addr.IsLoopback() {
		if err := pki.InstallCA(pki.CertsDir, p.registryAddr(), p.authority.CA.PEM()); err != nil {
			return err
		}
	}
	if p.past, err = history.Open(p.authority.Deploys()); err != nil {
		return err
	}
	p.registry, err = registry.Open(ctx, registry.Options{
		Dir:      p.cfg.RegistryDir(),
		MinFree:  int64(p.cfg.Registry.MinFree),
		Uploaded: func(d digest.Digest) { p.cutter.Add(d) },
	}, p.log)
	if err != nil {
		return err
	}
	if p.queue, err = p.newQueue(); err != nil {
		return err
	}
	if err := p.meetNodes(); err != nil {
		return err
	}
	p.runner = deploy.NewRunner(p.engine, p.peers, p.past, p.log)
	p.runner.TellQueue(p.queueFor, p.queue.outages)
	p.sources = deploy.NewSources(p.engine)
	if p.cfg.Registry.Public {
		own := func(hostport string) bool { return p.isLoopback(hostport) || p.isRegistry(hostport) }
		copier := image.NewCopier(p.registry.Sparse(), pki.CertsDir)
		p.sources = deploy.NewCopyingSources(p.engine, copier, p.registry, p.cfg.Registry.Port, own, p.log)
	}
	return nil
}

// meetNodes makes what lets nodes in, and what this node asks and tells them by.
func (p *primary) meetNodes() error {
	a := p.authority
	a.Locate(p.engine)
	if err := p.newGossip(a.Keys.All(), a.Seeds, p.atMembers(p.cfg.Gossip.Port)); err != nil {
		return err
	}
	if err := a.Serve(a, p.learn, p.audit.Record); err != nil {
		return err
	}
	p.client = agent.NewClient(p.atMembers(p.cfg.Node.Port), p.identity)
	opts := pieces.Options(p.cfg.Mirror, nil, p.view.Addr(p.addr)) // it has all, and fetches nothing
	opts.Store = pieces.Store{Registry: p.registry}
	p.pieces = exchange.New(opts, p.log)
	p.cutter = pieces.NewCutter(p.pieces, p.log)
	p.ask()
	p.newCheckup(p.client, p.atMembers(p.cfg.Node.Port), true)
	return nil
}

// ask makes what this node asks the others by, and brings them other versions.
func (p *primary) ask() {
	p.upgradable(func(_ context.Context, o upgrade.Offer) (io.ReadCloser, error) { return p.offers.Open(o.SHA256) })
	p.answered = p.answers(agent.NoPins{}) // the registry has all images
	p.peers = agent.NewPeers(p.engine, p.authority.MembersOf, p.client, p.addr, p.cfg.Node.Port, p.answered, p.log)
	p.offers = upgrade.OpenOffers(upgrade.In(p.cfg.DataDir), p.peers)
	source := backup.NewSource(p.engine, p.cfg, p.name, p.opts.Version)
	p.backups = backups.New(source.Read, copies.Nodes{Peers: p.peers}, p.cfg.Backup, p.log)
}

// release closes what open opened, as far as it came.
func (p *primary) release() {
	p.queue.close()
	if p.client != nil {
		p.client.CloseIdleConnections()
	}
	if p.registry != nil {
		if err := p.registry.Close(); err != nil {
			p.log.Warn("failed to close the registry", "error", err)
		}
	}
	if p.authority != nil {
		p.authority.Close()
	}
}

func (p *primary) parts() []lifecycle.Part {
	images := failpoint.Handler(failpoint.HangRegistry, p.registry.Handler())
	defined := services.New(p.engine, p.sources, p.runner, p.past, p.authority.ServicesAway(), p.cfg, p.opts.Reload,
		p.log)
	unused := imagegc.New(p.engine, p.past, p.peers.Prune, p.log)
	agents := func(node string) *fleet.Agent { return control.AgentOn(node, p.gossip.Members()) }
	p.runner.OnEnd(defined.Again)
	p.runner.OnEnd(unused.Again)
	written := defined.AfterPush(images)
	return slices.Concat([]lifecycle.Part{
		lifecycle.Background("pieces", p.cutter.Run),
		{Name: "registry", Component: p.localRegistry(written)},
	}, p.networkRegistry(written), p.queue.parts, []lifecycle.Part{
		{Name: "gossip", Component: p.gossip},
		p.nodePort(p.handlers(images)),
		p.certificate(p.renew),
		lifecycle.Background("keys", p.authority.Run),
		lifecycle.Background("addresses", p.authority.TellAddresses),
		p.localAPI(p.areas(defined)),
		p.dockerWatch(defined.Again),
		lifecycle.Background("deploys", p.runner.Resume),
		defined.Part(),
		unused.Part(),
		p.backups.Part(),
		readmit.New(p.engine, p.runner, agents, p.log).Part(),
		lifecycle.Background("checkup", p.checkup.Run),
		lifecycle.Background("upgrade", p.upgrade.Run),
	}, p.watchdog(images, func() { p.gossip.Members() }))
}

// handlers returns what the port between nodes serves.
func (p *primary) handlers(images http.Handler) []agent.Handler {
	handlers := slices.Concat(p.answered, []agent.Handler{
		agent.Raw(agent.RouteImages, registry.ReadOnly(images)),
		agent.Raw(wire.Path, wire.NewServer(p.pieces, p.log).Handler(unguarded, p.view.Asker)),
		agent.AnswerProgram(p.offers),
		agent.AnswerLeave(p.authority.Joins, p.authority.Members, p.authority.Book.Forget, p.log),
	})
	for route, h := range p.authority.Joins.Handlers() {
		handlers = append(handlers, agent.Raw(route, h))
	}
	own := p.view.Addr(p.addr)
	return append(handlers, agent.AnswerBootstrap(p.authority.Joins, p.authority.CA, p.upgrade, own, p.log)...)
}

// networkRegistry is the registry on the network, where it is served.
func (p *primary) networkRegistry(images http.Handler) []lifecycle.Part {
	if p.ports.Registry == nil {
		return nil
	}
	a := p.authority
	handler := access.Network(images, access.Options{
		Accounts: a.Accounts,
		Peer:     owner.NewNetwork(p.prover, p.identity, a.Members, p.peers, p.addr).Right,
		Member: func(addr netip.Addr) bool {
			return addr == p.addr || addr == doctor.BindAddr(p.addr) || len(a.Members.At(addr)) > 0
		},
		Host:  p.isRegistry,
		Admit: owner.Admit,
		Audit: p.audit.Record,
		Log:   p.log,
	})
	site := server.Site{Handler: handler, TLS: p.identity.ServerTLS(), Conn: owner.Provable}
	return []lifecycle.Part{{Name: "registry on the network", Component: server.Serve(site, p.log, p.ports.Registry)}}
}

// isRegistry reports whether a Host header names the registry on the network.
func (p *primary) isRegistry(hostport string) bool {
	return server.IsCertified(hostport, p.cfg.Registry.Port, p.identity.Certificate().Leaf)
}

func (p *primary) renew(context.Context) error {
	p.queue.renew()
	return p.authority.CA.Reissue(p.identity)
}

func (p *primary) managers() []netip.AddrPort {
	return []netip.AddrPort{netip.AddrPortFrom(p.addr, p.cfg.Node.Port)}
}

func (p *primary) registryAddr() string {
	return netip.AddrPortFrom(p.addr, p.cfg.Registry.Port).String()
}

// atMembers reports where nodes listen on a port; the primary knows at once of one that has joined.
func (p *primary) atMembers(port uint16) func(netip.AddrPort) bool {
	return agent.AtMembers(p.identity, p.authority.Members, port)
}

func (p *primary) errs() control.Errors {
	return control.NewErrors(p.name, func() string { return p.name })
}

// joinTokens are what lets nodes in.
func (p *primary) joinTokens() *control.Tokens {
	return control.NewTokens(p.authority.Tokens, p.authority.CA, p.managers(), p.engine, p.errs())
}

func (p *primary) leave(ctx context.Context, force bool) error {
	return p.left(p.machine().End(ctx, force))
}
