package enroll

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"slices"
	"time"

	"github.com/crawlbox/crawlbox/appliance/base/clock"
	"github.com/crawlbox/crawlbox/appliance/cluster/member"
	"github.com/crawlbox/crawlbox/appliance/cluster/pki"
	"github.com/crawlbox/crawlbox/appliance/fleet"
)

const (
	// trialTokenPeriod is how long after a join a node that Swarm does not have yet gets
	// another Swarm join token. Later its join token has to be shown again.
	trialSwarmToken = 15 * time.Minute
	// lookInterval is how often the managers of Swarm are looked at.
	lookInterval = 5 * time.Second
	// lookAge is how long what was seen of them counts while Swarm can't be asked.
	lookAge = 5 * time.Minute
)

// rights holds what a node may have now, by what Swarm says of it.
type rights struct {
	role       string
	trial      bool // Swarm does not have it yet
	swarmToken bool // into the swarm
}

// rights follow Swarm: a node is no manager that Swarm has as none, and only one
// that has just joined is anything without being in Swarm.
func (s *Server) rights(ctx context.Context, id string) (rights, error) {
	member, known := s.Members.Get(id)
	if len(member.Bound) == 0 {
		age := time.Since(member.Joined)
		if !known || age > pki.TrialLife {
			return rights{}, ErrUnbound
		}
		return rights{role: member.Role, trial: true, swarmToken: age < trialSwarmToken}, nil
	}
	nodes, err := s.Swarm.SwarmNodes(ctx)
	if err != nil {
		return rights{}, fmt.Errorf("%w: ask Swarm for its nodes: %w", ErrUnavailable, err)
	}
	node, ok := member.Node(nodes)
	if !ok {
		return rights{}, ErrUnbound
	}
	if member.Role == fleet.RoleManager && node.Role == fleet.RoleManager {
		return rights{role: fleet.RoleManager, swarmToken: true}, nil
	}
	return rights{role: fleet.RoleWorker, swarmToken: true}, nil
}

// known refuses a node that was removed so long ago that only its certificate's epoch
// says so.
func (s *Server) known(r *http.Request, id string) error {
	switch _, ok := s.Members.Get(id); {
	case ok:
		return nil
	case s.Members.WasRemoved(id), pki.EpochOf(r.TLS.VerifiedChains[0][0]) < s.Identity.Membership().Epoch:
		return pki.ErrRemoved
	}
	return nil // of a list that was restored from a backup
}

// claim binds a node to the node of Swarm that it says it is. What Swarm does not bear
// out yet is not believed, and does no harm; a claim to another's place is refused.
func (s *Server) claim(ctx context.Context, id string, from netip.AddrPort, swarmID string) error {
	remote := from.Addr().Unmap()
	if swarmID == "" || s.Members.IsBound(id, swarmID) {
		s.Members.Moved(id, remote)
		return nil
	}
	nodes, err := s.Swarm.SwarmNodes(ctx)
	if err != nil {
		s.Log.Debug("ask Swarm for a node", "node", id, "swarm", swarmID, "error", err)
		return nil
	}
	err = s.Members.Bind(id, swarmID, remote, nodes)
	line := []slog.Attr{slog.String("node", id), slog.String("swarm", swarmID), slog.String("remote", from.String())}
	switch {
	case err == nil:
		s.Audit("binding", line...)
		return nil
	case errors.Is(err, member.ErrRemoved):
		return pki.ErrRemoved
	case !errors.Is(err, member.ErrTaken) && !errors.Is(err, member.ErrUnproven):
		return err
	}
	// Swarm's list is some seconds old: of a node that joins now it knows nothing, and a claim to
	// what is nobody's harms nobody.
	there := slices.ContainsFunc(nodes, func(n member.Node) bool { return n.ID == swarmID })
	if there && s.newClaim(id, swarmID) {
		s.Audit("binding refused", append(line, slog.String("reason", err.Error()))...)
	}
	if errors.Is(err, member.ErrTaken) {
		return ErrBound
	}
	return nil
}

// rejectedClaim is the last rejected claim of a node that has a line of audit.
type rejectedClaim struct {
	swarmID string
	at      time.Time
}

// newClaim reports whether a rejected claim is worth a line of audit: nodes repeat them, and
// one line for each thing that is claimed, and one a minute, is enough.
func (s *Server) newClaim(id, swarmID string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if last, ok := s.claims[id]; ok && (last.swarmID == swarmID || time.Since(last.at) < claimLine) {
		return false
	}
	if len(s.claims) >= maxClaims {
		clear(s.claims)
	}
	s.claims[id] = rejectedClaim{swarmID, time.Now()}
	return true
}

const (
	// claimLine is the least time between two lines of audit about one node's claims.
	claimLine = time.Minute
	// maxClaims bounds the rejected claims that are remembered.
	maxClaims = 1024
)

