package setup

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/crawlbox/crawlbox/appliance/agent"
	"github.com/crawlbox/crawlbox/appliance/api"
	"github.com/crawlbox/crawlbox/appliance/base/clock"
	"github.com/crawlbox/crawlbox/appliance/base/durable"
	"github.com/crawlbox/crawlbox/appliance/base/words"
	"github.com/crawlbox/crawlbox/appliance/cluster/enroll"
	"github.com/crawlbox/crawlbox/appliance/cluster/pki"
	"github.com/crawlbox/crawlbox/appliance/cluster/state"
	"github.com/crawlbox/crawlbox/appliance/failpoint"
	"github.com/crawlbox/crawlbox/appliance/fleet"
	"github.com/crawlbox/crawlbox/appliance/swarm"
	"github.com/crawlbox/crawlbox/embedded/gossip"
)

// ErrUnclean is in the error of End and Leave where the machine is out of its cluster, and has
// something left of it.
var ErrUnclean = errors.New("this node has left the cluster, but keeps some of its files; mend what is in the way, " +
	"and run `crawlbox leave --force` again")

func unclean(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%w (%s)", ErrUnclean, words.OneLine(err.Error()))
}

// end ends the cluster whose last manager this machine is: without this node there is no registry,
// no queue and no way to join. The images and the queue stay on disk.
func (m *Machine) end(ctx context.Context, force bool) error {
	r, err := LoadRecord(m.path(RecordFile))
	if err != nil {
		return err
	}
	if !force {
		return api.Conflict("%s is the last manager, with the cluster's registry, queue and CA: leaving ends the "+
			"cluster and removes its services; do so with --force, or have another node go on first with "+
			"`crawlbox move NODE`", m.Name)
	}
	if err := m.Engine.Leave(ctx, true); err != nil {
		return err
	}
	return unclean(m.clean(r))
}

// clean removes what the machine kept of the cluster that it has ended. The record goes last:
// until it is gone, a leave that was cut off can be run again.
func (m *Machine) clean(r *Record) error {
	if err := keepRegistries(m.Config); err != nil {
		return err
	}
	err := errors.Join(
		m.distrust(),
		enroll.Forget(NodeDir(m.Config)),
		state.Remove(m.Config.DataDir),
		ForgetCluster(m.Config),
	)
	if err != nil {
		return err
	}
	return os.RemoveAll(r.path)
}

// Leave takes a machine out of its cluster, here and on the other managers, which manager names for
// people. Where it is the last manager, that ends the cluster. The queue, if it is here, leaves with it.
func (m *Machine) Leave(ctx context.Context, id *pki.Identity, managers []agent.Target, manager string,
	force bool) error {
	info, err := m.Engine.Info(ctx)
	if err != nil {
		return err
	}
	managers = slices.DeleteFunc(managers, func(t agent.Target) bool { return t.Addr.Addr() == id.Self.Addr })
	home := StateOf(m.Config) == Created
	if home && m.isLast(info.State, managers) {
		return m.end(ctx, force)
	}
	switch {
	case force:
	case home:
		return api.Conflict("%s is the home of the cluster's queue, which leaves with it: run `crawlbox move NODE` "+
			"first, or leave with --force, and the queue stays on the disk here, out of the cluster", m.Name)
	case info.Manager:
		return api.Conflict("this node is a swarm manager; demote it first on another one with `crawlbox node "+
			"demote %s`", m.Name)
	}
	if err := agent.Reachable(ctx, managers); err != nil && !force {
		return api.Conflict("the manager %s does not answer (%s); try again, or leave with --force and remove this "+
			"node there with `crawlbox node rm %s`", manager, err, m.Name)
	}
	swarmID, err := m.leavingAs(info.NodeID)
	if err != nil {
		return err
	}
	if info.Manager {
		m.stepDown(ctx, swarmID)
	}
	if err := m.Engine.Leave(ctx, force); err != nil {
		return err
	}
	failpoint.Hit(failpoint.LeaveDocker)
	if err := agent.Leave(ctx, managers, swarmID); err != nil {
		m.Log.Warn("the manager could not take this node off its list; do it there with `crawlbox node rm "+m.Name+"`",
			"error", err)
	}
	failpoint.Hit(failpoint.LeaveGoodbye)
	return unclean(m.forget())
}

