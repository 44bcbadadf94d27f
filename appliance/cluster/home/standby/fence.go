package standby

import (
	"context"
	"errors"
	"net/http"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/crawlbox/crawlbox/appliance/agent"
	"github.com/crawlbox/crawlbox/appliance/base/clock"
	"github.com/crawlbox/crawlbox/appliance/cluster/home"
)

// Hold is a queue that can be held: then it serves nobody until it is let go.
type Hold interface {
	Hold(why string)
	Release()
}

// Held is why a queue does not serve that is held.
const Held = "most of the managers do not say that this one is its home: they may have another one soon; start " +
	"crawlbox there, or mend the network"

// fewest is how many managers there are at least where one can take the queue over: with two, the one that is left
// is no majority.
const fewest = 3

// Guarded reports whether others could take the queue over, so that it is to be held until that is certain not to be.
func (h *Home) Guarded() bool { return len(h.Others())+1 >= fewest }

// lookEvery is how often a home looks whether its lease has ended.
const lookEvery = 250 * time.Millisecond

// lease is what a home knows of who said that it is one.
type lease struct {
	mu     sync.Mutex
	asked  map[netip.AddrPort]said
	busy   map[netip.AddrPort]bool // is being asked
	agreed int                     // the highest number of another home that somebody has agreed to
}

func newLease() *lease {
	return &lease{asked: map[netip.AddrPort]said{}, busy: map[netip.AddrPort]bool{}}
}

// said is what a manager has said.
type said struct {
	at    time.Time // when it was asked the last time that it said yes
	knows bool      // it can agree to another home: it is not of a version before
}

// holds reports whether a majority of the managers, the home and others, said a moment ago that it is the home.
func (l *lease) holds(now time.Time, others []Manager) bool {
	if len(others)+1 < fewest {
		return true
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	said := 1
	for _, m := range others {
		if s, ok := l.asked[m.Addr]; ok && now.Sub(s.at) < leaseFor {
			said++
		}
	}
	return said > (len(others)+1)/2
}

// idle returns the managers that are asked nothing now. It has them busy.
func (l *lease) idle(others []Manager) []Manager {
	l.mu.Lock()
	defer l.mu.Unlock()
	for at := range l.asked {
		if !slices.ContainsFunc(others, func(m Manager) bool { return m.Addr == at }) {
			delete(l.asked, at)
		}
	}
	return slices.DeleteFunc(slices.Clone(others), func(m Manager) bool {
		busy := l.busy[m.Addr]
		l.busy[m.Addr] = true
		return busy
	})
}

// answered takes what a manager has answered, nil where it has not, or that it can't answer such a question.
func (l *lease) answered(m Manager, asked time.Time, v *verdict, never bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.busy, m.Addr)
	s := l.asked[m.Addr]
	if v != nil {
		s.knows = true
		l.agreed = max(l.agreed, v.Agreed)
	}
	if v != nil && v.OK || never && !s.knows {
		s.at = asked
	}
	l.asked[m.Addr] = s
}

// outdated returns the number that a home with another one has to have to be told that it is one, 0 if it can be.
func (l *lease) outdated(number int) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.agreed <= number {
		return 0
	}
	return l.agreed + 1
}

// Fence holds the queue while it is not certain that this machine is its home, until ctx ends. It may be called once,
// and the queue has to be held before where there may be other managers.
func (h *Home) Fence(ctx context.Context, queue Hold) error {
	l := newLease()
	var all sync.WaitGroup
	defer all.Wait()
	number := home.Number(h.Config.DataDir)
	for next := time.Now(); ; {
		others := h.Others()
		holds := l.holds(time.Now(), others)
		if holds {
			queue.Release()
		} else {
			queue.Hold(Held)
		}
		if now := time.Now(); !now.Before(next) {
			next = now.Add(beatEvery)
			if n := l.outdated(number); n > 0 && !holds && h.renumber(ctx, l, others, n) {
				number = n
			}
			for _, m := range l.idle(others) {
				all.Go(func() { h.ask(ctx, l, m, number) })
			}
		}
		if clock.Sleep(ctx, lookEvery) != nil {
			return nil
		}
	}
}

// renumber has this home have a higher number where most of the managers agree to that. They do where they tell no
// home that it is one: who was elected instead of this one has not begun.
func (h *Home) renumber(ctx context.Context, l *lease, others []Manager, n int) bool {
	var mu sync.Mutex
	var asking sync.WaitGroup
	agreed := 1
	for _, m := range others {
		asking.Go(func() {
			v, err := agreeCall.Ask(ctx, agent.Target{Client: h.Client(), Addr: m.Addr}, agreement{Number: n})
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err == nil && v.OK:
				agreed++
			case err == nil:
				l.heard(v.Known)
				h.Log.Debug("failed to remain the home of the queue", "node", m.Name, "number", n, "why", v.Why)
			}
		})
	}
	asking.Wait()
	if agreed <= (len(others)+1)/2 {
		if agreed > 1 {
			l.heard(n) // who has agreed does so once
		}
		return false
	}
	was := home.Number(h.Config.DataDir)
	err := home.WriteNumber(h.Config.DataDir, n)
	if err == nil {
		err = renumber(h.Config.DataDir, was, n)
	}
	if err != nil {
		h.Log.Error("failed to remain the home of the queue", "error", err)
		return false
	}
	h.Log.Warn("this remains the home of the queue: another manager was to be it, and has not begun", "number", n)
	return true
}

// heard takes that a manager knows of a home with a number.
func (l *lease) heard(number int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.agreed = max(l.agreed, number)
}

// Handlers answers other homes: the one with the highest number is it.
func (h *Home) Handlers() []agent.Handler {
	return []agent.Handler{beatCall.Handler(h.Log, func(context.Context, agent.Peer, beat) (verdict, error) {
		return verdict{beat: beat{Number: home.Number(h.Config.DataDir), Name: h.Name, Addr: h.Addr}}, nil
	})}
}

// ask asks a manager whether this machine is the home.
func (h *Home) ask(ctx context.Context, l *lease, m Manager, number int) {
	asked := time.Now()
	to := agent.Target{Client: h.Client(), Addr: m.Addr}
	v, err := beatCall.Ask(ctx, to, beat{Number: number, Name: h.Name, Addr: h.Addr})
	if err == nil {
		l.answered(m, asked, &v, false)
	} else {
		l.answered(m, asked, nil, never(err))
		h.Log.Debug("failed to ask whether this is the home of the queue", "node", m.Name, "error", err)
	}
	if err != nil || v.OK || v.Number <= number || !v.Addr.IsValid() {
		return
	}
	if !slices.ContainsFunc(h.Others(), func(m Manager) bool { return m.Addr.Addr() == v.Addr }) {
		l.heard(v.Number) // it was taken off the list, which a person does, or this one has an old list
		return
	}
	h.Log.Warn("another manager is the home of the queue now; this one stands down", "node", v.Name, "addr", v.Addr)
	// The move that ends this home is one that was decided on elsewhere: the node begins anew for it.
	if err := home.Gone(moveID(v.Number), v.Name, v.Addr).Save(h.Config.DataDir); err != nil {
		h.Log.Error("failed to stand down as the home of the queue", "error", err)
	}
}

// never reports whether an answer is that of a manager which never agrees to another home: it has another version.
func never(err error) bool {
	var refused *agent.StatusError
	return errors.As(err, &refused) && refused.Code == http.StatusNotFound
}
