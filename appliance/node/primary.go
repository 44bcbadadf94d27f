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
	"github.com/crawlbox/crawlbox/appliance/api"
	"github.com/crawlbox/crawlbox/appliance/cluster/authority"
	"github.com/crawlbox/crawlbox/appliance/cluster/backup"
	"github.com/crawlbox/crawlbox/appliance/cluster/pki"
	"github.com/crawlbox/crawlbox/appliance/control"
	"github.com/crawlbox/crawlbox/appliance/controller/backups"
	"github.com/crawlbox/crawlbox/appliance/controller/imagegc"
	"github.com/crawlbox/crawlbox/appliance/controller/readmit"
	"github.com/crawlbox/crawlbox/appliance/controller/restore"
	"github.com/crawlbox/crawlbox/appliance/controller/services"
	"github.com/crawlbox/crawlbox/appliance/deploy"
	"github.com/crawlbox/crawlbox/appliance/deploy/history"
	"github.com/crawlbox/crawlbox/appliance/failpoint"
	"github.com/crawlbox/crawlbox/appliance/fleet"
	"github.com/crawlbox/crawlbox/appliance/image"
	"github.com/crawlbox/crawlbox/appliance/lifecycle"
	"github.com/crawlbox/crawlbox/appliance/node/doors"
	"github.com/crawlbox/crawlbox/appliance/node/queue"
	"github.com/crawlbox/crawlbox/appliance/pieces"
	"github.com/crawlbox/crawlbox/appliance/relay"
	"github.com/crawlbox/crawlbox/appliance/upgrade"
	"github.com/crawlbox/crawlbox/embedded/mirror/exchange"
	"github.com/crawlbox/crawlbox/embedded/mirror/exchange/wire"
	"github.com/crawlbox/crawlbox/embedded/registry"
)

// primary is what the manager that created the cluster has: the CA, the registry, the
// queue, the record of deploys and the controllers.
type primary struct {
	*Node
	authority *authority.Authority
	registry  *registry.Registry
	pieces    *exchange.Exchange
	cutter    *pieces.Cutter
	queue     queue.Queue
	client    *http.Client // to other nodes
	answered  []agent.Handler
	peers     *agent.Peers
	offers    *upgrade.Offers // of other versions of crawlbox
	past      *history.Store  // of deploys
	runner    *deploy.Runner
	sources   *deploy.Sources
	backups   *backups.Controller
	restoring *restore.Controller
}

// buildPrimary opens what the primary keeps on disk and makes its parts.
func (n *Node) buildPrimary(ctx context.Context) (assembly, error) {
	p := &primary{Node: n, queue: queue.Off("")}
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
	if p.authority, err = authority.Open(ctx, p.authorityOf(self, nil)); err != nil {
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
	p.queue, err = queue.New(queue.Options{
		Config:    p.cfg,
		Listeners: p.ports.Queue,
		Addr:      p.addr,
		CA:        p.authority.CA,
		Identity:  p.identity,
		Log:       p.log,
	})
	if err != nil {
		return err
	}
	if err := p.meetNodes(); err != nil {
		return err
	}
	p.restoring = restore.Open(p.cfg, p.authority, p.engine, p.registry.Sparse(), p.queue.Told, p.addr, p.log)
	p.runner = deploy.NewRunner(p.engine, p.peers, p.past, p.log)
	p.runner.TellQueue(p.queue.For(p.registry.Handler()), p.queue.Outages)
	p.sources = deploy.NewSources(p.engine)
	if p.cfg.Registry.Public {
		own := func(hostport string) bool { return p.isLoopback(hostport) || p.network().Owns(hostport) }
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
	p.toManagers = agent.NewClient(p.atMembers(p.cfg.Node.Port), p.identity, fleet.RoleManager)
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
	p.queue.Close()
	for _, client := range []*http.Client{p.client, p.toManagers} {
		if client != nil {
			client.CloseIdleConnections()
		}
	}
	if p.registry != nil {
		if err := p.registry.Close(); err != nil {
			p.log.Warn("failed to close the registry", "error", err)
		}
	}
	p.authority.Close()
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
	areas, passed := p.areas(defined)
	return slices.Concat([]lifecycle.Part{
		lifecycle.Background("pieces", p.cutter.Run),
		{Name: "registry", Component: p.localRegistry(written)},
	}, p.network().Parts(written), p.queue.Parts, []lifecycle.Part{
		{Name: "gossip", Component: p.gossip},
		p.nodePort(append(p.handlers(images), relay.Answer(p.audit.Record, p.log, passed))),
		pki.Renewal(p.identity, p.renew, p.log),
		lifecycle.Background("keys", p.authority.Run),
		p.localAPI(append(areas, passed...)),
		p.dockerWatch(defined.Again),
		lifecycle.Background("deploys", p.runner.Resume),
		defined.Part(),
		unused.Part(),
		p.backups.Part(),
		p.restoring.Part(),
		p.hears().Part(p.peers.Others),
		readmit.New(p.engine, p.runner, agents, p.log).Part(),
		lifecycle.Background("checkup", p.checkup.Run),
		lifecycle.Background("upgrade", p.upgrade.Run),
	}, p.authority.Parts(), p.watchdog(images, func() { p.gossip.Members() }))
}

// handlers returns what the port between nodes serves.
func (p *primary) handlers(images http.Handler) []agent.Handler {
	return slices.Concat(p.answered, []agent.Handler{
		agent.Raw(agent.RouteImages, registry.ReadOnly(images)),
		agent.Raw(wire.Path, wire.NewServer(p.pieces, p.log).Handler(unguarded, p.view.Asker)),
		agent.AnswerProgram(p.offers),
	}, p.authority.Handlers(p.upgrade, p.view.Addr(p.addr)))
}

// network is the registry's door on the network.
func (p *primary) network() doors.Network {
	return doors.Network{
		Authority: p.authority,
		Prover:    p.prover,
		Peers:     p.peers,
		Addr:      p.addr,
		Port:      p.cfg.Registry.Port,
		Listener:  p.ports.Registry,
		Audit:     p.audit.Record,
		Log:       p.log,
	}
}

func (p *primary) renew(context.Context) error {
	p.queue.Renew()
	return p.authority.CA.Reissue(p.identity)
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
	return control.NewTokens(p.authority.Tokens, p.authority.CA, p.authority.Managers, p.engine, p.errs())
}

func (p *primary) leave(ctx context.Context, force bool) error {
	return p.left(p.machine().End(ctx, force))
}
