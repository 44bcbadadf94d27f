// Package node puts the parts of a node together: it is the only place that
// knows all of them. A Manager has the registry, the queue, the cluster's CA
// and the services of the config file; a Worker has the mirror of the registry.
// Both have gossip, the nodes' TLS port and the local API.
//
// A start goes the same way each time, whatever a crash left:
//
//	check ──▶ open ports ──▶ take up or make the swarm ──▶ run the parts ──▶ ready
//
// Until the ports are open nothing on the machine is changed, so whatever can be
// refused is refused before. What is made afterwards is on disk before it is
// used, and found again by the next start: keys, tokens, the identity, and in
// cluster.json the swarm.
//
// A node that was set up once starts without its Docker Engine too: its queue,
// registry and gossip serve the others while Docker is away, and the rest
// catches up when Docker is back.
package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"time"

	"github.com/crawlbox/crawlbox/appliance/agent/owner"
	"github.com/crawlbox/crawlbox/appliance/api"
	"github.com/crawlbox/crawlbox/appliance/doctor"
	"github.com/crawlbox/crawlbox/appliance/guard"
	"github.com/crawlbox/crawlbox/appliance/lifecycle"
	"github.com/crawlbox/crawlbox/appliance/swarm"
	"github.com/crawlbox/crawlbox/configs"
)

// Options say how a node is started.
type Options struct {
	Config  configs.Config
	Reload  func() (configs.Config, error) // reads the config again, when its file changed
	Version string                         // of crawlbox
	Log     *slog.Logger

	AdoptSwarm bool   // a manager takes over a swarm that it did not make
	Join       string // the join string of a node that is not yet in the cluster

	// Keep, if not nil, starts the keeper of an upgrade of this node, and returns at
	// once; see upgrade.Node.
	Keep func(ctx context.Context) error

	// Ready is called once the node serves. The token is the line that joins a
	// worker; on a worker it is empty.
	Ready func(api.Token)

	// Phase, if not nil, is told what the node is about, in a few words: before it
	// is ready, and afterwards when that changes.
	Phase func(text string)
	// Watchdog, if not nil, runs while the node serves, until ctx ends. check asks
	// the node's own parts whether they answer; it neither asks Docker nor other
	// machines, and ends soon after its context does, unless a part hangs.
	Watchdog func(ctx context.Context, check func(context.Context) error)
}

// ErrLeft is returned by Run of a node that was told to leave the cluster, and
// has.
var ErrLeft = errors.New("this node has left the cluster")

// ground is what a node stands on: its engine, its address, its open ports.
type ground struct {
	opts    Options
	cfg     configs.Config
	log     *slog.Logger
	engine  *swarm.Engine
	prover  *owner.Prover // of connections of that engine
	name    string
	addr    netip.Addr // that others reach this node at
	started time.Time
	leaving context.CancelCauseFunc // ends Run with ErrLeft

	local    *guard.Listener // the registry on loopback
	node     *guard.Listener // mutual TLS between nodes
	socket   net.Listener    // the local API
	registry *guard.Listener // the registry on the network; nil on workers
	queue    net.Listener    // guarded by the queue's process; nil where there is none

	swarmID atomic.Value // string: this node's ID in the swarm, once it is known
	round   round        // of the loop that looks at Docker
}

// neighbours are the limits on loopback, where all have one address.
var neighbours = guard.Limits{Strangers: 4096, PerAddr: 4096, PerParty: 4096}

// prepare makes the checks that need no Docker, and the state folder.
func prepare(opts Options) (*ground, error) {
	if err := doctor.Root(); err != nil {
		return nil, err
	}
	engine, err := swarm.Open(opts.Config.Docker.Host)
	if err != nil {
		return nil, err
	}
	name, err := os.Hostname()
	if err != nil {
		return nil, fmt.Errorf("find this machine's host name: %w", err)
	}
	if err := os.MkdirAll(opts.Config.DataDir, 0o700); err != nil {
		return nil, fmt.Errorf("make data folder: %w; choose another with data_dir in the config", err)
	}
	if err := doctor.Folder(opts.Config.DataDir); err != nil {
		return nil, err
	}
	g := &ground{opts: opts, cfg: opts.Config, log: opts.Log, engine: engine, prover: owner.NewProver(engine.Process), name: name, started: time.Now()}
	g.phase("looking at this machine and its Docker")
	return g, nil
}

