package swarm

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/swarm"
	"github.com/docker/docker/api/types/system"

	"github.com/crawlbox/crawlbox/appliance/base/clock"
	"github.com/crawlbox/crawlbox/appliance/base/words"
)

// Port is the port on which swarm managers listen.
const Port = 2377

// listenAddr is where an engine listens for other nodes: at all addresses that its machine has or
// gets, those of IPv6 among them.
var listenAddr = netip.AddrPortFrom(netip.IPv4Unspecified(), Port).String()

// leaveTimeout bounds a leave. The engine stops its tasks first, and one that has
// just joined makes its networks before it takes them away.
const leaveTimeout = 2 * time.Minute

// errAtIt is what an engine says that has waited 15 s for its part in the swarm to end: it is at it still.
var errAtIt = errors.New("context deadline exceeded")

// States of the engine's own membership in a swarm.
const (
	StateInactive = string(swarm.LocalNodeStateInactive)
	StatePending  = string(swarm.LocalNodeStatePending)
	StateActive   = string(swarm.LocalNodeStateActive)
	StateError    = string(swarm.LocalNodeStateError)
	StateLocked   = string(swarm.LocalNodeStateLocked)
)

// Info holds what the engine says of itself.
type Info struct {
	Version     string // of the engine
	LiveRestore bool
	State       string // of its swarm membership: StateInactive …
	Error       string // why State is StateError
	NodeID      string
	NodeAddr    netip.Addr
	Manager     bool      // it can be asked for the whole swarm
	ClusterID   string    // on managers only
	ClusterMade time.Time // on managers only
	Managers    []netip.AddrPort

	API           string   // version that is spoken with it
	Security      []string // names of its security options, such as rootless
	Authorization []string // plugins that are asked before it does anything
	LogDriver     string
	Root          string // data directory
	Images        string // directory that most of the disk goes to
	Storage       string // driver
	NoDType       bool   // the file system below the driver does not tell types of entries
	CgroupDriver  string
	CgroupVersion string
	NoMemoryLimit bool
}

// containerdDir is where a containerd of the distributions or of Docker's packages has
// what it keeps. The engine does not tell.
const containerdDir = "/var/lib/containerd"

// imagesDir returns where an engine keeps its images: new ones leave that to containerd.
func imagesDir(v system.Info) string {
	if slices.Contains(v.DriverStatus, [2]string{"driver-type", "io.containerd.snapshotter.v1"}) {
		return containerdDir
	}
	return v.DockerRootDir
}

func (e *Engine) Info(ctx context.Context) (Info, error) {
	ctx, cancel := bounded(ctx)
	defer cancel()
	v, err := e.cli.Info(ctx)
	if err != nil {
		return Info{}, e.explain(err)
	}
	info := Info{
		Version:       v.ServerVersion,
		LiveRestore:   v.LiveRestoreEnabled,
		State:         string(v.Swarm.LocalNodeState),
		Error:         v.Swarm.Error,
		NodeID:        v.Swarm.NodeID,
		Manager:       v.Swarm.ControlAvailable,
		API:           e.cli.ClientVersion(),
		Root:          v.DockerRootDir,
		Images:        imagesDir(v),
		Storage:       v.Driver,
		CgroupDriver:  v.CgroupDriver,
		CgroupVersion: v.CgroupVersion,
		NoMemoryLimit: !v.MemoryLimit,
		Security:      optionNames(v.SecurityOptions),
		Authorization: v.Plugins.Authorization,
		LogDriver:     v.LoggingDriver,
		NoDType:       slices.Contains(v.DriverStatus, [2]string{"Supports d_type", "false"}),
	}
	info.NodeAddr, _ = netip.ParseAddr(v.Swarm.NodeAddr)
	if v.Swarm.Cluster != nil {
		info.ClusterID, info.ClusterMade = v.Swarm.Cluster.ID, v.Swarm.Cluster.CreatedAt
	}
	for _, m := range v.Swarm.RemoteManagers {
		if ap, err := netip.ParseAddrPort(m.Addr); err == nil {
			info.Managers = append(info.Managers, ap)
		}
	}
	return info, nil
}

