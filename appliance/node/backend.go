package node

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
	"golang.org/x/sys/unix"

	"github.com/crawlbox/crawlbox/appliance/api"
	"github.com/crawlbox/crawlbox/appliance/doctor"
	"github.com/crawlbox/crawlbox/appliance/fleet"
	"github.com/crawlbox/crawlbox/appliance/queueproc"
	"github.com/crawlbox/crawlbox/appliance/rollout"
	"github.com/crawlbox/crawlbox/appliance/swarm"
	"github.com/crawlbox/crawlbox/appliance/upgrade"
	"github.com/crawlbox/crawlbox/configs"
	"github.com/crawlbox/crawlbox/embedded/gossip"
	"github.com/crawlbox/crawlbox/embedded/registry"
)

// backend answers the local API of a node, manager or worker. What a worker
// has not is nil.
type backend struct {
	cfg         configs.Config
	mode        string // fleet.RoleManager or fleet.RoleWorker, as crawlbox was started
	version     string
	name        string // host name
	addr        string // advertised address
	started     time.Time
	log         *slog.Logger
	engine      *swarm.Engine
	runner      *rollout.Runner
	sources     *sources
	deploys     *deploys    // nil where the cluster was not made
	defined     *reconciler // of the services of the config file; nil there too
	gossip      *gossip.Gossip
	primaryHere bool              // registry, queue and tokens are on this node
	primary     func() string     // the node they are on, for people
	first       func() netip.Addr // where that is
	registry    *registry.Registry
	mirrorUsed  func() int64
	traffic     func() api.Traffic
	holders     func(context.Context) (holders, error)
	queue       *redis.Client
	queueState  func() queueproc.State // nil where queue is
	token       func(ctx context.Context, role string) (api.Token, error)
	access      permits
	remove      func(ctx context.Context, n fleet.Node) error // takes a node out of the cluster; nil where the CA is not
	// removeMember does it with a node that Swarm has not, by the ID of its certificate.
	removeMember func(ctx context.Context, id string) (bool, error)
	demoted      func(ctx context.Context) error // changes what a demoted node knew
	leave        func(ctx context.Context, force bool) error
	neighbours   func(ctx context.Context) []doctor.Neighbour
	problems     func() []string // what the node's own parts have to say
	upgradable   *upgrade.Node
	offers       *offers // nil where the cluster was not made
	upgradePlan  func(context.Context, upgrade.Offer) ([]upgrade.Step, error)
}

func (b *backend) Config(context.Context) (string, error) {
	out, err := configs.Show(b.cfg)
	return string(out), b.explain(err)
}

func (b *backend) Token(ctx context.Context, role string) (api.Token, error) {
	if b.token == nil {
		return api.Token{}, b.onlyOn("the cluster's CA")
	}
	t, err := b.token(ctx, role)
	return t, b.explain(err)
}

func (b *backend) Leave(ctx context.Context, force bool) error {
	return b.explain(b.leave(ctx, force))
}

// Neighbours implements api.Backend.
func (b *backend) Neighbours(ctx context.Context) ([]doctor.Neighbour, error) {
	return b.neighbours(ctx), nil
}

func (b *backend) Status(ctx context.Context) (api.Status, error) {
	st := api.Status{
		Version: b.version, Mode: b.mode, Node: b.name, Addr: b.addr, Started: b.started,
		Docker:   api.Docker{State: "running", Host: b.engine.Host()},
		Problems: b.problems(),
	}
	st.Problems = append(st.Problems, b.upgrades()...)
	b.storage(ctx, &st)
	info, err := b.engine.Info(ctx)
	if err != nil {
		st.Docker.State = "stopped"
		st.Problems = append(st.Problems, err.Error())
		return st, nil
	}
	st.Docker.Version, st.Manager, st.Cluster = info.Version, info.Manager, info.ClusterID
	if !info.Manager {
		return st, nil
	}
	snap, err := b.engine.Snapshot(ctx)
	if err != nil {
		st.Problems = append(st.Problems, err.Error())
		return st, nil
	}
	count(&st, snap)
	st.Problems = append(st.Problems, troubles(snap, b.lastWord(ctx, snap))...)
	if b.deploys != nil {
		st.Problems = append(st.Problems, b.deploys.failed(snap)...)
	}
	return st, nil
}

// storage fills in registry and queue.
func (b *backend) storage(ctx context.Context, st *api.Status) {
	port := b.cfg.Registry.Port
	st.Registry = api.Registry{Local: fmt.Sprintf("localhost:%d", port), ReadOnly: b.registry == nil, Dir: b.cfg.MirrorDir()}
	if b.registry != nil {
		st.Registry.Public, st.Registry.Dir = fmt.Sprintf("%s:%d", b.addr, port), b.cfg.RegistryDir()
		images, err := b.registry.Images(ctx)
		if err != nil {
			st.Problems = append(st.Problems, err.Error())
		}
		st.Registry.Images = len(images)
	}
	if b.mirrorUsed != nil {
		st.Registry.Used = b.mirrorUsed()
	}
	st.Registry.Traffic = b.traffic()
	st.Registry.Free = freeDisk(st.Registry.Dir)
	if b.queue != nil {
		st.Queue = &api.Queue{Addr: fmt.Sprintf("%s:%d", b.addr, b.cfg.Queue.Port)}
		is := b.queueState()
		st.Queue.Serving, st.Queue.Restarts, st.Queue.MaxMemory = is.Serving, is.Restarts, is.Progress.Bound
		st.Queue.Keys, st.Queue.Memory, st.Queue.Clients = is.Progress.Keys, is.Progress.Memory, is.Progress.Clients
		for _, m := range is.Missing {
			st.Queue.Lacks = append(st.Queue.Lacks, m.String())
		}
		st.Problems = append(st.Problems, queueTroubles(is)...)
	}
}

