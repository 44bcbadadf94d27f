package node

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/crawlbox/crawlbox/appliance/cluster/enroll"
	"github.com/crawlbox/crawlbox/appliance/cluster/pki"
	"github.com/crawlbox/crawlbox/appliance/cluster/token"
	"github.com/crawlbox/crawlbox/appliance/doctor"
	"github.com/crawlbox/crawlbox/appliance/failpoint"
	"github.com/crawlbox/crawlbox/appliance/fleet"
	"github.com/crawlbox/crawlbox/appliance/swarm"
)

// settle makes this machine a node, or finds that it is one.
func (w *Worker) settle(ctx context.Context) error {
	id, err := pki.LoadIdentity(w.dir("node"))
	if err != nil && !errors.Is(err, pki.ErrNotJoined) {
		return err
	}
	if w.opts.Join == "" {
		if err != nil {
			return err
		}
		if id.Node.Role == fleet.RoleWorker && w.role == fleet.RoleManager {
			w.log.Info("this node was demoted; it goes on as a worker")
			w.role = fleet.RoleWorker
		}
		if id.Node.Role != w.role {
			return fmt.Errorf("this machine joined its cluster as a %s; run `crawlbox %s`, or end that first with `crawlbox leave`", id.Node.Role, id.Node.Role)
		}
		return w.resume(ctx, id)
	}
	s, err := token.Parse(w.opts.Join)
	if err != nil {
		return err
	}
	if s.Role != w.role {
		return fmt.Errorf("this join string is for a %s; run `crawlbox %s --join STRING`, or get the other one with `crawlbox token %s`", s.Role, s.Role, w.role)
	}
	return w.enter(ctx, s, id)
}

// resume starts a node that is in the cluster already, with or without Docker.
func (w *Worker) resume(ctx context.Context, id *pki.Identity) error {
	journal, err := enroll.OpenJournal(w.dir("node"), id.CA())
	if err != nil {
		return err
	}
	w.identity, w.addr = id, id.Self.Addr
	if w.opts.Config.AdvertiseAddr.IsValid() && w.opts.Config.AdvertiseAddr != w.addr {
		return fmt.Errorf("this node joined with the address %s and advertise_addr is %s; run `crawlbox leave` and join again to change it", w.addr, w.opts.Config.AdvertiseAddr)
	}
	info, err := w.askEngine(ctx)
	if err != nil && !(away(err) && journal.Reached(enroll.PhaseDone)) {
		return err
	}
	if err := w.open(false); err != nil {
		return err
	}
	if err != nil {
		w.log.Warn("start without Docker and wait for it", "error", err)
		return nil
	}
	if journal.Reached(enroll.PhaseDone) && info.State == swarm.StateInactive {
		return fmt.Errorf("Docker has left the swarm of this cluster; join again with `crawlbox worker --join STRING`, or end it here with `crawlbox leave`")
	}
	return w.complete(ctx, journal)
}

// enter joins the cluster of a join string, from wherever an earlier try got. id
// is nil where this machine is no node yet.
func (w *Worker) enter(ctx context.Context, s token.JoinToken, id *pki.Identity) error {
	journal, err := enroll.OpenJournal(w.dir("node"), s.CA)
	if err != nil {
		return err
	}
	if stateOf(w.cfg.DataDir) == stateMade {
		return errors.New("this machine is the manager of a cluster of its own; end that first with `crawlbox leave --force`")
	}
	info, err := w.askEngine(ctx)
	if id != nil && away(err) && journal.Reached(enroll.PhaseDone) {
		return w.resume(ctx, id)
	}
	if err != nil {
		return err
	}
	if id != nil && w.wasRemoved(ctx, id) {
		if journal, info, err = w.startOver(ctx, s.CA); err != nil {
			return err
		}
	}
	if err := foreign(info, s.Managers); err != nil {
		return err
	}
	if w.addr, err = ownAddr(w.cfg.AdvertiseAddr, s.Managers); err != nil {
		return err
	}
	if !journal.Reached(enroll.PhaseCertified) {
		if err := doctor.Disk(w.cfg.DataDir); err != nil {
			return err
		}
	}
	if info.State == swarm.StateInactive {
		if err := doctor.SwarmPorts(w.role == fleet.RoleManager); err != nil {
			return err
		}
	}
	if err := w.open(false); err != nil {
		return err
	}
	if err := journal.Do(enroll.PhaseStarted, nil); err != nil {
		return err
	}
	w.phase("asking the manager to let this machine in")
	self := pki.Self{Name: w.name, Addr: w.addr, Version: w.opts.Version}
	if w.identity, err = enroll.Join(ctx, w.dir("node"), s, self, w.log); err != nil {
		w.withdraw(journal, err)
		return err
	}
	if err := journal.Do(enroll.PhaseCertified, nil); err != nil {
		return err
	}
	w.again = func(ctx context.Context) (*pki.Identity, error) {
		return enroll.Rejoin(ctx, w.dir("node"), s, self, w.log)
	}
	if journal.Reached(enroll.PhaseSwarmJoined) && info.State == swarm.StateInactive {
		// Docker left by hand, and the user joins again.
		if err := errors.Join(w.joinWithNewTicket(ctx), w.identity.DropSwarmToken()); err != nil {
			return err
		}
	}
	return w.complete(ctx, journal)
}

