package node

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/crawlbox/crawlbox/appliance/agent"
	"github.com/crawlbox/crawlbox/appliance/api"
	"github.com/crawlbox/crawlbox/appliance/base/durable"
	"github.com/crawlbox/crawlbox/appliance/cluster/enroll"
	"github.com/crawlbox/crawlbox/appliance/cluster/pki"
	"github.com/crawlbox/crawlbox/appliance/cluster/state"
	"github.com/crawlbox/crawlbox/appliance/failpoint"
	"github.com/crawlbox/crawlbox/appliance/fleet"
)

// ErrNoNode is returned by LeaveOffline where this machine is not a node.
var ErrNoNode = errors.New("this machine is not a node of a cluster")

// membership is what the data folder says this machine is.
type membership int

const (
	stateNone   membership = iota
	stateMade              // it made its cluster, or took it over
	stateJoined            // it joined one
)

// stateOf reads only whether files are there; one that can't be looked at is.
func stateOf(dataDir string) membership {
	_, err := os.Stat(filepath.Join(dataDir, recordFile))
	switch {
	case !errors.Is(err, os.ErrNotExist):
		return stateMade
	case pki.HasIdentity(filepath.Join(dataDir, "node")):
		return stateJoined
	}
	return stateNone
}

// LeaveOffline takes this machine out of its cluster as the local API does, for
// a node on which no crawlbox runs; none can be started meanwhile.
func LeaveOffline(ctx context.Context, opts Options, force bool) error {
	is := stateOf(opts.Config.DataDir)
	if is == stateNone {
		return ErrNoNode
	}
	g, err := prepare(opts)
	if err != nil {
		return err
	}
	defer g.close()
	if g.socket, err = listenSocket(g.cfg.Socket, g.cfg.SocketGroup); err != nil {
		return err
	}
	g.leaving = func(error) {}
	if is == stateMade {
		return g.leaveMade(ctx, force)
	}
	return g.leaveJoined(ctx, force)
}

func (g *ground) leaveMade(ctx context.Context, force bool) error {
	r, err := loadRecord(g.dir(recordFile))
	if err != nil {
		return err
	}
	g.addr = r.Addr
	m := &Manager{ground: g, record: r}
	return m.leave(ctx, force)
}

func (g *ground) leaveJoined(ctx context.Context, force bool) error {
	id, err := pki.LoadIdentity(g.dir("node"))
	if err != nil {
		return err
	}
	w := &Worker{ground: g, role: id.Node.Role, identity: id, client: agent.NewClient(agent.AtNodes(id, g.cfg.Node.Port), id, fleet.RoleManager)}
	defer w.client.CloseIdleConnections()
	return w.leave(ctx, force)
}

// leave ends the cluster: without this node there is no registry, no queue and
// no way to join. The images and the queue stay on disk.
func (m *Manager) leave(ctx context.Context, force bool) error {
	if !force {
		return api.Conflict("%s holds the cluster's registry, queue and CA: leaving ends the cluster and removes its services; do so with --force", m.name)
	}
	if err := m.engine.Leave(ctx, true); err != nil {
		return err
	}
	// The record goes last: until it is gone, a leave that was cut off can be
	// run again.
	if err := keepRegistries(m.cfg); err != nil {
		return err
	}
	err := errors.Join(pki.RemoveCA(pki.CertsDir, m.registryAddr()), enroll.Forget(m.dir("node")),
		os.RemoveAll(state.Dir(m.cfg.DataDir)), os.RemoveAll(m.dir("ca")), os.RemoveAll(m.dir("gossip.json")))
	if err == nil {
		err = os.RemoveAll(m.record.path)
	}
	m.leaving(ErrLeft)
	return err
}

// leave takes the node out of the cluster, here and on the manager.
func (w *Worker) leave(ctx context.Context, force bool) error {
	info, err := w.engine.Info(ctx)
	if err != nil {
		return err
	}
	if info.Manager && !force {
		return api.Conflict("this node is a swarm manager; demote it first on another one with `crawlbox node demote %s`", w.name)
	}
	if err := agent.Reachable(ctx, w.managers()); err != nil && !force {
		return api.Conflict("the manager %s does not answer (%s); try again, or leave with --force and remove this node there with `crawlbox node rm %s`", w.primary(), err, w.name)
	}
	swarmID, err := w.leavingAs(info.NodeID)
	if err != nil {
		return err
	}
	if err := w.engine.Leave(ctx, force); err != nil {
		return err
	}
	failpoint.Hit(failpoint.LeaveDocker)
	if err := agent.Leave(ctx, w.managers(), swarmID); err != nil {
		w.log.Warn("the manager could not take this node off its list; do it there with `crawlbox node rm "+w.name+"`", "error", err)
	}
	failpoint.Hit(failpoint.LeaveGoodbye)
	if err := w.forget(); err != nil {
		return err
	}
	w.leaving(ErrLeft)
	return nil
}

// leavingFile has the node's ID in the swarm while it leaves: Docker, which has left,
// knows it no longer when a leave that was cut off is run again.
const leavingFile = "leaving"

// leavingAs keeps the ID, or returns the one that was kept.
func (w *Worker) leavingAs(swarmID string) (string, error) {
	path := filepath.Join(w.dir("node"), leavingFile)
	if swarmID != "" {
		return swarmID, durable.WriteFile(path, []byte(swarmID), 0o600)
	}
	kept, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return "", err
	}
	return string(kept), nil
}

// forget removes what the node kept of the cluster. The identity goes last:
// until it is gone, a leave that was cut off can be run again.
func (w *Worker) forget() error {
	errs := []error{keepRegistries(w.cfg)}
	for _, registry := range w.registries() {
		errs = append(errs, pki.RemoveCA(pki.CertsDir, registry))
	}
	errs = append(errs, os.RemoveAll(w.cfg.MirrorDir()), os.RemoveAll(filepath.Join(w.dir("node"), leavingFile)))
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("forget the cluster: %w", err)
	}
	return enroll.Forget(w.dir("node"))
}
