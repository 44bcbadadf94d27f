// Package scaling has the replicas of services follow the queues that they work off. What is decided is package
// autoscale's; this looks at the queue and at Swarm every few seconds, for all services that have a rule, and does it.
//
// The rule of a service and what came of it last stand in its labels, so that a manager which begins to lead knows
// them, and so that a number of replicas that came otherwise is known for a person's: that pauses the rule.
package scaling

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/crawlbox/crawlbox/appliance/autoscale"
	"github.com/crawlbox/crawlbox/appliance/controller"
	"github.com/crawlbox/crawlbox/appliance/failpoint"
	"github.com/crawlbox/crawlbox/appliance/fleet"
	"github.com/crawlbox/crawlbox/appliance/queueproc/backlog"
	"github.com/crawlbox/crawlbox/appliance/queueproc/leases"
	"github.com/crawlbox/crawlbox/appliance/swarm/servicespec"
)

// every is how often it looks.
const every = 5 * time.Second

// Engine holds the methods of *swarm.Engine that the controller needs.
type Engine interface {
	Services(ctx context.Context) ([]fleet.Service, error)
	Nodes(ctx context.Context) ([]fleet.Node, error)
	Tasks(ctx context.Context, serviceID string) ([]fleet.Task, error)
	PauseAutoscale(ctx context.Context, id, why string) error
}

// Queue tells what there is to do. *backlog.Reader is one.
type Queue interface {
	Look(ctx context.Context, keys ...string) (backlog.Seen, error)
	// Leave has containers get no more items, and returns who holds one then; Stay takes that back.
	Leave(ctx context.Context, containers ...string) (leases.Holders, error)
	Stay(ctx context.Context, containers ...string) error
}

// Runner changes services. *deploy.Runner is one.
type Runner interface {
	Autoscale(ctx context.Context, svc fleet.Service, to servicespec.Autoscaled) error
	// Scaled writes down that somebody else gave a service another number of replicas.
	Scaled(ctx context.Context, svc fleet.Service, replicas int, by, why string) error
}

// Controller scales services. Its methods may be called from any goroutine.
type Controller struct {
	*controller.Loop
	engine Engine
	queue  Queue
	runner Runner
	log    *slog.Logger

	policies map[string]*autoscale.Policy // by ID of the service; of the round
	left     map[string][]string          // containers that get no items, until it is seen which ended

	mu     sync.Mutex
	states []fleet.Scaling // of the last round, by name
}

// New returns a controller.
func New(e Engine, q Queue, r Runner, log *slog.Logger) *Controller {
	c := &Controller{
		engine:   e,
		queue:    q,
		runner:   r,
		log:      log,
		policies: map[string]*autoscale.Policy{},
		left:     map[string][]string{},
	}
	c.Loop = controller.New("autoscale", c.round)
	c.Every, c.Retry, c.RetryMost = every, every, every
	return c
}

// States returns what is known of each service that has a rule, by name.
func (c *Controller) States() []fleet.Scaling {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.states)
}

func (c *Controller) round(ctx context.Context) error {
	services, err := c.engine.Services(ctx)
	if err != nil {
		return err
	}
	var keys []string
	services = slices.DeleteFunc(services, func(svc fleet.Service) bool { return svc.Autoscale == nil })
	for _, svc := range services {
		if svc.Autoscale.Paused == "" && !slices.Contains(keys, svc.Autoscale.Queue) {
			keys = append(keys, svc.Autoscale.Queue)
		}
	}
	c.forget(services)
	var w world
	if len(keys) > 0 {
		nodes, err := c.engine.Nodes(ctx)
		if err != nil {
			return err
		}
		w.room, _ = fleet.Room(nodes)
		w.addrs = map[string]string{}
		for _, n := range nodes {
			w.addrs[n.ID] = n.Addr
		}
		w.queue, w.unreadable = c.queue.Look(ctx, keys...)
	}
	var states []fleet.Scaling
	var errs []error
	for _, svc := range services {
		state, err := c.scale(ctx, svc, w)
		states, errs = append(states, state), append(errs, err)
	}
	slices.SortFunc(states, func(a, b fleet.Scaling) int { return cmp.Compare(a.Service, b.Service) })
	c.mu.Lock()
	defer c.mu.Unlock()
	c.states = states
	return errors.Join(errs...)
}

