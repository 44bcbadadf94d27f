package authority

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/crawlbox/crawlbox/appliance/agent"
	"github.com/crawlbox/crawlbox/appliance/base/clock"
	"github.com/crawlbox/crawlbox/appliance/cluster/pki"
	"github.com/crawlbox/crawlbox/appliance/cluster/replica"
	"github.com/crawlbox/crawlbox/appliance/cluster/state"
	"github.com/crawlbox/crawlbox/appliance/lifecycle"
	"github.com/crawlbox/crawlbox/appliance/swarm"
	"github.com/crawlbox/crawlbox/appliance/upgrade"
)

// register is one of Swarm's that says which commit of the cluster's state is the newest.
type register struct{ swarm.Register }

// Swap implements replica.Register.
func (r register) Swap(ctx context.Context, moment, value string) error {
	err := r.Register.Swap(ctx, moment, value)
	if errors.Is(err, swarm.ErrStale) {
		return state.ErrConflict
	}
	return err
}

// managers are those of the swarm of an engine.
type managers struct{ *swarm.Engine }

// Self implements replica.Swarm.
func (m managers) Self(ctx context.Context) (id string, manager bool, err error) {
	info, err := m.Info(ctx)
	return info.NodeID, info.Manager, err
}

// Replicas returns the managers in the swarm of an engine, which are asked by calls for the cluster's state.
// has is what this one has.
func Replicas(e *swarm.Engine, calls replica.Calls, has replica.Has, log *slog.Logger) *replica.Set {
	return replica.New(register{e.Register(state.RegisterName)}, managers{e}, calls, has, log)
}

// openState opens the state in a data directory. Only a manager that created the cluster has files of
// versions before.
func openState(o Options) (*state.Disk, error) {
	opts := state.Options{Author: o.Self.Name, Log: o.Log}
	if o.Joined == nil {
		opts.Files, opts.Dirs, opts.Check = state.Files(o.DataDir), state.Dirs(o.DataDir), check
		// A node that leaves removes its identity too.
		opts.Left = func() bool { return !pki.HasIdentity(o.NodeDir) }
	}
	if o.Replicas != nil {
		opts.Cluster = o.Replicas
	}
	store, err := state.Open(state.Dir(o.DataDir), opts)
	if err == nil && o.Replicas != nil {
		err = o.Replicas.Use(store)
	}
	return store, err
}

func follow(ctx context.Context, store *state.Disk, replicas *replica.Set) error {
	all, ctx := errgroup.WithContext(ctx)
	all.Go(func() error { return store.Follow(ctx) })
	if replicas != nil {
		all.Go(func() error { return replicas.Run(ctx) })
	}
	return all.Wait()
}

// Parts keep the state, and tell nodes what is new of it.
func (a *Authority) Parts() []lifecycle.Part {
	return []lifecycle.Part{
		lifecycle.Background("state", a.Follow),
		lifecycle.Background("news of the state", a.Keep),
		lifecycle.Background("addresses", a.TellAddresses),
	}
}

// Handlers let nodes in and out, and let other managers have the state. program is what this node brings onto
// machines, and own is its port between nodes.
func (a *Authority) Handlers(program *upgrade.Node, own string) []agent.Handler {
	log := a.opts.Log
	handlers := append(agent.AnswerState(a.state, log), agent.AnswerLeave(a.Joins, a.Members, a.Book.Forget, log))
	for route, h := range a.Joins.Handlers() {
		handlers = append(handlers, agent.Raw(route, h))
	}
	return append(handlers, agent.AnswerBootstrap(a.Joins, a.CA, program, own, log)...)
}

// stateRetry is how long a manager waits that has yet to get the state.
const stateRetry = 3 * time.Second

// Await returns nil once the state of the cluster could be got. A manager of an earlier version gives none away.
func Await(ctx context.Context, o Options) error {
	for {
		if err := clock.Sleep(ctx, stateRetry); err != nil {
			return err
		}
		a, err := Open(ctx, o)
		if err == nil {
			a.Close()
			return nil
		}
		o.Log.Debug("failed to get the cluster's state", "error", err)
	}
}
