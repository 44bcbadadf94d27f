package standby

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/crawlbox/crawlbox/appliance/agent"
	"github.com/crawlbox/crawlbox/appliance/base/clock"
	"github.com/crawlbox/crawlbox/appliance/fleet"
)

// Leader has another manager be the home of the queue when the one before is gone. It runs on the manager that leads,
// where that is not the home.
type Leader struct {
	Keeper *Keeper // of this manager
	Others func() []Manager
	Home   func() netip.Addr                           // by the state; not valid: nobody is, or it has no copies
	Nodes  func(context.Context) ([]fleet.Node, error) // of the swarm
	Client func() *http.Client                         // speaks to managers only
	Log    *slog.Logger

	known int           // the highest number that a manager has heard of
	again time.Time     // not before that
	pause time.Duration // after the next vote that fails
}

// Run looks until ctx ends. It may be called again then.
func (l *Leader) Run(ctx context.Context) error {
	said := ""
	for clock.Sleep(ctx, lookEvery) == nil {
		err := l.look(ctx)
		if text := fmt.Sprint(err); err != nil && text != said && ctx.Err() == nil {
			l.Log.Info("the home of the queue is gone, and no other manager can be it now; will retry", "error", err)
			said = text
		}
	}
	return nil
}

const (
	// leastPause and longestPause are between two votes that fail, and settles is how long who was elected may take.
	leastPause, longestPause = agreesEvery, time.Minute
	settles                  = 20 * time.Second
	// heardLater is by how much later the others may have heard the home.
	heardLater = 500 * time.Millisecond
)

// look has another manager be the home once, if the one there is is gone.
func (l *Leader) look(ctx context.Context) error {
	if !l.Keeper.missing() || time.Now().Before(l.again) {
		return nil
	}
	others, home := l.Others(), l.Home()
	if !home.IsValid() || home == l.Keeper.Addr || len(others)+1 < fewest {
		return nil
	}
	asked, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	nodes, err := l.Nodes(asked)
	if err != nil || !gone(nodes, home) {
		return nil // who can't ask Swarm leads nobody
	}
	l.pause = min(max(2*l.pause, leastPause), longestPause)
	l.again = time.Now().Add(l.pause)
	votes := l.ask(ctx, slices.DeleteFunc(others, func(m Manager) bool { return m.Addr.Addr() == home }))
	if n, all := len(votes.agreed), len(others)+1; n <= all/2 {
		return fmt.Errorf("%d of %d managers agree (%s)", n, all, strings.Join(votes.why, "; "))
	}
	at := -1
	for i, v := range votes.agreed {
		if v.Copy != nil && (at < 0 || v.Copy.Time.After(votes.agreed[at].Copy.Time)) {
			at = i
		}
	}
	if at < 0 {
		return errors.New("none has a copy of the queue; `crawlbox recover --queue` begins with an empty one")
	}
	l.again, l.pause = time.Now().Add(settles), 0
	a := agreement{Number: votes.number}
	next := votes.agreed[at]
	if !next.Addr.IsValid() {
		return l.Keeper.takeOver(ctx, time.Now(), a)
	}
	l.Log.Warn("another manager is to be the home of the queue: the one before is gone", "node", next.Name)
	_, err = takeCall.Ask(ctx, agent.Target{Client: l.Client(), Addr: next.Addr}, a)
	return err
}

// missing reports whether this manager has heard no home for as long as it takes to agree to another one.
func (k *Keeper) missing() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.silent(time.Now()) >= Silence+heardLater
}

// gone reports whether Swarm does not reach the node at an address.
func gone(nodes []fleet.Node, at netip.Addr) bool {
	for _, n := range nodes {
		if addr, err := netip.ParseAddr(n.Addr); err == nil && addr.Unmap() == at {
			return n.Away()
		}
	}
	return false // it was taken off the list, which is for a person to do
}

// voter is a manager that agrees; without an address it is this one.
type voter struct {
	Manager
	vote
}

type votes struct {
	number int
	agreed []voter
	why    []string // the others do not
}

// ask asks this manager and others whether they agree to the next home.
func (l *Leader) ask(ctx context.Context, others []Manager) (all votes) {
	own, err := l.Keeper.agree(time.Now(), agreement{Number: l.known + 1})
	all.number = l.known + 1
	if err == nil && !own.OK && own.Known > l.known {
		l.known = own.Known
		all.number = l.known + 1
		own, err = l.Keeper.agree(time.Now(), agreement{Number: all.number})
	}
	l.known = all.number // it is asked for once
	if err != nil || !own.OK {
		all.why = []string{fmt.Sprintf("this one does not: %s", own.Why)}
		return all
	}
	all.agreed = []voter{{vote: own}}
	var mu sync.Mutex
	var asking sync.WaitGroup
	for _, m := range others {
		asking.Go(func() {
			v, err := agreeCall.Ask(ctx, agent.Target{Client: l.Client(), Addr: m.Addr}, agreement{Number: all.number})
			mu.Lock()
			defer mu.Unlock()
			l.known = max(l.known, v.Known)
			switch {
			case err != nil:
				all.why = append(all.why, fmt.Sprintf("%s: %s", m.Name, err))
			case !v.OK:
				all.why = append(all.why, fmt.Sprintf("%s: %s", m.Name, v.Why))
			default:
				all.agreed = append(all.agreed, voter{m, v})
			}
		})
	}
	asking.Wait()
	slices.Sort(all.why)
	return all
}