// askEngine checks the engine of a node that cannot start without it.
func (g *ground) askEngine(ctx context.Context) (swarm.Info, error) {
	info, err := g.engine.Info(ctx)
	if err != nil {
		return info, err
	}
	return info, engineOf(info).Check()
}

// away says whether an error means that there is no engine to ask now, but that
// there will be one again.
func away(err error) bool { return swarm.Away(err) }

// open opens all ports, or none.
func (g *ground) open(network bool) (err error) {
	defer func() {
		if err != nil {
			g.close()
		}
	}()
	if g.socket, err = listenSocket(g.cfg.Socket, g.cfg.SocketGroup); err != nil {
		return err
	}
	bind := bindAddr(g.addr)
	loopback := netip.AddrFrom4([4]byte{127, 0, 0, 1})
	if g.local, err = listen(netip.AddrPortFrom(loopback, g.cfg.Registry.Port), "registry.port", neighbours); err != nil {
		return err
	}
	if g.node, err = listen(netip.AddrPortFrom(bind, g.cfg.Node.Port), "node.port", guard.Limits{}); err != nil {
		return err
	}
	if err = doctor.Port(netip.AddrPortFrom(bind, g.cfg.Gossip.Port), "gossip.port"); err != nil {
		return err
	}
	if network && g.cfg.Queue != nil {
		if g.queue, err = doctor.Listen(netip.AddrPortFrom(bind, g.cfg.Queue.Port), "queue.port"); err != nil {
			return err
		}
	}
	// A cluster of one machine for itself has no network to serve.
	if network && !bind.IsLoopback() {
		g.registry, err = listen(netip.AddrPortFrom(bind, g.cfg.Registry.Port), "registry.port", guard.Limits{})
	}
	return err
}

// listen opens a port and bounds what strangers can take of it.
func listen(addr netip.AddrPort, key string, limits guard.Limits) (*guard.Listener, error) {
	ln, err := doctor.Listen(addr, key)
	if err != nil {
		return nil, err
	}
	return guard.New(ln, limits), nil
}

func (g *ground) close() {
	for _, ln := range g.guarded() {
		ln.Close()
	}
	if g.queue != nil {
		g.queue.Close()
	}
	if g.socket != nil {
		g.socket.Close()
	}
	g.engine.Close()
}

// guarded are the listeners that are open and can be reached from other machines
// or containers.
func (g *ground) guarded() []*guard.Listener {
	all := []*guard.Listener{g.local, g.node, g.registry}
	return slices.DeleteFunc(all, func(ln *guard.Listener) bool { return ln == nil })
}

// bindAddr is the address to listen on for others: the advertised one, or,
// where that is not this machine's own (behind NAT), the one of its default
// route.
func bindAddr(advertised netip.Addr) netip.Addr {
	if doctor.IsLocal(advertised) {
		return advertised
	}
	if a, err := doctor.AdvertiseAddr(); err == nil {
		return a
	}
	return advertised
}

func (g *ground) dir(name string) string { return filepath.Join(g.cfg.DataDir, name) }

// run runs the parts until ctx ends or the node leaves.
func (g *ground) run(ctx context.Context, token api.Token, parts []lifecycle.Part) error {
	err := lifecycle.Run(ctx, g.log, func() {
		g.log.Debug("ready", "took", time.Since(g.started))
		g.opts.Ready(token)
	}, g.announced(parts)...)
	if cause := context.Cause(ctx); errors.Is(cause, ErrLeft) {
		return ErrLeft
	}
	return err
}