// wasRemoved says whether a manager that answers at once says that this node is no
// longer one of the cluster.
func (w *Worker) wasRemoved(ctx context.Context, id *pki.Identity) bool {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	return errors.Is(enroll.Check(ctx, id), pki.ErrRemoved)
}

// startOver makes a node that was removed a machine that never was one. It joins
// with another key: certificates for the old one are refused for good.
func (w *Worker) startOver(ctx context.Context, ca pki.KeyHash) (*enroll.Journal, swarm.Info, error) {
	w.log.Info("this node was removed from the cluster; it joins as a new one")
	if err := w.engine.Leave(ctx, true); err != nil {
		return nil, swarm.Info{}, err
	}
	if err := enroll.Forget(w.dir("node")); err != nil {
		return nil, swarm.Info{}, err
	}
	journal, err := enroll.OpenJournal(w.dir("node"), ca)
	if err != nil {
		return nil, swarm.Info{}, err
	}
	info, err := w.askEngine(ctx)
	return journal, info, err
}

// withdraw removes what a join has written that came to nothing. Where a manager
// may have said yes and was not heard, the key stays, so that the same command
// again is the same node, and no other use of the join string.
func (w *Worker) withdraw(journal *enroll.Journal, err error) {
	var failed *enroll.ManagersError
	if journal.Reached(enroll.PhaseCertified) || errors.As(err, &failed) && failed.Unheard {
		return
	}
	if err := enroll.Forget(w.dir("node")); err != nil {
		w.log.Warn("clean up after the join", "error", err)
	}
}

// complete does what the journal does not say is done.
func (w *Worker) complete(ctx context.Context, journal *enroll.Journal) error {
	joinSwarm := func() error {
		w.phase("waiting for Docker to join the swarm")
		return w.joinSwarm(ctx)
	}
	if err := journal.Do(enroll.PhaseSwarmJoined, joinSwarm); err != nil {
		return err
	}
	return journal.Do(enroll.PhaseDone, func() error {
		for _, registry := range w.registries() {
			if err := pki.InstallCA(pki.CertsDir, registry, w.identity.CAPEM()); err != nil {
				return err
			}
		}
		failpoint.Hit(failpoint.JoinTrust)
		return w.identity.DropSwarmToken()
	})
}

// joinSwarm lets Docker join the swarm. The ticket may be of no use any more,
// since Swarm's token changes when a node is removed: then there is a new one.
func (w *Worker) joinSwarm(ctx context.Context) error {
	had := w.identity.Membership().Swarm.Token
	if had == "" {
		return w.joinWithNewTicket(ctx)
	}
	err := w.useTicket(ctx)
	if err == nil || ctx.Err() != nil || errors.Is(err, swarm.ErrUnreachable) {
		return err
	}
	if w.newTicket(ctx) != nil || w.identity.Membership().Swarm.Token == had {
		return err
	}
	return w.useTicket(ctx)
}

func (w *Worker) joinWithNewTicket(ctx context.Context) error {
	if err := w.newTicket(ctx); err != nil {
		return fmt.Errorf("get a new ticket into the swarm: %w", err)
	}
	return w.useTicket(ctx)
}

// newTicket gets one for the certificate or, where the manager gives none for it alone,
// for the join string.
func (w *Worker) newTicket(ctx context.Context) error {
	err := enroll.RenewSwarmToken(ctx, w.identity)
	if !errors.Is(err, enroll.ErrUnbound) || w.again == nil {
		return err
	}
	id, err := w.again(ctx)
	if err == nil {
		w.identity = id
	}
	return err
}

func (w *Worker) useTicket(ctx context.Context) error {
	ticket := w.identity.Membership().Swarm
	ctx, cancel := context.WithTimeout(ctx, swarmJoinTimeout)
	defer cancel()
	if err := w.engine.Join(ctx, string(ticket.Token), ticket.Managers, w.addr); err != nil {
		return err
	}
	failpoint.Hit(failpoint.JoinDocker)
	return nil
}

// foreign refuses a machine that is in a swarm none of whose managers is one of
// the cluster's.
func foreign(info swarm.Info, managers []netip.AddrPort) error {
	if info.State != swarm.StateActive {
		return nil
	}
	for _, m := range info.Managers {
		if slices.ContainsFunc(managers, func(a netip.AddrPort) bool { return a.Addr() == m.Addr() }) {
			return nil
		}
	}
	return fmt.Errorf("this machine is in another swarm, with the managers %v; leave that first with `docker swarm leave`", info.Managers)
}

// ownAddr is the address from which this machine reaches the managers.
func ownAddr(configured netip.Addr, managers []netip.AddrPort) (netip.Addr, error) {
	if configured.IsValid() {
		return configured, nil
	}
	for _, m := range managers {
		if a, ok := doctor.SourceAddr(m.Addr()); ok && !a.IsLoopback() {
			return a, nil
		}
	}
	return doctor.AdvertiseAddr()
}