// world is what all services share.
type world struct {
	room       int               // replicas that the nodes bear
	addrs      map[string]string // of nodes, by ID
	queue      backlog.Seen
	unreadable error
}

// forget drops the policies of services that have no rule any longer, and of paused ones: they begin anew.
func (c *Controller) forget(services []fleet.Service) {
	for id := range c.policies {
		if !slices.ContainsFunc(services, func(svc fleet.Service) bool {
			return svc.ID == id && svc.Autoscale.Paused == ""
		}) {
			delete(c.policies, id)
			delete(c.left, id)
		}
	}
}

// scale does about one service what there is to do, and returns what is known of it then.
func (c *Controller) scale(ctx context.Context, svc fleet.Service, w world) (fleet.Scaling, error) {
	rule := svc.Autoscale
	state := fleet.Scaling{Service: svc.Name, Autoscale: *rule, Replicas: svc.Desired, Wanted: -1, At: time.Now().UTC()}
	busy := ""
	if svc.Pending != "" || svc.Update == fleet.Updating || svc.Update == fleet.RollingBack {
		busy = "it is being updated; nothing is scaled meanwhile"
	}
	switch {
	case rule.Paused != "":
		state.Now = rule.PausedNow(svc.Name)
		return state, nil
	case rule.Set >= 0 && rule.Set != svc.Desired && busy == "":
		return c.pause(ctx, svc, state)
	}
	policy := c.policies[svc.ID]
	if policy == nil {
		policy = &autoscale.Policy{
			Double: failpoint.Scaling(autoscale.Double),
			Below:  failpoint.Scaling(autoscale.Below),
		}
		c.policies[svc.ID] = policy
	}
	tasks, err := c.engine.Tasks(ctx, svc.ID)
	if err != nil {
		return state, err
	}
	seen := autoscale.Seen{Rule: rule.Rule, Replicas: svc.Desired, Busy: busy, Room: w.room}
	if unreadable := cmp.Or(w.unreadable, w.queue.Errs[rule.Queue]); unreadable != nil {
		seen.Unreadable = unreadable.Error()
	}
	key := w.queue.Keys[rule.Queue]
	seen.Queue = autoscale.Queue{
		Waiting:  key.Waiting,
		InFlight: key.InFlight,
		Leased:   key.Leased,
		Counted:  key.Counted,
		Out:      key.Out,
	}
	seen.Slots = slotsOf(svc, tasks, w, state.At)
	c.staying(ctx, svc, seen.Slots)
	d := policy.Decide(state.At, seen)
	state.Waiting, state.InFlight, state.Leased = key.Waiting, key.InFlight, key.Leased
	state.Wanted, state.PerMinute = d.Wanted, 60*policy.Rate()
	var leave []string
	if d.Change && d.Replicas < svc.Desired && key.Leased {
		d, leave, err = c.leave(ctx, seen, d, w.addrs)
	}
	if state.Now = d.Why; !d.Change {
		return state, nil
	}
	to := servicespec.Autoscaled{Replicas: d.Replicas, Again: d.Again, Why: d.Why}
	if err == nil {
		err = c.runner.Autoscale(ctx, svc, to)
	}
	if err != nil {
		policy.Undo()
		c.stay(ctx, leave)
		state.Now = fmt.Sprintf("%d are wanted, and nothing was changed: %s", d.Replicas, err)
		c.log.Debug("failed to scale a service by its queue", "service", svc.Name, "error", err)
		return state, nil // it is looked again anyway
	}
	c.left[svc.ID] = leave
	c.log.Info("scaled a service by its queue", "service", svc.Name, "from", svc.Desired, "to", d.Replicas, "why",
		d.Why)
	state.Replicas, state.Set, state.Why = d.Replicas, d.Replicas, d.Why
	return state, nil
}

