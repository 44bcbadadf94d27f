// Package alerts tells people what is not as it should be: on the manager that leads. What is to be told stands in the
// cluster's state before it is sent, so that a leader that dies loses nothing, and the next one goes on.
//
//	see ──Observe──▶ state: alerts, messages ──Claim──▶ state ──send──▶ state without what was sent
//
// Three loops of it run beside each other, so that a receiver that takes its time keeps nothing from being seen: what
// sees, what sends, and what calls the dead man's switch while both do as they should.
package alerts

import (
	"context"
	"crypto/rand"
	"log/slog"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/crawlbox/crawlbox/appliance/alerts"
	"github.com/crawlbox/crawlbox/appliance/controller"
	"github.com/crawlbox/crawlbox/appliance/lifecycle"
	"github.com/crawlbox/crawlbox/configs"
)

const (
	// every is how often it looks, and sends.
	every = 10 * time.Second
	// maxLook bounds how long a look takes.
	maxLook = time.Minute
	// wellFor is how long after it has seen all the cluster counts as well, and maxFailing how long a channel may fail.
	wellFor, maxFailing = 2 * time.Minute, 15 * time.Minute
	// atOnce bounds the messages that are sent at a time, and batch those that are sent in a round.
	atOnce, batch = 8, 100
)

// Options are what the controller works with.
type Options struct {
	Store *alerts.Store
	// Config returns what the config in force says of alerts; an error: it is not known.
	Config func() (configs.Alerts, error)
	// See returns what is not as it should be, and how long queues are.
	See func(ctx context.Context, c configs.Alerts, is alerts.State) (alerts.Seen, []alerts.Queue, error)
	// Send tells a message on a channel; nil: it was told.
	Send func(ctx context.Context, c configs.Channel, m alerts.Message) *alerts.Failure
	// Call calls a dead man's switch.
	Call func(ctx context.Context, d configs.Deadman) error
	Now  func() time.Time
	Log  *slog.Logger
}

// Controller is the loops, and what is known of them. Its methods may be called at the same time.
type Controller struct {
	Options
	self string // of its claims: of this time that it leads
	send *controller.Loop

	mu     sync.Mutex
	seen   time.Time        // when it has seen all last
	noted  map[string]*done // messages that were sent, of which the state does not know yet
	called Called
}

// done is what became of a message.
type done struct{ failure *alerts.Failure }

// Called says how the dead man's switch was called last.
type Called struct {
	At  time.Time `json:"at,omitzero"` // well
	Why string    `json:"why,omitempty"`
}

// New returns the controller.
func New(o Options) *Controller {
	return &Controller{Options: o, self: rand.Text(), noted: map[string]*done{}}
}

// Parts are its loops.
func (k *Controller) Parts() []lifecycle.Part {
	look := controller.New("alerts", k.look)
	k.send = controller.New("messages of alerts", k.deliver)
	for _, loop := range []*controller.Loop{look, k.send} {
		loop.First, loop.Every, loop.Retry, loop.RetryMost = every, every, every, every
	}
	return []lifecycle.Part{look.Part(), k.send.Part(), lifecycle.Background("dead man's switch", k.watch)}
}

// Called returns how the dead man's switch was called last.
func (k *Controller) Called() Called {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.called
}

// look sees what there is, and notes what is to be told.
func (k *Controller) look(ctx context.Context) error {
	c, err := k.Config()
	if err != nil {
		return err
	}
	was, err := k.Store.Load()
	if err != nil {
		return err
	}
	now := k.Now()
	if len(c.Channels) == 0 {
		k.saw(now)
		return k.forget(was)
	}
	ctx, cancel := context.WithTimeout(ctx, maxLook)
	defer cancel()
	seen, queues, err := k.See(ctx, c, was)
	if err != nil {
		k.Log.Debug("failed to see what there is to tell", "error", err)
		return err
	}
	k.saw(now)
	policy := alerts.Policy{Wait: c.Wait, Settle: c.Settle, Repeat: c.Repeat, To: c.To}
	next := func(s alerts.State) alerts.State {
		if queues != nil {
			s = s.Sampled(queues, c.Span(configs.QueueStuck), now)
		}
		return s.Observe(seen, policy, now)
	}
	after := next(was)
	if after.Equal(was) {
		return nil
	}
	err = k.Store.Update("note what there is to tell", func(s alerts.State) (alerts.State, error) {
		after = next(s)
		return after, nil
	})
	if err == nil && len(after.Messages) > 0 && k.send != nil {
		k.send.Again()
	}
	return err
}

