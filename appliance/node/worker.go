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
	"github.com/crawlbox/crawlbox/appliance/api"
	"github.com/crawlbox/crawlbox/appliance/audit"
	"github.com/crawlbox/crawlbox/appliance/cluster/enroll"
	"github.com/crawlbox/crawlbox/appliance/cluster/pki"
	"github.com/crawlbox/crawlbox/appliance/control"
	"github.com/crawlbox/crawlbox/appliance/failpoint"
	"github.com/crawlbox/crawlbox/appliance/fleet"
	"github.com/crawlbox/crawlbox/appliance/lifecycle"
	"github.com/crawlbox/crawlbox/appliance/upgrade"
	"github.com/crawlbox/crawlbox/embedded/gossip"
	"github.com/crawlbox/crawlbox/embedded/mirror"
	"github.com/crawlbox/crawlbox/embedded/mirror/exchange/wire"
)

// swarmJoinTimeout bounds how long Docker may take to become a member.
const swarmJoinTimeout = 90 * time.Second

// Worker is every node but the first: one that runs containers, or, where its
// join string is for a manager, one that also manages the swarm.
type Worker struct {
	*ground
	role     string
	identity *pki.Identity
	mirror   *mirror.Mirror
	gossip   *gossip.Gossip
	client   *http.Client // to managers
	nodes    *http.Client // to all
	network  *wire.Links
	refused  atomic.Value                                 // string: why a manager refuses this node, if it does
	again    func(context.Context) (*pki.Identity, error) // joins by the string once more; nil without one
	audit    *audit.Log
	upgrade  *upgrade.Node
}

// RunWorker runs a node with the role given until ctx ends, a part of it fails
// or it has left the cluster, which is ErrLeft.
func RunWorker(ctx context.Context, role string, opts Options) error {
	g, err := prepare(opts)
	if err != nil {
		return err
	}
	w := &Worker{ground: g, role: role}
	ctx, w.leaving = context.WithCancelCause(ctx)
	defer w.leaving(nil)
	defer w.close()
	if err := w.settle(ctx); err != nil {
		return err
	}
	if err := w.build(); err != nil {
		return err
	}
	defer w.mirror.Close()
	defer w.audit.Close()
	defer w.client.CloseIdleConnections()
	defer w.nodes.CloseIdleConnections()
	defer w.network.Close()
	return w.run(ctx, api.Token{}, w.parts())
}

// registries are the names under which the managers' registry is pulled from.
func (w *Worker) registries() []string {
	var list []string
	for _, m := range w.identity.Membership().Managers {
		list = append(list, netip.AddrPortFrom(m.Addr(), w.cfg.Registry.Port).String())
	}
	return list
}

func (w *Worker) build() (err error) {
	at := agent.AtNodes(w.identity, w.cfg.Node.Port)
	w.client = agent.NewClient(at, w.identity, fleet.RoleManager)
	if w.audit, err = audit.Open(w.dir("audit.log"), w.log); err != nil {
		return err
	}
	w.nodes = agent.NewClient(at, w.identity)
	w.network = wire.NewLinks(w.nodes)
	pieces := w.exchanging(w.network)
	pieces.Trackers, pieces.Nodes = w.trackers, w.others
	w.mirror, err = mirror.Open(mirror.Options{
		Dir: w.cfg.MirrorDir(), MaxBytes: int64(w.cfg.Mirror.MaxSize), Manager: w.primary,
		Source:   &mirror.HTTPSource{Client: w.client, Bases: w.bases, OthersClient: w.nodes, Others: w.otherBases},
		Exchange: &pieces,
	}, w.log)
	if err != nil {
		return err
	}
	w.upgrade = w.upgradable(func(ctx context.Context, o upgrade.Offer) (io.ReadCloser, error) {
		return agent.FetchProgram(ctx, w.managers(), o)
	})
	member := w.identity.Membership()
	w.gossip, err = gossip.New(gossip.Options{
		Addr: bindAddr(w.addr), Advertise: w.addr, Port: w.cfg.Gossip.Port, Keys: rawKeys(member.GossipKeys), Self: w.self(),
		Seeds: func() []netip.AddrPort { return w.identity.Membership().Seeds },
		Known: agent.AtNodes(w.identity, w.cfg.Gossip.Port),
	}, w.log)
	if err != nil {
		return errors.Join(err, w.mirror.Close())
	}
	return nil
}

// self is what the others hear first. That Docker runs is known where it has just
// told the node's ID; each correction later would be news for the whole cluster.
func (w *Worker) self() gossip.Node {
	n := gossip.Node{ID: w.identity.Node.ID, Name: w.name, Role: w.role, Version: w.opts.Version, Swarm: w.ownSwarmID(),
		Docker: dockerStopped, FreeDisk: control.FreeDisk(w.cfg.DataDir)}
	if n.Swarm != "" {
		n.Docker = dockerRunning
	}
	return n
}

