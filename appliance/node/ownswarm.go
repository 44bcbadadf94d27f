package node

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	"github.com/crawlbox/crawlbox/appliance/doctor"
	"github.com/crawlbox/crawlbox/appliance/swarm"
)

// electionTimeout bounds the wait for a swarm to have a leader after the engine
// started.
const electionTimeout = time.Minute

// found is what a manager does about the swarm that it finds on its machine.
type found int

const (
	swarmMissing found = iota // make one
	swarmOurs                 // take it up
	swarmAdopt                // take it over
)

// judge decides whose swarm the engine is in. It changes nothing.
func judge(info swarm.Info, r record, adopt bool) (found, error) {
	switch {
	case info.State == swarm.StateInactive && r.Cluster != "":
		return 0, fmt.Errorf("Docker has left the swarm that crawlbox made on this machine; end it here too with `crawlbox leave --force`, then start it anew")
	case info.State == swarm.StateInactive:
		return swarmMissing, nil
	case info.State == swarm.StateLocked:
		return 0, fmt.Errorf("the swarm of this machine is locked; unlock it with `docker swarm unlock`")
	case info.State == swarm.StateError:
		return 0, fmt.Errorf("the swarm of this machine has failed: %s; mend it, or leave it with `docker swarm leave --force`", info.Error)
	case !info.Manager && r.Cluster != "":
		return 0, fmt.Errorf("this node was demoted to a worker; promote it on another manager with `crawlbox node promote`")
	case !info.Manager:
		return 0, fmt.Errorf("this machine is a worker in the swarm of %v; leave it first with `docker swarm leave`", info.Managers)
	case r.Cluster == info.ClusterID:
		return swarmOurs, nil
	case r.Cluster == "" && !r.Begun.IsZero() && info.ClusterMade.After(r.Begun):
		return swarmOurs, nil
	case adopt:
		return swarmAdopt, nil
	}
	return 0, fmt.Errorf("this machine is already in a swarm that crawlbox did not make (%s); take it over with --adopt-swarm, or leave it with `docker swarm leave --force`", info.ClusterID)
}

// advertiseAddr decides the address that others reach a manager at. One that a
// swarm was made with stays.
func advertiseAddr(configured netip.Addr, info swarm.Info, r record) (netip.Addr, error) {
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
		return made, fmt.Errorf("the swarm of this machine was made with the address %s and advertise_addr is %s; Swarm can't change it, set advertise_addr to %s", made, configured, made)
	}
	return made, nil
}

// ownSwarm makes the swarm or takes it up, and writes that down.
func (g *ground) ownSwarm(ctx context.Context, r *record, what found) error {
	r.Addr = g.addr
	if what == swarmMissing {
		// Docker's clock and ours are the same; Swarm stamps after us.
		r.Begun, r.Cluster = time.Now(), ""
		if err := r.save(); err != nil {
			return err
		}
		if err := g.engine.Init(ctx, g.addr); err != nil {
			return fmt.Errorf("make a swarm on %s: %w", g.addr, err)
		}
		g.log.Info("made a swarm", "addr", g.addr)
	}
	info, err := g.led(ctx)
	if err != nil {
		return err
	}
	if what == swarmAdopt {
		g.log.Info("took over the swarm of this machine", "cluster", info.ClusterID)
	}
	r.Cluster = info.ClusterID
	return r.save()
}

// led waits until the swarm has a leader and can be asked.
func (g *ground) led(ctx context.Context) (swarm.Info, error) {
	elected, cancel := context.WithTimeout(ctx, electionTimeout)
	defer cancel()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		info, err := g.engine.Info(elected)
		if err == nil && info.Manager && info.ClusterID != "" {
			return info, nil
		}
		if err == nil && info.State != swarm.StateActive && info.State != swarm.StatePending {
			return info, fmt.Errorf("the swarm of this machine is %s: %s", info.State, info.Error)
		}
		select {
		case <-ctx.Done():
			return info, ctx.Err()
		case <-elected.Done():
			return info, fmt.Errorf("the swarm of this machine has no leader after %s; see `docker node ls` and start its other managers", electionTimeout)
		case <-tick.C:
		}
	}
}
