package join

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/crawlbox/crawlbox/appliance/failpoint"
)

const (
	// ackTimeout bounds the wait for the nodes in touch to know a key. One that
	// does not answer gets the keys when it is back.
	ackTimeout = 15 * time.Second
	// lastWords is how long packets with the old key may still be under way when
	// all nodes use the new one.
	lastWords = time.Second
	// gathering is how long after the start all nodes that are up have asked for
	// news again.
	gathering = 2*followRetry + time.Second
	// changeRetry is the pause after a change of keys that failed.
	changeRetry = 10 * time.Second
)

// Remove ends a node's access: when it returns, its certificate is refused here,
// the other nodes in touch are told, and Run is changing the key of gossip. It
// may be called again for a node that was removed.
func (s *Server) Remove(id string) error {
	if err := s.Members.remove(id); err != nil {
		return fmt.Errorf("remove node %s: %w", id, err)
	}
	s.Audit("removal", slog.String("node", id))
	select {
	case s.rotate <- struct{}{}:
	default: // the change that is to come will do
	}
	return s.publish()
}

// Run changes the keys of gossip when a node was removed, until ctx ends. A
// change that was cut off goes on where it was.
func (s *Server) Run(ctx context.Context) error {
	for {
		if !s.Keys.Changing() {
			select {
			case <-ctx.Done():
				return nil
			case <-s.rotate:
			}
		}
		err := s.changeKeys(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if err == nil {
			s.Log.Info("changed the key of gossip")
			continue
		}
		s.Log.Warn("change the key of gossip", "error", err)
		if !sleep(ctx, changeRetry) {
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
		if err := s.Keys.step(); err != nil {
			return err
		}
		if err := s.publish(); err != nil {
			return err
		}
		switch keys := s.Keys; {
		case !keys.Changing():
			return nil
		case keys.used():
			failpoint.Hit(failpoint.KeysUsed)
		default:
			failpoint.Hit(failpoint.KeysAdded)
		}
	}
}

// awaitNodes waits until all nodes in touch know what is new, for ackTimeout at
// the most, and reports whether ctx still runs.
func (s *Server) awaitNodes(ctx context.Context) bool {
	if !sleep(ctx, time.Until(s.gathered)) {
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
			s.Log.Warn("nodes did not take the new key of gossip in time; they get it when they are back", "nodes", late)
			return true
		case <-s.heard:
		}
	}
	return !s.Keys.used() || sleep(ctx, lastWords)
}