// trackers are the managers as the exchange of pieces asks them.
func (w *Worker) trackers() (list []string) {
	for _, m := range w.identity.Membership().Managers {
		list = append(list, m.String())
	}
	return list
}

// others are the other nodes that are up.
func (w *Worker) others() []string {
	if w.gossip == nil { // not yet
		return nil
	}
	return w.ground.others(w.gossip.Members(), agent.AtNodes(w.identity, w.cfg.Node.Port))
}

func (w *Worker) otherBases() (list []string) {
	for _, addr := range w.others() {
		list = append(list, "https://"+addr)
	}
	return list
}

// managers are the managers as they are called.
func (w *Worker) managers() []agent.Target {
	var list []agent.Target
	for _, m := range w.identity.Membership().Managers {
		list = append(list, agent.Target{Client: w.client, Addr: m})
	}
	return list
}

// bases are the managers' URLs.
func (w *Worker) bases() []string {
	var list []string
	for _, m := range w.identity.Membership().Managers {
		list = append(list, "https://"+m.String())
	}
	return list
}

// first is where the manager is that has the registry, the queue and the CA. It is not
// valid where none is known.
func (w *Worker) first() netip.Addr {
	if managers := w.identity.Membership().Managers; len(managers) > 0 {
		return managers[0].Addr().Unmap()
	}
	return netip.Addr{}
}

// primary names the manager that has the registry, for people.
func (w *Worker) primary() string {
	managers := w.identity.Membership().Managers
	if len(managers) == 0 {
		return "of this cluster"
	}
	addr := managers[0].Addr()
	if w.gossip == nil { // crawlbox does not run
		return addr.String()
	}
	for _, m := range w.gossip.Members() {
		if m.Addr == addr {
			return fmt.Sprintf("%s (%s)", m.Name, addr)
		}
	}
	return addr.String()
}

func (w *Worker) parts() []lifecycle.Part {
	images := failpoint.Handler(failpoint.HangRegistry, w.mirror.Handler())
	parts := []lifecycle.Part{
		{Name: "registry mirror", Component: w.serveLocal(images)},
		{Name: "node port", Component: serve(site{handler: agent.Port(w.identity, w.nodeHandlers()), tls: w.identity.ServerTLS()}, w.log, w.node)},
		{Name: "certificate", Component: background(func(ctx context.Context) error {
			return pki.KeepRenewed(ctx, w.identity, func(ctx context.Context) error { return enroll.Renew(ctx, w.identity) }, w.log)
		})},
		{Name: "local API", Component: w.serveAPI(w.audit.Record, w.areas())},
		{Name: "cluster", Component: w.settled(w.clusterParts)},
		upgradePart(w.upgrade),
	}
	locks := func() { w.gossip.Members(); w.mirror.Stats() }
	return append(parts, w.watchdog(w.probes(images, locks))...)
}

// clusterParts are those by which nodes know of each other.
func (w *Worker) clusterParts() []lifecycle.Part {
	watch := &watcher{engine: w.engine, gossip: w.gossip, self: w.self(), dir: w.cfg.DataDir, known: &w.swarmID, back: func() {}, say: w.phase, round: &w.round, log: w.log}
	return []lifecycle.Part{
		{Name: "gossip", Component: w.gossip},
		{Name: "news", Component: background(func(ctx context.Context) error {
			return enroll.Follow(ctx, w.identity, w.ownSwarmID, w.hear, w.log)
		})},
		{Name: "watch", Component: watch.component()},
	}
}

// hear takes up what a manager says is new of the cluster.
func (w *Worker) hear(member pki.Membership, err error) {
	if err != nil {
		text := RemovedText
		if !errors.Is(err, pki.ErrRemoved) {
			text = err.Error()
		}
		if w.refused.Swap(text) != text {
			w.log.Warn(text)
		}
		return
	}
	w.refused.Store("")
	w.learn(w.gossip, member)
}

// RemovedText is the problem, in the status, of a node that is not of the cluster any
// more, and what to do there.
const RemovedText = "this node was removed from its cluster; run `crawlbox leave` on it, or join again with `crawlbox worker --join STRING`"

// problems are those that only a worker has.
func (w *Worker) problems() (list []string) {
	if text, _ := w.refused.Load().(string); text != "" {
		return []string{text}
	}
	addr := w.identity.Membership().Managers
	for _, m := range w.gossip.Members() {
		if len(addr) > 0 && m.Addr == addr[0].Addr() && m.State != gossip.Alive {
			list = append(list, fmt.Sprintf("the manager %s does not answer since %s; look at it", w.primary(), m.Seen.Format(time.RFC3339)))
		}
	}
	return list
}
