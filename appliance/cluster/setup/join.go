package setup

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/crawlbox/crawlbox/appliance/base/clock"
	"github.com/crawlbox/crawlbox/appliance/base/naming"
	"github.com/crawlbox/crawlbox/appliance/cluster/enroll"
	"github.com/crawlbox/crawlbox/appliance/cluster/notice"
	"github.com/crawlbox/crawlbox/appliance/cluster/pki"
	"github.com/crawlbox/crawlbox/appliance/cluster/token"
	"github.com/crawlbox/crawlbox/appliance/doctor"
	"github.com/crawlbox/crawlbox/appliance/failpoint"
	"github.com/crawlbox/crawlbox/appliance/fleet"
	"github.com/crawlbox/crawlbox/appliance/swarm"
	"github.com/crawlbox/crawlbox/configs"
)

// ErrSwarmLeft is returned where Docker is in no swarm on a node that had joined.
var ErrSwarmLeft = errors.New("Docker has left the swarm of this cluster; join again with " + naming.JoinAgain +
	", or end it here with `crawlbox leave`")

// swarmJoinTimeout bounds how long Docker may take to become a member.
const swarmJoinTimeout = 90 * time.Second

// Membership holds what a machine that joined is in its cluster.
type Membership struct {
	Identity *pki.Identity
	Addr     netip.Addr // that others reach this node at
	Role     string     // fleet.RoleManager or fleet.RoleWorker
}

// joining is a machine on its way into a cluster.
type joining struct {
	*Machine
	Membership
	rejoin func(context.Context) (*pki.Identity, error) // by the join token once more; nil without one
}

// JoinedAs returns who a machine is that joined. The error is ErrNotJoined where it has not.
func JoinedAs(cfg configs.Config) (*pki.Identity, error) {
	id, err := pki.LoadIdentity(NodeDir(cfg))
	if err != nil && !errors.Is(err, pki.ErrNotJoined) {
		return nil, fmt.Errorf("%w, or leave with `crawlbox leave --force` and join again", err)
	}
	return id, err
}

// Join makes this machine a node of the cluster of a join token, from wherever an earlier
// try got. Without a token it finds that it is one, with or without its Docker Engine.
func (m *Machine) Join(ctx context.Context, role, joinToken string) (Membership, error) {
	j := &joining{Machine: m, Membership: Membership{Role: role}}
	id, err := JoinedAs(m.Config)
	if err != nil && !errors.Is(err, pki.ErrNotJoined) {
		return j.Membership, err
	}
	if n, noticeErr := notice.Load(NoticePath(m.Config)); err == nil && noticeErr == nil && len(n.Managers) > 0 {
		j.rejoinBy(id, joinToken)
		joinToken = "" // the node follows its cluster, which was restored
	}
	if joinToken == "" {
		if err != nil {
			return j.Membership, err
		}
		err = j.start(ctx, id)
		return j.Membership, err
	}
	t, err := token.Parse(joinToken)
	if err != nil {
		return j.Membership, err
	}
	if t.Role != role {
		return j.Membership, fmt.Errorf(
			"this join token is for a %s; run `crawlbox %s --join TOKEN`, or get the other one with `crawlbox "+
				"token %s`",
			t.Role, t.Role, role)
	}
	err = j.enter(ctx, t, id)
	return j.Membership, err
}

func (j *joining) start(ctx context.Context, id *pki.Identity) error {
	if id.Node.Role != j.Role {
		j.Log.Info("this node goes on as what it is in its cluster", "role", id.Node.Role)
		j.Role = id.Node.Role
	}
	return j.resume(ctx, id)
}

// roleEvery is how often a worker whose certificate is a manager's looks what it is.
const roleEvery = 2 * time.Second

// AwaitPromotion waits until Swarm no longer has a node as a worker that was a manager a moment ago, and whose
// certificate says so still: it needs no other one. The error is that of ctx.
func AwaitPromotion(ctx context.Context, id *pki.Identity, e *swarm.Engine) error {
	for {
		if err := clock.Sleep(ctx, roleEvery); err != nil {
			return err
		}
		if id.Role() == fleet.RoleManager && !e.IsWorker(ctx) {
			return nil
		}
	}
}