// isLast reports whether the cluster that this machine created, or whose queue it has, has no other manager, as
// far as this machine knows. One that is out of its swarm, as after a restore elsewhere, is that too, unless it
// was about to leave.
func (m *Machine) isLast(swarmState string, others []agent.Target) bool {
	_, err := os.Stat(filepath.Join(NodeDir(m.Config), leavingFile))
	return len(others) == 0 || swarmState == swarm.StateInactive && err != nil
}

// stepDownTimeout bounds how long a manager that leaves waits until Swarm goes on without it.
const stepDownTimeout = 20 * time.Second

// stepDown has Swarm go on without this manager before it leaves: otherwise one of two would wait for it for good,
// and none could take it off the list. Where Swarm can't, it leaves all the same.
func (m *Machine) stepDown(ctx context.Context, swarmID string) {
	ctx, cancel := context.WithTimeoutCause(ctx, stepDownTimeout, errors.New("Swarm has it as a manager still"))
	defer cancel()
	err := m.Engine.SetRole(ctx, swarmID, fleet.RoleWorker)
	for err == nil {
		var info swarm.Info
		if info, err = m.Engine.Info(ctx); err == nil && !info.Manager {
			return
		}
		if clock.Sleep(ctx, 200*time.Millisecond) != nil {
			err = context.Cause(ctx)
		}
	}
	m.Log.Warn("this manager leaves without Swarm's consent: if the others have no leader then, run `crawlbox "+
		"recover` on one of them", "error", err)
}

// LeaveOffline takes a machine that is a node out of its cluster while no crawlbox runs on it.
func (m *Machine) LeaveOffline(ctx context.Context, force bool) error {
	id, err := JoinedAs(m.Config)
	if err != nil && StateOf(m.Config) == Created {
		return m.end(ctx, force)
	}
	if err != nil {
		return m.Abandon(ctx, err, force)
	}
	view := agent.NewView(id, id.Self.Addr, m.Config.Node.Port, func() []gossip.Member { return nil })
	managers := agent.NewClient(view.At, id, fleet.RoleManager)
	defer managers.CloseIdleConnections()
	return m.Leave(ctx, id, view.Targets(managers), view.ManagerName(), force)
}

// Abandon takes a machine out of its cluster that joined, and whose identity cannot be read for a
// reason, which it returns unless it is forced: here only, since no manager would know who asks.
func (m *Machine) Abandon(ctx context.Context, unread error, force bool) error {
	if !force {
		return unread
	}
	if err := m.Engine.Leave(ctx, true); err != nil {
		return err
	}
	m.Log.Warn("this node's identity cannot be read, so no manager was told; do it there with `crawlbox node rm " +
		m.Name + "`")
	return unclean(m.forget())
}

// distrust has Docker no longer trust the registries of the cluster.
func (m *Machine) distrust() error {
	id, err := pki.LoadIdentity(NodeDir(m.Config))
	if err != nil {
		return pki.RemoveAllCAs(pki.CertsDir)
	}
	return pki.RemoveCAs(pki.CertsDir, id.CAPEM())
}

// leavingFile has the node's ID in the swarm while it leaves: Docker, which has left,
// knows it no longer when a leave that was cut off is run again.
const leavingFile = "leaving"

// leavingAs keeps the ID, or returns the one that was kept.
func (m *Machine) leavingAs(swarmID string) (string, error) {
	path := filepath.Join(NodeDir(m.Config), leavingFile)
	if swarmID != "" {
		return swarmID, durable.WriteFile(path, []byte(swarmID), 0o600)
	}
	kept, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return "", err
	}
	return string(kept), nil
}

// forget removes what the node kept of the cluster. The identity goes last: until it is gone,
// a leave that was cut off can be run again.
func (m *Machine) forget() error {
	err := errors.Join(
		keepRegistries(m.Config),
		m.distrust(),
		state.Remove(m.Config.DataDir),
		os.RemoveAll(m.Config.MirrorDir()),
		os.RemoveAll(filepath.Join(NodeDir(m.Config), leavingFile)),
		ForgetCluster(m.Config),
		os.RemoveAll(m.path(RecordFile)),
	)
	if err != nil {
		return err
	}
	return enroll.Forget(NodeDir(m.Config))
}
