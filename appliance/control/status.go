package control

import (
	"context"
	"fmt"
	"time"

	"github.com/crawlbox/crawlbox/appliance/api"
	"github.com/crawlbox/crawlbox/appliance/base/disk"
	"github.com/crawlbox/crawlbox/appliance/fleet"
	"github.com/crawlbox/crawlbox/appliance/swarm"
	"github.com/crawlbox/crawlbox/appliance/upgrade"
	"github.com/crawlbox/crawlbox/embedded/gossip"
	"github.com/crawlbox/crawlbox/embedded/mirror"
	"github.com/crawlbox/crawlbox/embedded/registry"
)

// Overview answers api.Overview: what this node and its parts are, how the cluster is as
// far as its engine knows, and what is not as it should be.
type Overview struct {
	self    api.Status
	engine  *swarm.Engine
	why     func(context.Context, []fleet.Node, fleet.Task) string
	reports []Report
	checks  []Check
}

// Report adds to a status what one part of this node has to say.
type Report func(ctx context.Context, st *api.Status)

// Check returns sentences on what is not as it should be in the cluster.
type Check func(fleet.Snapshot) []string

// NewOverview returns the overview of a node that is as self says. why finds out what a
// task failed by.
func NewOverview(self api.Status, engine *swarm.Engine, why func(context.Context, []fleet.Node, fleet.Task) string,
	reports []Report, checks ...Check) *Overview {
	return &Overview{
		self:    self,
		engine:  engine,
		why:     why,
		reports: reports,
		checks:  checks,
	}
}

// Status implements api.Overview. What can't be asked is a problem of it, and no error.
func (o *Overview) Status(ctx context.Context) (api.Status, error) {
	st := o.self
	st.Docker = api.Docker{State: "running", Host: o.engine.Host()}
	for _, report := range o.reports {
		report(ctx, &st)
	}
	info, err := o.engine.Info(ctx)
	if err != nil {
		st.Docker.State = "stopped"
		st.Problems = append(st.Problems, err.Error())
		return st, nil
	}
	st.Docker.Version, st.Manager, st.Cluster = info.Version, info.Manager, info.ClusterID
	if !info.Manager {
		return st, nil
	}
	snap, err := o.engine.Snapshot(ctx)
	if err != nil {
		st.Problems = append(st.Problems, err.Error())
		return st, nil
	}
	count(&st, snap)
	st.Problems = append(st.Problems, nodeProblems(snap.Nodes)...)
	st.Problems = append(st.Problems, serviceProblems(snap, o.crashReasons(ctx, snap))...)
	for _, check := range o.checks {
		st.Problems = append(st.Problems, check(snap)...)
	}
	return st, nil
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
		if s.Converged() {
			st.Services.Have++
		}
	}
}

// maxCrashReasons bounds the tasks whose log is read: the status should be quick.
const maxCrashReasons = 3

// crashReasons returns why tasks failed that crash again and again, and the line that
// each wrote last, by the ID of the task.
func (o *Overview) crashReasons(ctx context.Context, snap fleet.Snapshot) map[string]string {
	said := map[string]string{}
	for _, t := range crashed(snap) {
		if len(said) == maxCrashReasons {
			break
		}
		said[t.ID] = o.crashReason(ctx, snap.Nodes, t)
	}
	return said
}

func (o *Overview) crashReason(ctx context.Context, nodes []fleet.Node, t fleet.Task) string {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	why := o.why(ctx, nodes, t)
	if said, _ := lastWords(ctx, o.engine, t.ID, 1); len(said) > 0 {
		why += fmt.Sprintf(" (it wrote %q)", said[0])
	}
	return why
}

// Problems reports what a part of the node has to say of itself.
func Problems(of func() []string) Report {
	return func(_ context.Context, st *api.Status) { st.Problems = append(st.Problems, of()...) }
}

// UpgradeReport reports how the upgrade of this node ended.
func UpgradeReport(node *upgrade.Node) Report {
	return Problems(func() []string {
		s, err := node.State()
		if err != nil {
			return []string{err.Error()}
		}
		if problem := s.Problem(); problem != "" {
			return []string{problem}
		}
		return nil
	})
}

// VersionsReport reports where nodes run different versions.
func VersionsReport(heard func() []gossip.Member) Report {
	return Problems(func() []string { return mixedVersions(heard()) })
}

// RegistryReport reports a registry, to which others push at addr, and that sent has been
// sent to other nodes in pieces.
func RegistryReport(reg *registry.Registry, local, addr, dir string, sent func() int64) Report {
	return func(ctx context.Context, st *api.Status) {
		images, err := reg.Images(ctx)
		if err != nil {
			st.Problems = append(st.Problems, err.Error())
		}
		st.Registry = api.Registry{
			Local:   local,
			Public:  addr,
			Dir:     dir,
			Free:    disk.FreeBytes(dir),
			Images:  len(images),
			Traffic: api.Traffic{Sent: sent()},
		}
	}
}

// MirrorReport reports the mirror of the registry on a node that has not the registry
// itself.
func MirrorReport(m *mirror.Mirror, local, dir string) Report {
	return func(_ context.Context, st *api.Status) {
		is := m.Stats()
		st.Registry = api.Registry{
			Local:    local,
			Dir:      dir,
			Free:     disk.FreeBytes(dir),
			Used:     is.Bytes,
			ReadOnly: true,
			Traffic: api.Traffic{
				FromManager: is.FromManager + is.Pieces.FromTrackers,
				FromNodes:   is.FromNodes + is.Pieces.FromPeers,
				FromCache:   is.FromCache,
				Sent:        is.Pieces.Sent,
				BadPieces:   is.Pieces.BadPieces,
				Retries:     is.Pieces.Retries,
			},
		}
	}
}

// LocalRegistry names the registry, or the mirror of it, on this machine.
func LocalRegistry(port uint16) string { return fmt.Sprintf("localhost:%d", port) }
