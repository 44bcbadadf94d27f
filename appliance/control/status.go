package control

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
	"github.com/crawlbox/crawlbox/appliance/deploy"
	"github.com/crawlbox/crawlbox/appliance/doctor"
	"github.com/crawlbox/crawlbox/appliance/fleet"
	"github.com/crawlbox/crawlbox/appliance/queueproc"
	"github.com/crawlbox/crawlbox/appliance/swarm"
	"github.com/crawlbox/crawlbox/appliance/upgrade"
	"github.com/crawlbox/crawlbox/configs"
	"github.com/crawlbox/crawlbox/embedded/gossip"
	"github.com/crawlbox/crawlbox/embedded/registry"
)

// Backend answers the local API of a node, manager or worker. What a worker
// has not is nil.
type Backend struct {
	Cfg           configs.Config
	Mode          string // fleet.RoleManager or fleet.RoleWorker, as crawlbox was started
	Version       string
	Name          string // host name
	Addr          string // advertised address
	Started       time.Time
	Log           *slog.Logger
	Engine        *swarm.Engine
	Runner        *deploy.Runner
	Sources       Sources
	Deploys       Deploys // nil where the cluster was not made
	Defined       Defined // of the services of the config file; nil there too
	Gossip        *gossip.Gossip
	PrimaryHere   bool              // registry, queue and tokens are on this node
	Primary       func() string     // the node they are on, for people
	First         func() netip.Addr // where that is
	Registry      *registry.Registry
	MirrorUsed    func() int64
	Traffic       func() api.Traffic
	Holders       func(context.Context) (of func(digest string) *fleet.Holders, err error)
	Queue         *redis.Client
	QueueState    func() queueproc.State // nil where queue is
	StandingToken func(ctx context.Context, role string) (api.Token, error)
	Access        Access
	Remove        func(ctx context.Context, n fleet.Node) error // takes a node out of the cluster; nil where the CA is not
	// RemoveMember does it with a node that Swarm has not, by the ID of its certificate.
	RemoveMember  func(ctx context.Context, id string) (bool, error)
	Demoted       func(ctx context.Context) error // changes what a demoted node knew
	LeaveCluster  func(ctx context.Context, force bool) error
	AskNeighbours func(ctx context.Context) []doctor.Neighbour
	NodeProblems  func() []string // what the node's own parts have to say
	Upgradable    *upgrade.Node
	Offers        Offers // nil where the cluster was not made
}

func (b *Backend) Config(context.Context) (string, error) {
	out, err := configs.Show(b.Cfg)
	return string(out), b.explain(err)
}

func (b *Backend) Token(ctx context.Context, role string) (api.Token, error) {
	if b.StandingToken == nil {
		return api.Token{}, b.onlyOn("the cluster's CA")
	}
	t, err := b.StandingToken(ctx, role)
	return t, b.explain(err)
}

func (b *Backend) Leave(ctx context.Context, force bool) error {
	return b.explain(b.LeaveCluster(ctx, force))
}

// Neighbours implements api.Backend.
func (b *Backend) Neighbours(ctx context.Context) ([]doctor.Neighbour, error) {
	return b.AskNeighbours(ctx), nil
}

func (b *Backend) Status(ctx context.Context) (api.Status, error) {
	st := api.Status{
		Version: b.Version, Mode: b.Mode, Node: b.Name, Addr: b.Addr, Started: b.Started,
		Docker:   api.Docker{State: "running", Host: b.Engine.Host()},
		Problems: b.NodeProblems(),
	}
	st.Problems = append(st.Problems, b.upgrades()...)
	b.storage(ctx, &st)
	info, err := b.Engine.Info(ctx)
	if err != nil {
		st.Docker.State = "stopped"
		st.Problems = append(st.Problems, err.Error())
		return st, nil
	}
	st.Docker.Version, st.Manager, st.Cluster = info.Version, info.Manager, info.ClusterID
	if !info.Manager {
		return st, nil
	}
	snap, err := b.Engine.Snapshot(ctx)
	if err != nil {
		st.Problems = append(st.Problems, err.Error())
		return st, nil
	}
	count(&st, snap)
	st.Problems = append(st.Problems, troubles(snap, b.lastWord(ctx, snap))...)
	if b.Deploys != nil {
		st.Problems = append(st.Problems, b.Deploys.Failed(snap)...)
	}
	return st, nil
}

// storage fills in registry and queue.
func (b *Backend) storage(ctx context.Context, st *api.Status) {
	port := b.Cfg.Registry.Port
	st.Registry = api.Registry{Local: fmt.Sprintf("localhost:%d", port), ReadOnly: b.Registry == nil, Dir: b.Cfg.MirrorDir()}
	if b.Registry != nil {
		st.Registry.Public, st.Registry.Dir = fmt.Sprintf("%s:%d", b.Addr, port), b.Cfg.RegistryDir()
		images, err := b.Registry.Images(ctx)
		if err != nil {
			st.Problems = append(st.Problems, err.Error())
		}
		st.Registry.Images = len(images)
	}
	if b.MirrorUsed != nil {
		st.Registry.Used = b.MirrorUsed()
	}
	st.Registry.Traffic = b.Traffic()
	st.Registry.Free = FreeDisk(st.Registry.Dir)
	if b.Queue != nil {
		st.Queue = &api.Queue{Addr: fmt.Sprintf("%s:%d", b.Addr, b.Cfg.Queue.Port)}
		is := b.QueueState()
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
func (b *Backend) lastWord(ctx context.Context, snap fleet.Snapshot) func(fleet.Task) string {
	left := 3
	return func(t fleet.Task) string {
		if left--; left < 0 {
			return t.Error
		}
		ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
		defer cancel()
		why := b.Runner.Why(ctx, snap.Nodes, t)
		line := ""
		_ = b.Engine.Logs(ctx, t.ID, true, swarm.LogOptions{Tail: 1}, func(l swarm.LogLine) error {
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

// FreeDisk returns the bytes that a process without privileges may still
// write below dir, 0 where that can't be told.
func FreeDisk(dir string) int64 {
	var fs unix.Statfs_t
	if err := unix.Statfs(dir, &fs); err != nil {
		return 0
	}
	return int64(fs.Bavail) * fs.Bsize
}