// resume starts a node that is in the cluster already, with or without Docker.
func (j *joining) resume(ctx context.Context, id *pki.Identity) error {
	journal, err := enroll.OpenJournal(NodeDir(j.Config), id.CA())
	if err != nil {
		return err
	}
	j.Identity, j.Addr = id, id.Self.Addr
	if j.Config.AdvertiseAddr.IsValid() && j.Config.AdvertiseAddr != j.Addr {
		return fmt.Errorf("this node joined with the address %s and advertise_addr is %s; run `crawlbox leave` and "+
			"join again to change it", j.Addr, j.Config.AdvertiseAddr)
	}
	j.relocate()
	info, err := j.checkEngine(ctx)
	if err != nil && !(swarm.IsUnreachable(err) && journal.Reached(enroll.PhaseDone)) {
		return err
	}
	if err := j.open(ctx, j.Addr, false); err != nil {
		return err
	}
	n, noticeErr := notice.Load(NoticePath(j.Config))
	switch {
	case noticeErr != nil:
		return noticeErr
	case len(n.Managers) > 0:
		return j.move(ctx, n)
	case err != nil:
		j.Log.Warn("starting without Docker; waiting for it", "error", err)
		return nil
	case journal.Reached(enroll.PhaseDone) && info.State == swarm.StateInactive:
		return ErrSwarmLeft
	}
	return j.complete(ctx, journal)
}

// relocate takes the address from which this machine reaches the managers now, where it has lost
// the one that it had as a node. Nobody believes it: the manager sees from where the node asks,
// and certifies that.
func (j *joining) relocate() {
	if Moved(j.Config) == nil {
		return
	}
	if a, ok := outgoing(j.Identity.Membership().Managers); ok {
		j.Log.Info("this machine has another address than before; it goes on with that", "was", j.Addr, "is", a)
		j.Addr = a
		j.takeAddr()
	}
}

// outgoing returns the address from which this machine reaches one of the managers.
func outgoing(managers []netip.AddrPort) (netip.Addr, bool) {
	for _, m := range managers {
		if a, ok := doctor.SourceAddr(m.Addr()); ok && !a.IsLoopback() {
			return a, true
		}
	}
	return netip.Addr{}, false
}

// takeAddr makes the address the node's own. What can't be written now is with the next news. The
// certificate may be for none, where it was renewed after the machine had moved.
func (j *joining) takeAddr() {
	if j.Identity.Self.Addr != j.Addr {
		j.Identity.Self.Addr = j.Addr
		_ = j.Identity.Save()
		j.Identity.RenewSoon()
	}
}

