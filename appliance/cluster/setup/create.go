package setup

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/crawlbox/crawlbox/appliance/base/clock"
	"github.com/crawlbox/crawlbox/appliance/doctor"
	"github.com/crawlbox/crawlbox/appliance/swarm"
)

// electionTimeout bounds the wait for a swarm to have a leader after the engine
// started.
const electionTimeout = time.Minute

// swarmAction says what a manager does about the swarm that it finds on its machine.
type swarmAction int

const (
	swarmMissing swarmAction = iota // make one
	swarmOurs                       // take it up
	swarmAdopt                      // take it over
)

// ClassifySwarm decides whose swarm the engine is in. It changes nothing.
func ClassifySwarm(info swarm.Info, r Record, adopt bool) (swarmAction, error) {
	switch {
	case info.State == swarm.StateInactive && r.Cluster != "":
		return 0, fmt.Errorf("Docker has left the swarm that crawlbox made on this machine; end it here too with " +
			"`crawlbox leave --force`, then start it anew")
	case info.State == swarm.StateInactive:
		return swarmMissing, nil
	case info.State == swarm.StateLocked:
		return 0, fmt.Errorf("the swarm of this machine is locked; unlock it with `docker swarm unlock`")
	case info.State == swarm.StateError:
		return 0, fmt.Errorf("the swarm of this machine has failed: %s; mend it, or leave it with `docker swarm "+
			"leave --force`", info.Error)
	case !info.Manager && r.Cluster != "":
		return 0, fmt.Errorf("this node was demoted to a worker; promote it on another manager with `crawlbox node " +
			"promote`")
	case !info.Manager:
		return 0, fmt.Errorf("this machine is a worker in the swarm of %v; leave it first with `docker swarm leave`",
			info.Managers)
	case r.Cluster == info.ClusterID:
		return swarmOurs, nil
	case r.Cluster == "" && !r.Begun.IsZero() && info.ClusterMade.After(r.Begun):
		return swarmOurs, nil
	case adopt:
		return swarmAdopt, nil
	}
	return 0, errors.New("this machine is already in a swarm that crawlbox did not make; take it over with " +
		"--adopt-swarm, or leave it with `docker swarm leave --force`")
}

// Create makes this machine the first manager of a cluster, or finds that it is: with a
// swarm that it makes, takes up or, where adopt is true, takes over. It returns the
// address that others reach the node at. A node that was set up before goes on without
// its Docker Engine.
func (m *Machine) Create(ctx context.Context, adopt bool) (netip.Addr, error) {
	var none netip.Addr
	if err := m.standDown(ctx); err != nil {
		return none, err
	}
	r, err := LoadRecord(m.path(RecordFile))
	if err != nil {
		return none, err
	}
	info, err := m.checkEngine(ctx)
	if swarm.IsUnreachable(err) && r.Cluster != "" {
		m.Log.Warn("starting without Docker; waiting for it", "error", err)
		return r.Addr, m.open(ctx, r.Addr, true)
	}
	if err != nil {
		return none, err
	}
	if info.State == swarm.StatePending || info.State == swarm.StateActive && info.Manager && info.ClusterID == "" {
		if info, err = m.awaitLeader(ctx); err != nil {
			return none, err
		}
	}
	what, err := ClassifySwarm(info, *r, adopt)
	if err != nil {
		return none, err
	}
	if r.Cluster == "" { // later, a full disk must not keep images from being pulled
		if err := doctor.Disk(m.Config.DataDir); err != nil {
			return none, err
		}
	}
	if what == swarmMissing {
		if err := doctor.SwarmPorts(true); err != nil {
			return none, err
		}
	}
	addr, err := advertiseAddr(m.Config.AdvertiseAddr, info, *r)
	if err != nil {
		return none, err
	}
	if err := m.open(ctx, addr, true); err != nil {
		return none, err
	}
	m.Phase("making or taking up the swarm")
	return addr, m.initSwarm(ctx, r, addr, what)
}

// advertiseAddr decides the address that others reach a manager at. One that a
// swarm was made with stays.
func advertiseAddr(configured netip.Addr, info swarm.Info, r Record) (netip.Addr, error) {
	made := r.Addr
	if info.State == swarm.StateActive && info.NodeAddr.IsValid() {
		made = info.NodeAddr
	}
	switch {
	case !made.IsValid() && configured.IsValid():
		return configured, nil
	case !made.IsValid():
		return doctor.AdvertiseAddr()
	case configured.IsValid() && configured != made:
		return made, fmt.Errorf("the swarm of this machine was made with the address %s and advertise_addr is %s; "+
			"Swarm can't change it, set advertise_addr to %s", made, configured, made)
	}
	return made, nil
}

// initSwarm makes the swarm or takes it up, and writes that down.
func (m *Machine) initSwarm(ctx context.Context, r *Record, addr netip.Addr, what swarmAction) error {
	r.Addr, r.Own = addr, r.Own || doctor.IsLocal(addr)
	if what == swarmMissing {
		// Docker's clock and ours are the same; Swarm stamps after us.
		r.Begun, r.Cluster = time.Now(), ""
		if err := r.save(); err != nil {
			return err
		}
		if err := m.Engine.Init(ctx, addr); err != nil {
			return fmt.Errorf("make a swarm on %s: %w", addr, err)
		}
		m.Log.Info("initialized a swarm", "addr", addr)
	}
	info, err := m.awaitLeader(ctx)
	if err != nil {
		return err
	}
	if what == swarmAdopt {
		m.Log.Info("took over the swarm of this machine", "cluster", info.ClusterID)
	}
	r.Cluster = info.ClusterID
	return r.save()
}

// awaitLeader waits until the swarm has a leader and can be asked.
func (m *Machine) awaitLeader(ctx context.Context) (swarm.Info, error) {
	elected, cancel := context.WithTimeout(ctx, electionTimeout)
	defer cancel()
	heard := time.Now()
	for {
		if time.Since(heard) > hearEvery {
			if m.hear(elected) {
				return swarm.Info{}, m.standDown(ctx)
			}
			heard = time.Now()
		}
		info, err := m.Engine.Info(elected)
		if err == nil && info.Manager && info.ClusterID != "" {
			return info, nil
		}
		if err == nil && info.State != swarm.StateActive && info.State != swarm.StatePending {
			return info, fmt.Errorf("the swarm of this machine is %s: %s", info.State, info.Error)
		}
		switch err := clock.Sleep(elected, 100*time.Millisecond); {
		case ctx.Err() != nil:
			return info, ctx.Err()
		case err != nil:
			return info, fmt.Errorf("the swarm of this machine has no leader after %s; start its other managers, or "+
				"run `crawlbox recover` here where they are gone for good", electionTimeout)
		}
	}
}
