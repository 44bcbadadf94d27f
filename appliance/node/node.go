// Package node puts the parts of a node together: it alone knows all of them, and it does nothing else.
//
// A Node is a machine of a cluster, of one type whatever its role. Every node has gossip, the port between nodes, the
// registry at localhost and the local API. What else it has depends on whether it has the cluster's state: a manager
// has that (manager.go), whether it created the cluster or joined, and with it the CA, a registry, the record of
// deploys and what deploys; any other node (joined.go) has a mirror of the registry and follows the news. What a node
// has not is no part of it, and its local API says where it is. The queue alone is on the manager that created the
// cluster.
//
// A start goes the same way each time, whatever a crash left:
//
//	check ──▶ open ports ──▶ create, join or find the cluster ──▶ run the parts ──▶ ready
//
// Until the ports are open nothing is changed, but what a person has decided to recover; see packages setup and
// recovery. A node that was set up once starts and serves the others without its Docker Engine too.
package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"github.com/crawlbox/crawlbox/appliance/agent"
	"github.com/crawlbox/crawlbox/appliance/agent/owner"
	"github.com/crawlbox/crawlbox/appliance/api"
	"github.com/crawlbox/crawlbox/appliance/audit"
	"github.com/crawlbox/crawlbox/appliance/cluster/home"
	"github.com/crawlbox/crawlbox/appliance/cluster/pki"
	"github.com/crawlbox/crawlbox/appliance/cluster/recovery"
	"github.com/crawlbox/crawlbox/appliance/cluster/replica"
	"github.com/crawlbox/crawlbox/appliance/cluster/setup"
	"github.com/crawlbox/crawlbox/appliance/doctor"
	"github.com/crawlbox/crawlbox/appliance/fleet"
	"github.com/crawlbox/crawlbox/appliance/health"
	"github.com/crawlbox/crawlbox/appliance/lifecycle"
	"github.com/crawlbox/crawlbox/appliance/node/logs"
	"github.com/crawlbox/crawlbox/appliance/node/queue"
	"github.com/crawlbox/crawlbox/appliance/preflight"
	"github.com/crawlbox/crawlbox/appliance/server"
	"github.com/crawlbox/crawlbox/appliance/swarm"
	"github.com/crawlbox/crawlbox/appliance/upgrade"
	"github.com/crawlbox/crawlbox/appliance/watch"
	"github.com/crawlbox/crawlbox/configs"
	"github.com/crawlbox/crawlbox/embedded/gossip"
)

// Options say how a node is started.
type Options struct {
	Config  configs.Config
	Reload  func() (configs.Config, error) // reads the config again, when its file changed
	Version string                         // of crawlbox
	Log     *slog.Logger

	AdoptSwarm bool   // a manager takes over a swarm that it did not make
	Join       string // the join token of a node that is not yet in the cluster

	// Keep, if not nil, starts the keeper of an upgrade of this node, and returns at once; see upgrade.Node.
	Keep func(ctx context.Context) error

	// Ready is called once the node serves. The token joins a worker; it is empty on a node that joined.
	// trouble says why others do not reach the node; empty: they do, as far as it knows.
	Ready func(role string, worker api.Token, trouble string)

	// Phase, if not nil, is told what the node is about, in a few words, when that changes and again while it waits.
	Phase func(text string)
	// Watchdog, if not nil, runs until ctx ends. check asks the node's own parts whether they answer, or whether a
	// start goes on; it asks nobody else, and ends soon after its context does, unless a part hangs.
	Watchdog func(ctx context.Context, check func(context.Context) error)
}

// ErrLeft is returned by Run of a node that was told to leave the cluster, and has.
var ErrLeft = errors.New("this node has left the cluster")

// ErrNoNode is returned by LeaveOffline where this machine is not a node.
var ErrNoNode = errors.New("this machine is not a node of a cluster")

// Node is a machine of a cluster: what every one has, whatever its role.
type Node struct {
	opts    Options
	cfg     configs.Config
	log     *slog.Logger
	engine  *swarm.Engine
	prover  *owner.Prover // of connections of that engine
	started time.Time
	leaving context.CancelCauseFunc // ends Run with ErrLeft
	ports   server.Ports

	name     string // host name
	role     string // fleet.RoleManager or fleet.RoleWorker
	addr     netip.Addr
	identity *pki.Identity
	view     *agent.View // of where the others are
	full     func() bool // it has all images
	front    *queue.Front
	audit    *audit.Log
	gossip   *gossip.Gossip
	logs     *logs.Logs
	upgrade  *upgrade.Node
	watch    *watch.Watcher // of Docker on this machine
	checkup  *preflight.Checkup

	toManagers *http.Client // that speaks to managers only
}

// assembly is what a node has by its role.
type assembly struct {
	token   api.Token        // that joins a worker
	parts   []lifecycle.Part // in the order in which they start
	release func()           // closes what the parts stand on, after they have stopped
}

