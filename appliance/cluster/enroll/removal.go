package enroll

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/crawlbox/crawlbox/appliance/base/clock"
	"github.com/crawlbox/crawlbox/appliance/cluster/member"
	"github.com/crawlbox/crawlbox/appliance/failpoint"
)

const (
	// ackTimeout bounds the wait for the nodes in touch to know a key. One that
	// does not answer gets the keys when it is back.
	ackTimeout = 15 * time.Second
	// oldKeyGrace is how long packets with the old key may still be under way when
	// all nodes use the new one.
	oldKeyGrace = time.Second
	// spreading is how long the nodes that ask other managers for news may take to know a key: who follows
	// the state hears of it at once, and its nodes with it.
	spreading = 5 * time.Second
	// gathering is how long after the start all nodes that are up have asked for
	// news again.
	gathering = 2*followRetry + time.Second
	// changeRetry is the pause after a change of keys that failed.
	changeRetry = 10 * time.Second
)

// Remove ends the access of nodes, and has Swarm lose the nodes of its own with the IDs
// given. When it returns without an error, their certificates are refused here, the
// other nodes in touch are told, Swarm's tokens are others, and Run is changing the key
// of gossip. Whatever of that fails, or is cut off, Run does later. It may be called
// again for nodes that were removed.
func (s *Server) Remove(ctx context.Context, swarm []string, ids ...string) error {
	slices.Sort(swarm)
	slices.Sort(ids)
	r := member.NewRemoval(ids, swarm)
	if err := s.Members.Begin(r); err != nil {
		return fmt.Errorf("remove nodes %v: %w", ids, err)
	}
	failpoint.Hit(failpoint.RemoveBegun)
	return s.finish(ctx, &r)
}

// finish does what is left of removals, but for the keys: of the one given, or of all.
// It returns the first error, after it has tried all.
func (s *Server) finish(ctx context.Context, only *member.Removal) error {
	select {
	case s.removing <- struct{}{}:
		defer func() { <-s.removing }()
	case <-ctx.Done():
		return ctx.Err()
	}
	var failed error
	for _, r := range s.Members.Pending() {
		if ctx.Err() != nil || only != nil && !r.Is(*only) {
			continue
		}
		if err := s.advance(ctx, r); err != nil && failed == nil {
			failed = err
		}
	}
	return failed
}

// advance does the phases of one removal. A phase that fails does not hold up the next:
// a Swarm that can't be asked keeps no certificate alive.
func (s *Server) advance(ctx context.Context, r member.Removal) (failed error) {
	for p, ok := r.Next(); ok; p, ok = r.Next() {
		err := s.do(ctx, r, p)
		if err == nil {
			err = s.Members.Done(r, p, s.Keys.All().Hashes())
		}
		if err != nil && failed == nil {
			failed = fmt.Errorf("the removal goes on by itself when this is mended: %s: %w", phaseText[p], err)
		}
		r.Left = slices.DeleteFunc(slices.Clone(r.Left), func(l member.Phase) bool { return l == p })
	}
	select {
	case s.rotate <- struct{}{}:
	default: // Run looks already
	}
	return failed
}

var phaseText = map[member.Phase]string{
	member.PhaseCertificate: "end the certificate",
	member.PhaseTokens:      "change Swarm's join tokens",
	member.PhaseSwarm:       "take the node off Swarm's list",
}

func (s *Server) do(ctx context.Context, r member.Removal, p member.Phase) error {
	switch p {
	case member.PhaseCertificate:
		return s.refuse(r.Members)
	case member.PhaseTokens:
		err := s.Swarm.RotateJoinTokens(ctx)
		failpoint.Hit(failpoint.RemoveTokens)
		return err
	case member.PhaseSwarm:
		for _, id := range r.Swarm {
			if err := s.Swarm.RemoveNode(ctx, id); err != nil {
				return err
			}
		}
		failpoint.Hit(failpoint.RemoveSwarm)
	}
	return nil
}

// refuse ends certificates.
func (s *Server) refuse(ids []string) error {
	if err := s.Members.Remove(ids...); err != nil {
		return err
	}
	for _, id := range ids {
		s.Audit("removal", slog.String("node", id))
	}
	failpoint.Hit(failpoint.RemoveRefused)
	return s.publish()
}

// Run does what is left of removals, changes the keys of gossip after one, and follows
// what Swarm says of its managers, until ctx ends. What was cut off goes on where it was.
func (s *Server) Run(ctx context.Context) error {
	var all errgroup.Group
	all.Go(func() error { return s.watch(ctx) })
	all.Go(func() error { return s.rekey(ctx) })
	return all.Wait()
}

// rekey changes the keys of gossip while a removed node knows them.
func (s *Server) rekey(ctx context.Context) error {
	for {
		due, err := s.Members.AwaitsKeys(s.Keys.All().Hashes())
		if err == nil && !due && !s.Keys.Changing() {
			select {
			case <-ctx.Done():
				return nil
			case <-s.rotate:
			}
			continue
		}
		if err == nil {
			err = s.changeKeys(ctx)
		}
		if ctx.Err() != nil {
			return nil
		}
		if err == nil {
			s.Log.Info("changed the gossip key")
			continue
		}
		s.Log.Warn("failed to change the gossip key", "error", err)
		if clock.Sleep(ctx, changeRetry) != nil {
			return nil
		}
	}
}

// changeKeys takes the steps of a change, from wherever it is.
func (s *Server) changeKeys(ctx context.Context) error {
	for {
		if s.Keys.Changing() && !s.awaitNodes(ctx) {
			return ctx.Err()
		}
		if err := s.Keys.Step(); err != nil {
			return err
		}
		if err := s.publish(); err != nil {
			return err
		}
		switch keys := s.Keys; {
		case !keys.Changing():
			return nil
		case keys.Switched():
			failpoint.Hit(failpoint.KeysUsed)
		default:
			failpoint.Hit(failpoint.KeysAdded)
		}
	}
}

// awaitNodes waits until all nodes in touch know what is new, for ackTimeout at
// the most, and reports whether ctx still runs.
func (s *Server) awaitNodes(ctx context.Context) bool {
	if clock.Sleep(ctx, time.Until(s.gathered)) != nil {
		return false
	}
	bound := time.NewTimer(ackTimeout)
	defer bound.Stop()
	for {
		late := s.behind()
		if len(late) == 0 {
			break
		}
		select {
		case <-ctx.Done():
			return false
		case <-bound.C:
			s.Log.Warn("nodes did not take the new gossip key in time; they get it when they are back", "nodes", late)
			return true
		case <-s.heard:
		}
	}
	if len(s.Managers()) > 1 && clock.Sleep(ctx, s.spread) != nil {
		return false
	}
	return !s.Keys.Switched() || clock.Sleep(ctx, oldKeyGrace) == nil
}
