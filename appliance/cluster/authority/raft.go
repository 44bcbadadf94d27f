package authority

import (
	"context"
	"errors"

	"github.com/crawlbox/crawlbox/appliance/cluster/state"
	"github.com/crawlbox/crawlbox/appliance/swarm"
)

// raft has Swarm's raft say which commit of the cluster's state is the newest. One manager keeps them.
type raft struct{ newest swarm.Register }

// Raft returns the state's cluster in the swarm of an engine.
func Raft(e *swarm.Engine) state.Cluster { return raft{e.Register(state.RegisterName)} }

// Newest implements state.Cluster.
func (r raft) Newest(ctx context.Context) (state.Mark, error) {
	value, moment, err := r.newest.Load(ctx)
	return state.Mark{Newest: state.Version(value), Moment: moment}, err
}

// SetNewest implements state.Cluster.
func (r raft) SetNewest(ctx context.Context, was state.Mark, next state.Version) error {
	err := r.newest.Swap(ctx, was.Moment, string(next))
	if errors.Is(err, swarm.ErrStale) {
		return state.ErrConflict
	}
	return err
}

// Put implements state.Cluster.
func (raft) Put(context.Context, state.Version, []byte) error { return nil }

// Get implements state.Cluster.
func (raft) Get(context.Context, state.Version) ([]byte, error) { return nil, state.ErrNotFound }

// Tell implements state.Cluster.
func (raft) Tell() {}