// optionNames returns the names of options such as "name=seccomp,profile=builtin".
func optionNames(options []string) (names []string) {
	for _, o := range options {
		for field := range strings.SplitSeq(o, ",") {
			if name, ok := strings.CutPrefix(field, "name="); ok {
				names = append(names, name)
			}
		}
	}
	return names
}

// IsWorker reports whether Swarm has the engine's node as a worker now.
func (e *Engine) IsWorker(ctx context.Context) bool {
	info, err := e.Info(ctx)
	return err == nil && info.State == StateActive && !info.Manager
}

// ClusterID returns Swarm's ID of the swarm that the engine manages.
func (e *Engine) ClusterID(ctx context.Context) (string, error) {
	info, err := e.Info(ctx)
	if err == nil && info.ClusterID == "" {
		err = ErrNoLeader
	}
	return info.ClusterID, err
}

// Init makes a new swarm with this engine as its first manager.
func (e *Engine) Init(ctx context.Context, advertise netip.Addr) error {
	ctx, cancel := bounded(ctx)
	defer cancel()
	_, err := e.cli.SwarmInit(ctx, swarm.InitRequest{
		ListenAddr:    listenAddr,
		AdvertiseAddr: advertise.String(),
	})
	return e.explain(err)
}

// InitAlone makes the engine, which manages a swarm that has lost most of its managers, the only manager of
// that. Nodes, services and what runs elsewhere stay; its own tasks are started again. The address that
// other nodes know stays too, whatever is given.
func (e *Engine) InitAlone(ctx context.Context, advertise netip.Addr) error {
	ctx, cancel := bounded(ctx)
	defer cancel()
	_, err := e.cli.SwarmInit(ctx, swarm.InitRequest{
		ListenAddr:      listenAddr,
		AdvertiseAddr:   advertise.String(),
		ForceNewCluster: true,
	})
	return e.explain(err)
}

// Join makes the engine a member of the swarm of the managers given and waits
// until it is, or ctx ends. One that is joining already, or is a member, is waited
// for: an engine answers after 20 s and goes on by itself. The engine's answer is
// believed, since its Info is dear and many machines may join at once. The engine finds the address
// that it advertises by itself, each time that it starts, where that is not valid.
func (e *Engine) Join(ctx context.Context, token string, managers []string, advertise netip.Addr) error {
	req := swarm.JoinRequest{
		ListenAddr:  listenAddr,
		RemoteAddrs: managers,
		JoinToken:   token,
	}
	if advertise.IsValid() {
		req.AdvertiseAddr = advertise.String()
	}
	err := e.join(ctx, req)
	if isMember(err) {
		info, infoErr := e.Info(ctx)
		if infoErr != nil || info.State != StateError {
			return errors.Join(infoErr, e.awaitActive(ctx))
		}
		// A join that failed for good must be forgotten before the next.
		if err := e.Leave(ctx, true); err != nil {
			return fmt.Errorf("forget a failed join: %w", err)
		}
		err = e.join(ctx, req)
	}
	if err != nil && strings.Contains(err.Error(), "Timeout was reached") {
		return e.awaitActive(ctx)
	}
	return e.explain(err)
}

func (e *Engine) join(ctx context.Context, req swarm.JoinRequest) error {
	ctx, cancel := bounded(ctx)
	defer cancel()
	return e.cli.SwarmJoin(ctx, req)
}

// isMember reports whether an engine refused to join because it is in a swarm, or on
// its way into one.
func isMember(err error) bool {
	return outcomeOf(err) == blocked
}

