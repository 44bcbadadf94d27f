package upgrade

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/crawlbox/crawlbox/appliance/base/clock"
	"github.com/crawlbox/crawlbox/appliance/fleet"
)

const (
	askInterval = 300 * time.Millisecond
	// upTimeout bounds the whole of one node: to fetch, to start and, if need be, to
	// start the old version again.
	upTimeout = fetchTimeout + 2*ReadyTimeout
)

// Nodes is how the manager speaks to the nodes. It must be safe for concurrent
// use.
type Nodes interface {
	// UpgradeStates asks all nodes of the swarm at once.
	UpgradeStates(ctx context.Context) ([]Answer, error)
	UpgradeState(ctx context.Context, n fleet.Node) (State, error)
	OfferUpgrade(ctx context.Context, n fleet.Node, o Offer) error
}

// Event reports how far an upgrade has come on one node.
type Event struct {
	Node string `json:"node"`
	Text string `json:"text"`
}

// upgradeNode brings what was offered onto one node and returns when it runs there. The
// error says why it does not; the node then has the version that it had. say is called
// with each thing that happens, once.
func upgradeNode(ctx context.Context, nodes Nodes, n fleet.Node, o Offer, say func(string) error) error {
	ctx, cancel := context.WithTimeoutCause(ctx, upTimeout, fmt.Errorf("waited %s", upTimeout))
	defer cancel()
	if err := nodes.OfferUpgrade(ctx, n, o); err != nil {
		return err
	}
	return Follow(ctx, func(ctx context.Context) (State, error) { return nodes.UpgradeState(ctx, n) }, o, say)
}

// Follow looks at a node until what was offered to it runs there, or is known not to.
// That it does not answer for a time is part of it.
func Follow(ctx context.Context, look func(context.Context) (State, error), o Offer, say func(string) error) error {
	var last string
	for {
		s, err := look(ctx)
		text, over := "", false
		if err == nil {
			if text, over, err = s.progress(o); err != nil {
				return err
			}
		}
		if text != "" && text != last {
			last = text
			if err := say(text); err != nil {
				return err
			}
		}
		if over {
			return nil
		}
		if clock.Sleep(ctx, askInterval) != nil {
			return errors.Join(context.Cause(ctx), err)
		}
	}
}

// progress says how far the upgrade to what was offered is, and whether it is over.
func (s State) progress(o Offer) (text string, over bool, err error) {
	j := s.Journal
	switch {
	case s.Busy:
		return "fetches " + o.Version, false, nil
	case s.Failed != "":
		return "", false, errors.New(s.Failed)
	case j.To.SHA256 != o.SHA256:
		return "", false, errors.New("it has forgotten the offer, as it was restarted meanwhile; run the same " +
			"command again")
	case j.Phase == Returned:
		return "", false, fmt.Errorf("it runs %s again: %s", j.From.Version, j.Reason)
	case j.Phase == Done:
		return fmt.Sprintf("runs %s (was %s)", j.To.Version, j.From.Version), true, nil
	case j.Phase == Returning:
		return "goes back to " + j.From.Version + ": " + j.Reason, false, nil
	}
	return "restarts with " + o.Version, false, nil
}

// Problem returns what a person should know of the last upgrade of a node; empty: nothing.
func (s State) Problem() string {
	j := s.Journal
	switch {
	case s.Failed != "":
		return fmt.Sprintf("the upgrade of this node has failed: %s; run the same `crawlbox upgrade` again", s.Failed)
	case !j.ended():
		return fmt.Sprintf("this node is being upgraded to %s; `systemctl status crawlbox-upgrade` shows how far it is",
			j.To.Version)
	case s.TakenBack():
		return fmt.Sprintf("the upgrade of this node to %s was taken back: %s; bring another version with `crawlbox "+
			"upgrade --from FILE`", j.To.Version, j.Reason)
	}
	return ""
}

// TakenBack reports whether the node went back from the last version that was offered, and runs
// the one before.
func (s State) TakenBack() bool {
	return s.Failed == "" && s.Journal.Phase == Returned && s.SHA256 == s.Journal.From.SHA256
}