// enter joins the cluster of a join token, from wherever an earlier try got. id
// is nil where this machine is no node yet.
func (j *joining) enter(ctx context.Context, s token.JoinToken, id *pki.Identity) error {
	journal, err := enroll.OpenJournal(NodeDir(j.Config), s.CA)
	if err != nil {
		return err
	}
	if StateOf(j.Config) == Created {
		return errors.New("this machine is the manager of a cluster of its own; end that first with `crawlbox leave " +
			"--force`")
	}
	info, err := j.checkEngine(ctx)
	if id != nil && swarm.IsUnreachable(err) && journal.Reached(enroll.PhaseDone) {
		return j.resume(ctx, id)
	}
	if err != nil {
		return err
	}
	if id != nil && j.wasRemoved(ctx, id) {
		if journal, info, err = j.startOver(ctx, s.CA); err != nil {
			return err
		}
	}
	managers := slices.Clone(s.Managers)
	if id != nil { // they may be others than when the join token was made
		managers = append(managers, id.Membership().Managers...)
	}
	if err := CheckOtherSwarm(info, managers); err != nil {
		return err
	}
	if j.Addr, err = JoinAddr(j.Config.AdvertiseAddr, s.Managers); err != nil {
		return err
	}
	if !journal.Reached(enroll.PhaseCertified) {
		if err := doctor.Disk(j.Config.DataDir); err != nil {
			return err
		}
	}
	if info.State == swarm.StateInactive {
		if err := doctor.SwarmPorts(j.Role == fleet.RoleManager); err != nil {
			return err
		}
	}
	if err := j.open(ctx, j.Addr, false); err != nil {
		return err
	}
	if err := journal.Do(enroll.PhaseStarted, nil); err != nil {
		return err
	}
	j.Phase("asking the manager to let this machine in")
	self := pki.Self{Name: j.Name, Addr: j.Addr, Version: j.Version}
	if j.Identity, err = enroll.Join(ctx, NodeDir(j.Config), s, self, j.Log); err != nil {
		j.withdraw(journal, err)
		return err
	}
	j.takeAddr() // one that has joined before may have another; see relocate
	if err := journal.Do(enroll.PhaseCertified, nil); err != nil {
		return err
	}
	if info.State == swarm.StateActive && !info.Manager && !journal.Reached(enroll.PhaseSwarmJoined) {
		if info.State, err = j.leaveFormer(ctx, info); err != nil {
			return err
		}
	}
	j.rejoin = func(ctx context.Context) (*pki.Identity, error) {
		return enroll.Rejoin(ctx, NodeDir(j.Config), s, self, j.Log)
	}
	if journal.Reached(enroll.PhaseSwarmJoined) && info.State == swarm.StateInactive {
		// Docker left by hand, and the user joins again.
		if err := errors.Join(j.joinWithNewToken(ctx), j.Identity.DropSwarmToken()); err != nil {
			return err
		}
	}
	return j.complete(ctx, journal)
}

const (
	removedTimeout = 3 * time.Second // for the question whether this node was removed
	formerTimeout  = 8 * time.Second // for that whose node this machine's Docker is
	formerRetry    = 3 * time.Second
)

// wasRemoved reports whether a manager that answers at once says that this node is no
// longer one of the cluster.
func (j *joining) wasRemoved(ctx context.Context, id *pki.Identity) bool {
	ctx, cancel := context.WithTimeout(ctx, removedTimeout)
	defer cancel()
	return errors.Is(enroll.Check(ctx, id), pki.ErrRemoved)
}

// startOver makes a node that was removed a machine that never was one. It joins
// with another key: certificates for the old one are refused for good.
func (j *joining) startOver(ctx context.Context, ca pki.KeyHash) (*enroll.Journal, swarm.Info, error) {
	j.Log.Info("this node was removed from the cluster; it joins as a new one")
	if err := j.Engine.Leave(ctx, true); err != nil {
		return nil, swarm.Info{}, err
	}
	if err := enroll.Forget(NodeDir(j.Config)); err != nil {
		return nil, swarm.Info{}, err
	}
	journal, err := enroll.OpenJournal(NodeDir(j.Config), ca)
	if err != nil {
		return nil, swarm.Info{}, err
	}
	info, err := j.checkEngine(ctx)
	return journal, info, err
}

// leaveFormer has Docker leave the swarm where it is none of the cluster's, but the node that this
// machine was before its data directory was lost. It returns the state of Docker in the swarm.
func (j *joining) leaveFormer(ctx context.Context, info swarm.Info) (state string, err error) {
	if !j.isFormer(ctx, info.NodeID) {
		return info.State, nil
	}
	j.Log.Info("Docker is in the swarm as the node that this machine was before; it joins as a new one",
		"former", info.NodeID)
	return swarm.StateInactive, j.Engine.Leave(ctx, true)
}

// isFormer reports whether a node of Swarm has another certificate than this machine, or is one that
// Swarm has removed: Docker does not hear of that, and this one's certificate stays a trial. Swarm's
// list is some seconds old.
func (j *joining) isFormer(ctx context.Context, swarmID string) bool {
	ctx, cancel := context.WithTimeout(ctx, formerTimeout)
	defer cancel()
	for {
		err := enroll.CheckAs(ctx, j.Identity, swarmID)
		if err == nil {
			err = enroll.Renew(ctx, j.Identity)
		}
		if err != nil || !j.Identity.OnTrial() {
			return errors.Is(err, enroll.ErrBound)
		}
		if clock.Sleep(ctx, formerRetry) != nil {
			return true
		}
	}
}