// leave has the replicas get no more items that are to be ended, and decides again, since one may have got one by now.
// It returns the containers of those that end.
func (c *Controller) leave(ctx context.Context, seen autoscale.Seen, d autoscale.Decision, addrs map[string]string) (
	autoscale.Decision, []string, error,
) {
	all := seen.Containers(d.Replicas)
	holds, err := c.queue.Leave(ctx, all...)
	if err != nil {
		return d, all, err
	}
	for i, s := range seen.Slots {
		seen.Slots[i].Holds = s.Holds || holds.May(s.Container, addrs[s.Node])
	}
	d = d.With(seen)
	leave := seen.Containers(d.Replicas)
	c.stay(ctx, slices.DeleteFunc(all, func(id string) bool { return slices.Contains(leave, id) }))
	return d, leave, nil
}

// staying has those get items again that Swarm has not ended, once it has ended others: of several nodes with as many
// replicas as each other it was not known which are concerned.
func (c *Controller) staying(ctx context.Context, svc fleet.Service, slots []autoscale.Slot) {
	left := c.left[svc.ID]
	if len(left) == 0 || len(slots) > svc.Desired {
		return
	}
	delete(c.left, svc.ID)
	c.stay(ctx, slices.DeleteFunc(left, func(id string) bool {
		return !slices.ContainsFunc(slots, func(s autoscale.Slot) bool { return s.Container == id })
	}))
}

// stay has containers get items again. Where that fails they do after some time.
func (c *Controller) stay(ctx context.Context, containers []string) {
	if err := c.queue.Stay(ctx, containers...); err != nil && len(containers) > 0 {
		c.log.Debug("failed to have replicas that stay get items again at once", "error", err)
	}
}

// pause lets a person say how many replicas a service has who has given it another number.
func (c *Controller) pause(ctx context.Context, svc fleet.Service, state fleet.Scaling) (fleet.Scaling, error) {
	state.Paused = fmt.Sprintf("scaled to %d by hand", svc.Desired)
	state.Now = state.PausedNow(svc.Name)
	if err := c.engine.PauseAutoscale(ctx, svc.ID, state.Paused); err != nil {
		return state, err
	}
	c.log.Info("a service was scaled by hand, and follows its queue no more", "service", svc.Name, "to", svc.Desired)
	was := svc
	was.Desired = svc.Autoscale.Set
	return state, c.runner.Scaled(ctx, was, svc.Desired, "", fleet.PausedWhy(svc.Name))
}

// startsWithin is for how long a replica that begins on a node may hold an item already: Swarm hears of its container
// some time after that runs.
const startsWithin = time.Minute

// slotsOf returns the slots that Swarm counts as replicas of a service.
func slotsOf(svc fleet.Service, tasks []fleet.Task, w world, now time.Time) (slots []autoscale.Slot) {
	var ended []autoscale.Slot
	for _, of := range fleet.Slots(tasks) {
		t := of.Newest()
		gone := t.State == fleet.TaskShutdown || t.State == fleet.TaskRemove || t.State == fleet.TaskOrphaned
		if gone || t.Desired == fleet.TaskRemove || t.Desired == fleet.TaskShutdown && !t.Ended() {
			continue
		}
		addr := w.addrs[t.NodeID]
		if t.Ended() {
			addr = "" // whoever holds an item there is another
		}
		slot := autoscale.Slot{
			Number:  t.Slot,
			Task:    fmt.Sprintf("%s.%d", svc.Name, t.Slot),
			Node:    t.NodeID,
			Running: t.State == fleet.TaskRunning,
			Ended:   t.State == fleet.TaskComplete && !svc.Restarts,
			Holds:   w.queue.Holds.May(t.Container, addr),

			Container: t.Container,
		}
		if t.Container == "" && t.NodeID != "" && !t.Ended() && now.Sub(t.Since) < startsWithin {
			slot.Holds = true
		}
		if slot.Ended {
			ended = append(ended, slot)
			continue
		}
		slots = append(slots, slot)
	}
	// Slots that were scaled away keep their last task for a while.
	ended = ended[:min(len(ended), max(0, svc.Desired-len(slots)))]
	return append(slots, ended...)
}