func count(st *api.Status, snap fleet.Snapshot) {
	st.Nodes.Want, st.Services.Want = len(snap.Nodes), len(snap.Services)
	for _, n := range snap.Nodes {
		ready := n.State == fleet.StateReady
		if ready {
			st.Nodes.Have++
		}
		if n.Role == fleet.RoleManager {
			st.Managers.Want++
			if ready {
				st.Managers.Have++
			}
		}
	}
	for _, s := range snap.Services {
		st.Tasks.Have += s.Running
		st.Tasks.Want += s.Desired - s.Complete
		if s.Settled() {
			st.Services.Have++
		}
	}
}

// lastWord says what a task failed by, and the line that it wrote last; of a few
// tasks at most, since the status is to be quick.
func (b *backend) lastWord(ctx context.Context, snap fleet.Snapshot) func(fleet.Task) string {
	left := 3
	return func(t fleet.Task) string {
		if left--; left < 0 {
			return t.Error
		}
		ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
		defer cancel()
		why := b.runner.Why(ctx, snap.Nodes, t)
		line := ""
		_ = b.engine.Logs(ctx, t.ID, true, swarm.LogOptions{Tail: 1}, func(l swarm.LogLine) error {
			if l.TaskID != "" {
				line = fmt.Sprintf(" (it wrote %q)", l.Text)
			}
			return nil
		})
		return why + line
	}
}

// howToRemove names the commands for a node that is gone; Swarm keeps a manager until
// it is demoted.
func howToRemove(n fleet.Node) string {
	if n.Role == fleet.RoleManager {
		return fmt.Sprintf("`crawlbox node demote %s` and `crawlbox node rm %s`", n.Display, n.Display)
	}
	return fmt.Sprintf("`crawlbox node rm %s`", n.Display)
}

// troubles are sentences on what is not as it should be.
func troubles(snap fleet.Snapshot, word func(fleet.Task) string) (list []string) {
	managers := 0
	list = namesakes(snap.Nodes)
	for _, n := range snap.Nodes {
		if n.Role == fleet.RoleManager {
			managers++
		}
		if n.State != fleet.StateReady {
			list = append(list, fmt.Sprintf("node %s (%s) is %s; look at it, or remove it with %s", n.Display, n.Addr, n.State, howToRemove(n)))
		}
	}
	if managers == 2 {
		list = append(list, "2 managers: if either fails, no change is possible; promote a third, or demote one")
	}
	for _, s := range snap.Services {
		loop, loops := fleet.CrashLoop(snap.TasksOf(s.ID), snap.Taken)
		switch {
		case loops:
			list = append(list, fmt.Sprintf("service %s: %s fails again and again, %d times in %s, on %s last: %s; Swarm starts it again %s after each; look with `crawlbox logs %s`", s.Name, loop.Last.Name(),
				loop.Failures, loop.Within.Round(time.Second), snap.NodeName(loop.Last.NodeID), word(loop.Last), s.RestartDelay, s.Name))
		case s.Update == "paused" || s.Update == "rollback_paused":
			list = append(list, fmt.Sprintf("service %s: its update stopped halfway; look with `crawlbox ps %s`", s.Name, s.Name))
		case s.Update == "rollback_completed":
			list = append(list, fmt.Sprintf("service %s: its last update failed and the version before it runs again (%s); look with `crawlbox ps --all %s`", s.Name, s.Message, s.Name))
		case !s.Settled():
			list = append(list, fmt.Sprintf("service %s: %d of %d running%s; look with `crawlbox ps %s`", s.Name, s.Running, s.Desired, lastError(snap, s.ID), s.Name))
		}
	}
	return list
}

// namesakes are machines with one host name. A node that is down may be what one
// of them was before it joined again.
func namesakes(nodes []fleet.Node) (list []string) {
	addrs := map[string][]string{}
	for _, n := range nodes {
		if n.State == fleet.StateReady {
			addrs[n.Name] = append(addrs[n.Name], n.Addr)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(addrs)) {
		if a := addrs[name]; len(a) > 1 {
			list = append(list, fmt.Sprintf("%d nodes have the host name %s (%s); give each a name of its own with `hostnamectl set-hostname NAME` and restart its Docker and crawlbox",
				len(a), name, strings.Join(a, ", ")))
		}
	}
	return list
}

func lastError(snap fleet.Snapshot, serviceID string) string {
	var last fleet.Task
	for _, t := range snap.Tasks {
		if t.ServiceID == serviceID && t.Error != "" && t.Since.After(last.Since) {
			last = t
		}
	}
	if last.Error == "" {
		return ""
	}
	return fmt.Sprintf(" (last error: %s)", last.Error)
}

// freeDisk returns the bytes that a process without privileges may still
// write below dir, 0 where that can't be told.
func freeDisk(dir string) int64 {
	var fs unix.Statfs_t
	if err := unix.Statfs(dir, &fs); err != nil {
		return 0
	}
	return int64(fs.Bavail) * fs.Bsize
}