func (e *Engine) awaitActive(ctx context.Context) error {
	for {
		info, err := e.Info(ctx)
		switch {
		case err != nil:
			return err
		case info.State == StateActive:
			return nil
		case info.State == StateError:
			return fmt.Errorf("join the swarm: %s", words.OneLine(info.Error))
		case info.State == StateLocked:
			return errors.New("join the swarm: it is locked; unlock it with `docker swarm unlock`")
		}
		if err := clock.Sleep(ctx, 100*time.Millisecond); err != nil {
			return fmt.Errorf("join the swarm: still %s: %w", info.State, err)
		}
	}
}

// Leave takes the engine out of its swarm. A manager leaves only with force.
// An engine in no swarm is not an error. It takes up to leaveTimeout, and longer only where the engine hangs.
func (e *Engine) Leave(ctx context.Context, force bool) error {
	bounded, cancel := context.WithTimeout(ctx, leaveTimeout)
	defer cancel()
	slow := false
	err := insist(bounded, func(ctx context.Context) error {
		err := e.cli.SwarmLeave(ctx, force)
		if err != nil && strings.Contains(err.Error(), errAtIt.Error()) {
			slow = true
			return errAtIt
		}
		return err
	})
	if err != nil && slow && ctx.Err() == nil {
		return fmt.Errorf("Docker does not end its part in the swarm, for %s; restart it with `systemctl restart "+
			"docker`", leaveTimeout)
	}
	return e.explain(err)
}

// JoinToken returns Swarm's own token for a role, worker or manager.
func (e *Engine) JoinToken(ctx context.Context, role string) (string, error) {
	ctx, cancel := bounded(ctx)
	defer cancel()
	s, err := e.cli.SwarmInspect(ctx)
	if err != nil {
		return "", e.explain(err)
	}
	if role == string(swarm.NodeRoleManager) {
		return s.JoinTokens.Manager, nil
	}
	return s.JoinTokens.Worker, nil
}

// RotateJoinTokens gives Swarm new tokens for roles, worker and manager. Nobody can join
// with the old ones after it; members stay.
func (e *Engine) RotateJoinTokens(ctx context.Context, roles ...string) error {
	flags := swarm.UpdateFlags{
		RotateManagerToken: slices.Contains(roles, string(swarm.NodeRoleManager)),
		RotateWorkerToken:  slices.Contains(roles, string(swarm.NodeRoleWorker)),
	}
	return e.retryOutOfSequence(ctx, func(ctx context.Context) error {
		s, err := e.cli.SwarmInspect(ctx)
		if err != nil {
			return err
		}
		return e.cli.SwarmUpdate(ctx, s.Version, s.Spec, flags)
	})
}

// Settings holds what `docker swarm update` sets. Nil fields are left alone.
type Settings struct {
	Heartbeat   *time.Duration // between the nodes and the managers
	TaskHistory *int64         // ended tasks that are kept for each slot
}

func (e *Engine) Configure(ctx context.Context, want Settings) error {
	ctx, cancel := bounded(ctx)
	defer cancel()
	s, err := e.cli.SwarmInspect(ctx)
	if err != nil {
		return e.explain(err)
	}
	spec, changed := s.Spec, false
	if want.Heartbeat != nil && spec.Dispatcher.HeartbeatPeriod != *want.Heartbeat {
		spec.Dispatcher.HeartbeatPeriod, changed = *want.Heartbeat, true
	}
	if h := spec.Orchestration.TaskHistoryRetentionLimit; want.TaskHistory != nil &&
		(h == nil || *h != *want.TaskHistory) {
		spec.Orchestration.TaskHistoryRetentionLimit, changed = want.TaskHistory, true
	}
	if !changed {
		return nil
	}
	return e.explain(e.cli.SwarmUpdate(ctx, s.Version, spec, swarm.UpdateFlags{}))
}

func isNotManager(err error) bool {
	return cerrdefs.IsUnavailable(err) &&
		(strings.Contains(err.Error(), "not a swarm manager") || strings.Contains(err.Error(), "Worker nodes can't"))
}