// checkManagers follows what Swarm says of its managers: nodes hear which of theirs they are, and
// what a node knew that is no longer a manager is changed.
func (s *Server) checkManagers(ctx context.Context) error {
	nodes, err := s.Swarm.SwarmNodes(ctx)
	if err != nil {
		return errors.Join(err, s.publishManagers(nil))
	}
	demoted, err := s.Members.NoteManagers(nodes)
	if err != nil {
		return err
	}
	if err := s.publishManagers(nodes); err != nil || len(demoted) == 0 {
		return err
	}
	s.Audit("demotion", slog.Any("swarm", demoted))
	return s.finish(ctx, &member.Removal{}) // of nobody: a demotion
}

// own has this manager be on the list of members, for other managers.
func (s *Server) own(nodes []member.Node) error {
	i := slices.IndexFunc(nodes, func(n member.Node) bool { return n.First })
	if i < 0 {
		return nil
	}
	id := s.Identity
	leaf := id.Certificate().Leaf
	return s.Members.Own(member.Member{
		ID:     id.Node.ID,
		Role:   fleet.RoleManager,
		Name:   id.Self.Name,
		Addr:   id.Self.Addr,
		Remote: id.Self.Addr,
		Epoch:  pki.EpochOf(leaf),
		Until:  leaf.NotAfter,
	}, nodes[i].ID)
}

// Demoted is called when a node was demoted and no longer has access to Swarm's secrets.
// When it returns without an error, Swarm's tokens are others.
func (s *Server) Demoted(ctx context.Context) error {
	r := member.NewDemotion()
	if err := s.Members.Begin(r); err != nil {
		return err
	}
	return errors.Join(s.finish(ctx, &r), s.checkManagers(ctx))
}

// Claim binds a node, which asks from an address, to the node of Swarm that it says it is,
// if that is so.
func (s *Server) Claim(ctx context.Context, id string, from netip.AddrPort, swarmID string) {
	if id == "" || !validSwarmID(swarmID) {
		return
	}
	if err := s.claim(ctx, id, from, swarmID); err != nil {
		s.Log.Debug("bind a node", "node", id, "error", err)
	}
}

func validSwarmID(id string) bool { return len(id) <= pki.MaxName && !hasUnprintable(id) }

// publishManagers publishes who the managers are; nil where Swarm can't be asked.
func (s *Server) publishManagers(nodes []member.Node) error {
	s.mu.Lock()
	if nodes != nil {
		s.managersAt = time.Now()
	} else if time.Since(s.managersAt) < lookAge {
		s.mu.Unlock()
		return nil
	}
	s.Identity.ManagerAnswered()
	list := []string{s.Identity.Node.ID}
	for _, m := range s.Members.All() {
		n, ok := m.Node(nodes)
		if ok && m.Role == fleet.RoleManager && n.Role == fleet.RoleManager {
			list = append(list, m.ID)
		}
	}
	slices.Sort(list)
	list = slices.Compact(list)
	was := s.managerIDs.Swap(list).([]string)
	s.mu.Unlock()
	if slices.Equal(list, was) {
		return nil
	}
	return s.publish()
}

// watch looks at Swarm's managers, and at how long the list of removed nodes is,
// until ctx ends.
func (s *Server) watch(ctx context.Context) error {
	said := ""
	for {
		err := errors.Join(s.checkManagers(ctx), s.finish(ctx, nil), s.boundRemovedList())
		if err != nil && ctx.Err() == nil && err.Error() != said {
			s.Log.Warn("failed to follow Swarm's nodes; will retry", "error", err)
		}
		said = fmt.Sprint(err)
		if clock.Sleep(ctx, lookInterval) != nil {
			return nil
		}
	}
}

// Keep has this server tell nodes what other managers change in the state, and who the managers are, until
// ctx ends. It is for each manager; Run is for the one that leads.
func (s *Server) Keep(ctx context.Context, changed func() <-chan struct{}) error {
	look := time.NewTicker(lookInterval)
	defer look.Stop()
	said := ""
	for {
		next := changed()
		err := s.look(ctx)
		if err != nil && ctx.Err() == nil && err.Error() != said {
			s.Log.Warn("failed to follow Swarm's nodes; will retry", "error", err)
		}
		said = fmt.Sprint(err)
		select {
		case <-next:
		case <-look.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// look publishes what is new of the state and of Swarm's managers.
func (s *Server) look(ctx context.Context) error {
	nodes, err := s.Swarm.SwarmNodes(ctx)
	if err != nil {
		nodes = nil // it can't be asked, which is not to have none
	}
	err = errors.Join(err, s.own(nodes), s.publishManagers(nodes))
	version, e := versionOf(s.membership())
	s.mu.Lock()
	same := version == s.version
	s.mu.Unlock()
	if e != nil || same {
		return errors.Join(err, e)
	}
	select {
	case s.rotate <- struct{}{}: // another manager may have removed a node, which knows the key of gossip
	default:
	}
	return errors.Join(err, s.publish())
}

// managerAddr reports whether an address is that of a manager.
func (s *Server) managerAddr(addr netip.Addr) bool {
	return slices.ContainsFunc(s.Managers(), func(m netip.AddrPort) bool { return m.Addr().Unmap() == addr.Unmap() })
}