// Run runs a node with a role until ctx ends, a part of it fails or it has left the cluster, which is ErrLeft. A
// manager creates its cluster, unless it joins one. Where the node's part in the cluster changes, it is built again.
func Run(ctx context.Context, role string, opts Options) error {
	var end func()
	opts.Phase, opts.Watchdog, end = health.Throughout(ctx, opts.Phase, opts.Watchdog)
	defer end()
	for {
		err := run(ctx, role, opts)
		if !errors.Is(err, errAnew) && !errors.Is(err, replica.ErrDemoted) {
			return err
		}
		opts.Log.Info(err.Error() + "; it starts again as what it is now")
		opts.Join = "" // it has joined
		if cfg, err := opts.Reload(); err == nil {
			opts.Config = cfg
		}
	}
}

func run(ctx context.Context, role string, opts Options) (err error) {
	n, err := prepare(opts)
	if err != nil {
		return err
	}
	defer n.close()
	ctx, n.leaving = context.WithCancelCause(ctx)
	defer func() {
		if cause := context.Cause(ctx); errors.Is(cause, ErrLeft) || errors.Is(cause, errAnew) {
			err = cause
		}
		n.leaving(nil)
	}()
	build, err := n.establishIdentity(ctx, role)
	if err != nil {
		return err
	}
	if n.audit, err = audit.Open(n.dir("audit.log"), n.log); err != nil {
		return err
	}
	defer n.audit.Close()
	is, err := build(ctx)
	if err != nil {
		return err
	}
	defer is.release()
	return lifecycle.Run(ctx, n.log, func() {
		n.log.Debug("ready", "took", time.Since(n.started))
		opts.Ready(n.role, is.token, setup.Moved(n.cfg).Sentence())
	}, lifecycle.Announced(is.parts, func(name string) { n.opts.Phase("starting: " + name) })...)
}

// prepare makes the checks that need no Docker, and the data directory.
func prepare(opts Options) (*Node, error) {
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
		return nil, fmt.Errorf("make data directory: %w; choose another with data_dir in the config", err)
	}
	if err := doctor.Directory(opts.Config.DataDir); err != nil {
		return nil, err
	}
	starting := api.NewStarting(opts.Phase)
	opts.Phase = starting.Phase
	n := &Node{
		opts:    opts,
		cfg:     opts.Config,
		log:     opts.Log,
		engine:  engine,
		prover:  owner.NewProver(engine.Process),
		ports:   server.Ports{Meanwhile: starting},
		name:    name,
		started: time.Now(),
	}
	n.opts.Phase("looking at this machine and its Docker")
	return n, nil
}

// establishIdentity makes this machine a node, or finds that it is one, and returns what builds the rest of it.
func (n *Node) establishIdentity(ctx context.Context, role string) (func(context.Context) (assembly, error), error) {
	for _, begin := range []func(context.Context, *setup.Machine, func()) error{recovery.Begin, home.Begin} {
		if err := begin(ctx, n.machine(), n.again); err != nil {
			return nil, err
		}
	}
	is := setup.StateOf(n.cfg)
	if (is == setup.Created || role == fleet.RoleManager && is == setup.None) && n.opts.Join == "" {
		addr, err := n.machine().Create(ctx, n.opts.AdoptSwarm)
		n.role, n.addr = fleet.RoleManager, addr
		return n.buildCreated, err
	}
	joined, err := n.machine().Join(ctx, role, n.opts.Join)
	n.role, n.addr = joined.Role, joined.Addr
	n.identify(joined.Identity)
	return n.buildJoined, err
}

// identify says who this node is.
func (n *Node) identify(id *pki.Identity) {
	n.identity = id
	n.logs = logs.Open(n.cfg, n.name, n.log)
	n.front = queue.NewFront(n.cfg, id, n.engine, n.log)
	n.view = agent.NewView(id, n.addr, n.cfg.Node.Port, func() []gossip.Member {
		if n.gossip == nil { // not yet
			return nil
		}
		return n.gossip.Members()
	})
}

// machine is what is set up.
func (n *Node) machine() *setup.Machine {
	return &setup.Machine{
		Config:  n.cfg,
		Name:    n.name,
		Version: n.opts.Version,
		Engine:  n.engine,
		Log:     n.log,
		Phase:   n.opts.Phase,
		Open:    func(addr netip.Addr, first bool) error { return n.ports.Open(n.cfg, addr, first) },
	}
}

// LeaveOffline does what the local API does for a node on which no crawlbox runs; none can be started meanwhile.
func LeaveOffline(ctx context.Context, opts Options, force bool) error {
	if setup.StateOf(opts.Config) == setup.None {
		return ErrNoNode
	}
	n, err := prepare(opts)
	if err != nil {
		return err
	}
	defer n.close()
	if err := n.ports.OpenSocket(n.cfg); err != nil {
		return err
	}
	return n.machine().LeaveOffline(ctx, force)
}

func (n *Node) close() { n.ports.Close(); n.engine.Close() }

func (n *Node) dir(name string) string { return filepath.Join(n.cfg.DataDir, name) }