// forget drops what was known while there were channels.
func (k *Controller) forget(was alerts.State) error {
	if was.Equal(alerts.State{Silences: was.Silences}) {
		return nil
	}
	return k.Store.Update("forget alerts, as there is no channel", func(s alerts.State) (alerts.State, error) {
		return alerts.State{Silences: s.Silences}, nil
	})
}

func (k *Controller) saw(now time.Time) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.seen = now
}

// deliver sends what is due.
func (k *Controller) deliver(ctx context.Context) error {
	for range batch {
		c, err := k.Config()
		if err != nil {
			return err
		}
		if err := k.noteAll(); err != nil {
			return err
		}
		mine, err := k.claim(c)
		if err != nil || len(mine) == 0 {
			return err
		}
		var all errgroup.Group
		all.SetLimit(atOnce)
		for _, m := range mine {
			all.Go(func() error { return k.tell(ctx, c, m) })
		}
		if err := all.Wait(); err != nil {
			return err
		}
	}
	return nil
}

// claim takes the messages that are due, if there are some.
func (k *Controller) claim(c configs.Alerts) (mine []alerts.Message, err error) {
	var names []string
	for _, ch := range c.Channels {
		names = append(names, ch.Name)
	}
	is, err := k.Store.Load()
	if err != nil {
		return nil, err
	}
	now := k.Now()
	if next, due := is.Claim(k.self, names, now); len(due) == 0 && next.Equal(is) {
		return nil, nil
	}
	err = k.Store.Update("send alerts", func(s alerts.State) (next alerts.State, err error) {
		next, mine = s.Claim(k.self, names, now)
		return next, nil
	})
	return mine, err
}

// tell sends a message, and notes what became of it.
func (k *Controller) tell(ctx context.Context, c configs.Alerts, m alerts.Message) error {
	for _, ch := range c.Channels {
		if ch.Name != m.Channel {
			continue
		}
		failure := k.Send(ctx, ch, m)
		if failure != nil && ctx.Err() != nil {
			return ctx.Err() // it leads no longer: the next one sends it
		}
		if failure != nil {
			k.Log.Debug("failed to tell an alert", "channel", ch.Name, "error", failure.Why)
		}
		k.mu.Lock()
		k.noted[m.ID] = &done{failure}
		k.mu.Unlock()
		return k.note(m.ID)
	}
	return nil
}

// noteAll notes what became of messages where that could not be noted before.
func (k *Controller) noteAll() error {
	k.mu.Lock()
	var ids []string
	for id := range k.noted {
		ids = append(ids, id)
	}
	k.mu.Unlock()
	for _, id := range ids {
		if err := k.note(id); err != nil {
			return err
		}
	}
	return nil
}

func (k *Controller) note(id string) error {
	k.mu.Lock()
	is := k.noted[id]
	k.mu.Unlock()
	err := k.Store.Update("note what was sent", func(s alerts.State) (alerts.State, error) {
		if is.failure == nil {
			return s.Sent(id), nil
		}
		return s.Failed(id, k.self, *is.failure, k.Now()), nil
	})
	if err == nil {
		k.mu.Lock()
		delete(k.noted, id)
		k.mu.Unlock()
	}
	return err
}

// watch calls the dead man's switch until ctx ends, as often as the config says.
func (k *Controller) watch(ctx context.Context) error {
	const look = 5 * time.Second
	timer := time.NewTicker(look)
	defer timer.Stop()
	var last time.Time
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-timer.C:
		}
		c, err := k.Config()
		if err != nil || c.Deadman.URL == "" && c.Deadman.URLFile == "" || time.Since(last) < c.Deadman.Every {
			continue
		}
		last = time.Now()
		k.call(ctx, c)
	}
}

// call calls the dead man's switch, if all is well.
func (k *Controller) call(ctx context.Context, c configs.Alerts) {
	now := k.Now()
	why := k.unwell(now)
	if why == "" {
		if err := k.Call(ctx, c.Deadman); err != nil {
			why = err.Error()
		}
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.called.Why = why; why == "" {
		k.called.At = now
	} else {
		k.Log.Debug("did not call the dead man's switch", "error", why)
	}
}

// unwell returns why others should look after the cluster; empty: alerts are seen and told.
func (k *Controller) unwell(now time.Time) string {
	k.mu.Lock()
	seen := k.seen
	k.mu.Unlock()
	if now.Sub(seen) > wellFor {
		return "this manager can't see how the cluster is, so it is not called"
	}
	is, err := k.Store.Load()
	if err != nil {
		return err.Error()
	}
	for _, m := range is.Messages {
		if !m.Since.IsZero() && now.Sub(m.Since) > maxFailing {
			return "alerts can't be told on " + m.Channel + ", so it is not called"
		}
	}
	return ""
}
