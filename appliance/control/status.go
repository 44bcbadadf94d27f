package control

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	"github.com/crawlbox/crawlbox/appliance/api"
	"github.com/crawlbox/crawlbox/appliance/base/disk"
	"github.com/crawlbox/crawlbox/appliance/base/words"
	"github.com/crawlbox/crawlbox/appliance/control/problems"
	"github.com/crawlbox/crawlbox/appliance/controller/services"
	"github.com/crawlbox/crawlbox/appliance/deploy/history"
	"github.com/crawlbox/crawlbox/appliance/doctor"
	"github.com/crawlbox/crawlbox/appliance/fleet"
	"github.com/crawlbox/crawlbox/appliance/swarm"
	"github.com/crawlbox/crawlbox/appliance/upgrade"
	"github.com/crawlbox/crawlbox/embedded/mirror"
	"github.com/crawlbox/crawlbox/embedded/registry"
)

// Overview answers api.Overview: what this node and its parts are, how the cluster is as
// far as its engine knows, and what is not as it should be.
type Overview struct {
	self    api.Status
	engine  *swarm.Engine
	view    *View
	why     func(context.Context, []fleet.Node, fleet.Task) string
	reports []Report
}

// Report adds to a status what one part of this node has to say, and to what is seen what it
// knows.
type Report func(ctx context.Context, st *api.Status, seen *problems.Seen)

// NewOverview returns the overview of a node that is as self says. why finds out what a
// task failed by.
func NewOverview(self api.Status, engine *swarm.Engine, view *View,
	why func(context.Context, []fleet.Node, fleet.Task) string, reports ...Report) *Overview {
	return &Overview{
		self:    self,
		engine:  engine,
		view:    view,
		why:     why,
		reports: reports,
	}
}

// Status implements api.Overview. What can't be asked is a problem of it, and no error.
func (o *Overview) Status(ctx context.Context) (api.Status, error) {
	st, _, err := o.Look(ctx)
	return st, err
}

// Look returns the status, and what its problems were found from.
func (o *Overview) Look(ctx context.Context) (api.Status, problems.Seen, error) {
	st := o.self
	seen := problems.Seen{Now: time.Now(), Started: st.Started, Members: o.view.heard()}
	seen.Docker = o.ask(ctx, &st, &seen)
	for _, report := range o.reports {
		report(ctx, &st, &seen)
	}
	st.Problems = problems.Find(seen)
	return st, seen, nil
}

// ask asks the engine how it and, where it manages the swarm, the cluster are.
func (o *Overview) ask(ctx context.Context, st *api.Status, seen *problems.Seen) error {
	st.Docker = api.Docker{State: "stopped", Host: o.engine.Host()}
	info, err := o.engine.Info(ctx)
	if err != nil {
		return err
	}
	st.Docker.State = "running"
	st.Docker.Version, st.Manager, st.Cluster = info.Version, info.Manager, info.ClusterID
	if !info.Manager {
		return nil
	}
	snap, err := o.view.Snapshot(ctx)
	if err != nil {
		return err
	}
	count(st, snap)
	seen.Cluster, seen.Why = &snap, o.crashReasons(ctx, snap)
	return nil
}

func count(st *api.Status, snap fleet.Snapshot) {
	st.Nodes.Want = len(snap.Nodes)
	for _, n := range snap.Nodes {
		ready := n.State == fleet.StateReady
		if ready {
			st.Nodes.Have++
		}
		if ready && n.Availability == fleet.AvailabilityActive {
			st.Active++
		}
	}
	m := fleet.CountManagers(snap.Nodes)
	st.Managers = api.Count{Have: m.Up, Want: m.All}
	st.State = api.Count{Have: m.StateUp, Want: m.State}
	for _, s := range snap.Services {
		st.Tasks.Have += s.Running
		st.Tasks.Want += s.Desired - s.Complete
		if s.IsRun() {
			continue
		}
		if st.Services.Want++; s.Converged() {
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
	for _, t := range problems.Crashed(snap) {
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

// UpgradeReport reports how the upgrade of this node ended.
func UpgradeReport(node *upgrade.Node) Report {
	return func(ctx context.Context, st *api.Status, seen *problems.Seen) {
		s, err := node.State()
		text, level := s.Problem(), api.Warning
		switch {
		case err != nil:
			text = err.Error()
		case s.TakenBack(): // and the version before runs
			level = api.Note
		}
		PartReport(level, api.UpgradeFailed, func() string { return text })(ctx, st, seen)
	}
}

// PartReport reports what a part of the node knows to be wrong with itself, if it does: in a
// sentence of a level and a kind.
func PartReport(level api.Level, kind string, problem func() string) Report {
	return func(_ context.Context, _ *api.Status, seen *problems.Seen) {
		if text := problem(); text != "" {
			seen.Parts = append(seen.Parts, api.Problem{Level: level, Kind: kind, Text: words.OneLine(text)})
		}
	}
}

// While has a report be of nothing while it is not the time for it.
func (report Report) While(is func() bool) Report {
	return func(ctx context.Context, st *api.Status, seen *problems.Seen) {
		if is() {
			report(ctx, st, seen)
		}
	}
}

// ConfigReport reports what notes say of config files and of services, and that services are told of a queue for which
// marks stand now.
func ConfigReport(notes func() []services.Note, marks func() []string) Report {
	return func(_ context.Context, _ *api.Status, seen *problems.Seen) {
		seen.Config, seen.QueueMarks = notes(), marks()
	}
}

// DeploysReport reports what the history knows of the last change of each service.
func DeploysReport(past History) Report {
	return func(_ context.Context, _ *api.Status, seen *problems.Seen) {
		seen.Last = func(service string) (e history.Entry, ok bool) {
			if list := past.List(service); len(list) > 0 {
				return list[0], true
			}
			return e, false
		}
	}
}

// FollowsReport reports which manager a node follows that has not the state: where it is, and what it is called.
func FollowsReport(addr func() netip.Addr, name func() string) Report {
	return func(_ context.Context, _ *api.Status, seen *problems.Seen) {
		seen.Follows, seen.FollowsName = addr(), name()
	}
}

// QueueHomeReport reports where the home of the queue is, if that is not this node.
func QueueHomeReport(addr func() netip.Addr) Report {
	return func(_ context.Context, _ *api.Status, seen *problems.Seen) { seen.QueueHome = addr() }
}

// MachineReport reports what is wrong with this machine: what was found there, and the address
// that it no longer has.
func MachineReport(findings func(context.Context) []doctor.Finding, moved func() *doctor.Moved) Report {
	return func(ctx context.Context, _ *api.Status, seen *problems.Seen) {
		seen.Findings, seen.Moved = findings(ctx), moved()
	}
}

// RegistryReport reports a registry, to which others push at addr, and that sent has been
// sent to other nodes in pieces.
func RegistryReport(reg *registry.Registry, local, addr, dir string, sent func() int64) Report {
	return func(ctx context.Context, st *api.Status, seen *problems.Seen) {
		images, err := reg.Images(ctx)
		if err != nil {
			seen.Parts = append(seen.Parts, api.Problem{Level: api.Bad, Kind: api.MachineUnfit, Text: words.OneLine(
				fmt.Sprintf("the images of the registry can't be listed: %s; look at its directory %s", err, dir))})
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
	return func(_ context.Context, st *api.Status, _ *problems.Seen) {
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