// withdraw removes what a join has written that came to nothing. Where a manager
// may have said yes and was not heard, the key stays, so that the same command
// again is the same node, and no other use of the join token.
func (j *joining) withdraw(journal *enroll.Journal, err error) {
	var failed *enroll.ManagersError
	if journal.Reached(enroll.PhaseCertified) || errors.As(err, &failed) && failed.Unheard {
		return
	}
	if err := enroll.Forget(NodeDir(j.Config)); err != nil {
		j.Log.Warn("failed to clean up after the join", "error", err)
	}
}

// complete does what the journal does not say is done.
func (j *joining) complete(ctx context.Context, journal *enroll.Journal) error {
	joinSwarm := func() error {
		j.Phase("waiting for Docker to join the swarm")
		return j.joinSwarm(ctx)
	}
	if err := journal.Do(enroll.PhaseSwarmJoined, joinSwarm); err != nil {
		return err
	}
	return journal.Do(enroll.PhaseDone, func() error {
		for _, registry := range managersRegistries(j.Config, j.Identity) {
			if err := pki.InstallCA(pki.CertsDir, registry, j.Identity.CAPEM()); err != nil {
				return err
			}
		}
		failpoint.Hit(failpoint.JoinTrust)
		return j.Identity.DropSwarmToken()
	})
}

// joinSwarm lets Docker join the swarm. The Swarm join token may no longer be good,
// since it changes when a node is removed: then there is a new one.
func (j *joining) joinSwarm(ctx context.Context) error {
	had := j.Identity.Membership().Swarm.Token
	if had == "" {
		return j.joinWithNewToken(ctx)
	}
	err := j.useToken(ctx)
	if err == nil || ctx.Err() != nil || errors.Is(err, swarm.ErrUnreachable) {
		return err
	}
	if j.renewToken(ctx) != nil || j.Identity.Membership().Swarm.Token == had {
		return err
	}
	return j.useToken(ctx)
}

func (j *joining) joinWithNewToken(ctx context.Context) error {
	if err := j.renewToken(ctx); err != nil {
		return fmt.Errorf("get a new Swarm join token: %w", err)
	}
	return j.useToken(ctx)
}

// renewToken gets one for the certificate or, where the manager gives none for it alone,
// for the join token.
func (j *joining) renewToken(ctx context.Context) error {
	err := enroll.RenewSwarmToken(ctx, j.Identity)
	if !errors.Is(err, enroll.ErrUnbound) || j.rejoin == nil {
		return err
	}
	id, err := j.rejoin(ctx)
	if err == nil {
		j.Identity = id
	}
	return err
}

func (j *joining) useToken(ctx context.Context) error {
	swarmToken := j.Identity.Membership().Swarm
	ctx, cancel := context.WithTimeout(ctx, swarmJoinTimeout)
	defer cancel()
	var advertise netip.Addr // of a worker Docker finds it at each start, also another one than before
	if j.Role == fleet.RoleManager || j.Config.AdvertiseAddr.IsValid() {
		advertise = j.Addr
	}
	if err := j.Engine.Join(ctx, string(swarmToken.Token), swarmToken.Managers, advertise); err != nil {
		return err
	}
	failpoint.Hit(failpoint.JoinDocker)
	return nil
}

// CheckOtherSwarm refuses a machine that is in a swarm none of whose managers is one of
// the cluster's.
func CheckOtherSwarm(info swarm.Info, managers []netip.AddrPort) error {
	if info.State != swarm.StateActive {
		return nil
	}
	for _, m := range info.Managers {
		if slices.ContainsFunc(managers, func(a netip.AddrPort) bool { return a.Addr() == m.Addr() }) {
			return nil
		}
	}
	return fmt.Errorf("this machine is in another swarm, with the managers %v; leave that first with `docker "+
		"swarm leave`", info.Managers)
}

// JoinAddr returns the address from which this machine reaches the managers.
func JoinAddr(configured netip.Addr, managers []netip.AddrPort) (netip.Addr, error) {
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
