// Package setup makes a machine a node of a cluster and takes it out again: it creates
// the cluster with its swarm, or joins the cluster of a join token, or finds that an
// earlier start has done so.
//
// A start goes the same way each time, whatever a crash left: check, open the ports, and
// then do what the record (cluster.json, of a machine that created its cluster) or the
// journal (of one that joined) does not say is done. Until the ports are open nothing on
// the machine is changed, so whatever can be refused is refused before.
package setup

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"

	"github.com/crawlbox/crawlbox/appliance/cluster/pki"
	"github.com/crawlbox/crawlbox/appliance/doctor"
	"github.com/crawlbox/crawlbox/appliance/fleet"
	"github.com/crawlbox/crawlbox/appliance/swarm"
	"github.com/crawlbox/crawlbox/configs"
)

// Machine is one that is to be a node, or is one.
type Machine struct {
	Config  configs.Config
	Name    string // host name
	Version string // of crawlbox
	Engine  *swarm.Engine
	Log     *slog.Logger
	// Phase is told what the machine is about, in a few words.
	Phase func(text string)
	// Open opens the ports of a node at its address, all or none; first: those too that
	// only the first manager of a cluster has.
	Open func(addr netip.Addr, first bool) error
}

// NodeDir returns where a node that joined keeps its identity and its journal.
func NodeDir(cfg configs.Config) string { return filepath.Join(cfg.DataDir, "node") }

// open opens the ports of a node at its address, once that can be used. Where it can't since the
// machine has lost that address, the error says so.
func (m *Machine) open(ctx context.Context, addr netip.Addr, first bool) error {
	doctor.AwaitUsable(ctx, addr)
	err := m.Open(addr, first)
	if moved := Moved(m.Config); err != nil && moved != nil {
		return fmt.Errorf("%s; %s (%w)", moved.Text(), moved.Remedy(), err)
	}
	return err
}

func (m *Machine) path(name string) string { return filepath.Join(m.Config.DataDir, name) }

// checkEngine asks the engine of a node that cannot start without it.
func (m *Machine) checkEngine(ctx context.Context) (swarm.Info, error) {
	info, err := m.Engine.Info(ctx)
	if err != nil {
		return info, err
	}
	return info, EngineOf(info).Check()
}

func EngineOf(i swarm.Info) doctor.Engine {
	return doctor.Engine{
		Version:       i.Version,
		API:           i.API,
		LiveRestore:   i.LiveRestore,
		Security:      i.Security,
		Authorization: i.Authorization,
		LogDriver:     i.LogDriver,
		Root:          i.Root,
		Storage:       i.Storage,
		NoDType:       i.NoDType,
		CgroupVersion: i.CgroupVersion,
		CgroupDriver:  i.CgroupDriver,
		NoMemoryLimit: i.NoMemoryLimit,
	}
}

// State says what a machine is, according to its data directory.
type State int

// States of a machine.
const (
	None    State = iota // no node
	Created              // it created its cluster, or took it over
	Joined               // it joined one
)

// StateOf reads only whether files are there; one that can't be looked at is.
func StateOf(cfg configs.Config) State {
	_, err := os.Stat(filepath.Join(cfg.DataDir, RecordFile))
	switch {
	case !errors.Is(err, os.ErrNotExist):
		return Created
	case pki.HasIdentity(NodeDir(cfg)):
		return Joined
	}
	return None
}

// Moved returns where this machine has gone, if it is a node that no longer has the address that
// others know, though it had it; nil otherwise. An address that the config names may be one that
// it never had, behind NAT.
func Moved(cfg configs.Config) *doctor.Moved {
	found := !cfg.AdvertiseAddr.IsValid()
	switch StateOf(cfg) {
	case Created:
		r, err := LoadRecord(filepath.Join(cfg.DataDir, RecordFile))
		if err == nil && r.Addr.IsValid() && (r.Own || found) {
			return doctor.FindMoved(r.Addr, true)
		}
	case Joined:
		if id, err := pki.LoadIdentity(NodeDir(cfg)); err == nil && id.Self.Addr.IsValid() && found {
			return doctor.FindMoved(id.Self.Addr, false)
		}
	}
	return nil
}

// RoleOf returns the role that a machine has as a node, empty where it is none.
func RoleOf(cfg configs.Config) string {
	switch StateOf(cfg) {
	case Created:
		return fleet.RoleManager
	case Joined:
		if id, err := pki.LoadIdentity(NodeDir(cfg)); err == nil {
			return id.Node.Role
		}
	}
	return ""
}
