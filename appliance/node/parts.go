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
	"github.com/crawlbox/crawlbox/appliance/agent/notices"
	"github.com/crawlbox/crawlbox/appliance/agent/owner"
	"github.com/crawlbox/crawlbox/appliance/agent/reach"
	"github.com/crawlbox/crawlbox/appliance/api"
	"github.com/crawlbox/crawlbox/appliance/cluster/home"
	"github.com/crawlbox/crawlbox/appliance/cluster/pki"
	"github.com/crawlbox/crawlbox/appliance/cluster/setup"
	"github.com/crawlbox/crawlbox/appliance/doctor"
	"github.com/crawlbox/crawlbox/appliance/failpoint"
	"github.com/crawlbox/crawlbox/appliance/health"
	"github.com/crawlbox/crawlbox/appliance/lifecycle"
	"github.com/crawlbox/crawlbox/appliance/node/doors"
	"github.com/crawlbox/crawlbox/appliance/preflight"
	"github.com/crawlbox/crawlbox/appliance/server"
	"github.com/crawlbox/crawlbox/appliance/upgrade"
	"github.com/crawlbox/crawlbox/appliance/watch"
	"github.com/crawlbox/crawlbox/embedded/gossip"
)

// The parts that every node has.

func (n *Node) nodePort(handlers []agent.Handler) lifecycle.Part {
	site := server.Site{Handler: agent.Port(n.identity, handlers), TLS: n.identity.ServerTLS()}
	return lifecycle.Part{Name: "node port", Component: server.Serve(site, n.log, n.ports.Nodes)}
}

// localRegistry serves images on loopback, to this machine's Docker Engine.
func (n *Node) localRegistry(images http.Handler) lifecycle.Component {
	return doors.Local(images, n.isLoopback, n.prover, n.ports.Local, n.log)
}

func (n *Node) isLoopback(hostport string) bool {
	return server.IsLoopback(hostport, n.cfg.Registry.Port)
}

func (n *Node) localAPI(areas []api.Area) lifecycle.Part {
	handler := failpoint.Handler(failpoint.HangAPI, api.Handler(n.audit.Record, n.log, areas...))
	site := server.Site{Handler: handler, Conn: api.ConnContext}
	return lifecycle.Part{Name: "local API", Component: server.Serve(site, n.log, n.ports.Socket)}
}

// dockerWatch calls back when Docker answers again.
func (n *Node) dockerWatch(back func()) lifecycle.Part {
	return lifecycle.Background("watch", func(ctx context.Context) error { return n.watch.Run(ctx, n.gossip, back) })
}

// watchdog runs beside the other parts, where somebody wants to hear that they answer.
func (n *Node) watchdog(images http.Handler, locks func()) []lifecycle.Part {
	return health.Watched(n.opts.Watchdog,
		health.API(n.cfg.Socket), health.RegistryPort(n.cfg.Registry.Port),
		health.Registry(images),
		health.Loop("watch", &n.watch.Rounds),
		health.Locks("what is known of the cluster", locks),
	)
}

// answers returns what every node answers about itself.
func (n *Node) answers(pins agent.Pins) []agent.Handler {
	own := slices.Concat(agent.Answers(n.engine, pins, n.upgrade, n.log), notices.Answer(n.hears()),
		copies.Answer(n.cfg.DataDir, n.identity, n.log), n.logs.Answers())
	return append(own, owner.Answer(n.prover, n.log), reach.Answer(doctor.BindAddr(n.addr), n.log),
		home.AnswerFits(n.cfg, n.log), n.watch.Answer(n.log))
}

// hears is how this node takes it that its cluster was restored: it begins anew.
func (n *Node) hears() notices.Node {
	return setup.Hears(n.cfg, n.identity, n.again, n.audit.Record, n.log)
}

// upgradable makes this node one that can be upgraded to what fetch returns.
func (n *Node) upgradable(fetch func(context.Context, upgrade.Offer) (io.ReadCloser, error)) {
	n.upgrade = (&upgrade.Node{
		Directory: upgrade.In(n.cfg.DataDir),
		Version:   n.opts.Version,
		Fetch:     fetch,
		Keep:      n.opts.Keep,
		Log:       n.log,
	}).Init()
}

// newGossip makes the node one of the cluster's gossip. seeds are whom it asks first; known
// reports where nodes are.
func (n *Node) newGossip(keys pki.Keyring, seeds func() []netip.AddrPort, known func(netip.AddrPort) bool) (err error) {
	self := gossip.Node{ID: n.identity.Node.ID, Name: n.name, Role: n.role, Version: n.opts.Version}
	n.watch = watch.Begin(n.engine, self, n.cfg.DataDir, n.opts.Phase, n.log)
	n.watch.Queue = n.front.Fitness
	n.gossip, err = gossip.New(gossip.Options{
		Addr:      doctor.BindAddr(n.addr),
		Advertise: n.addr,
		Port:      n.cfg.Gossip.Port,
		Keys:      keys.Raw(),
		Self:      n.watch.Self(),
		Seeds:     seeds,
		Known:     known,
	}, n.log)
	return err
}

// learn takes into use what is new of the cluster: the keys of gossip, who was removed, and where registries are.
func (n *Node) learn(news pki.Membership) {
	for _, m := range news.Managers {
		registry := netip.AddrPortFrom(m.Addr().Unmap(), n.cfg.Registry.Port).String()
		if m.Addr().IsLoopback() {
			continue
		}
		if err := pki.InstallCA(pki.CertsDir, registry, n.identity.CAPEM()); err != nil {
			n.log.Warn("failed to have Docker trust the registry of a manager", "error", err)
		}
	}
	if err := n.gossip.SetKeys(news.GossipKeys.Raw()); err != nil {
		n.log.Warn("failed to use new gossip keys", "error", err)
	}
	for _, id := range news.Removed {
		n.gossip.Forget(id)
	}
	n.ports.DropSoon(news.Removed)
}

// newCheckup makes what examines this node. The other nodes are where at says; they try each other.
func (n *Node) newCheckup(client *http.Client, at func(netip.AddrPort) bool, first bool) {
	p := reach.Prober{
		Client:   client,
		Self:     n.addr,
		Port:     n.cfg.Node.Port,
		At:       at,
		Members:  func() []gossip.Member { return n.gossip.Members() }, // there is none yet
		Managers: func() []netip.AddrPort { return n.identity.Membership().Managers },
		Ports:    preflight.Ports(n.cfg),
	}
	answers := func(addr netip.Addr) bool { return n.gossip.Answers(addr) }
	n.checkup = preflight.NewCheckup(n.cfg, n.role, p.Near(n.role, first), answers)
}

// left ends Run after a leave, whatever it could not clean up.
func (n *Node) left(err error) error {
	if err == nil || errors.Is(err, setup.ErrUnclean) {
		n.leaving(ErrLeft)
	}
	return err
}

// unguarded leaves the question who may exchange pieces to the table of calls.
func unguarded(h http.Handler) http.Handler { return h }
