package deploy

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/crawlbox/crawlbox/appliance/fleet"
	"github.com/crawlbox/crawlbox/appliance/swarm/servicespec"
)

// ErrBusy is returned where a service is being updated already.
var ErrBusy = errors.New("is being changed already")

// Cluster is what the Runner asks of the swarm. *swarm.Engine is one.
type Cluster interface {
	Nodes(ctx context.Context) ([]fleet.Node, error)
	Service(ctx context.Context, idOrName string) (fleet.Service, error)
	Tasks(ctx context.Context, serviceID string) ([]fleet.Task, error)
	Scale(ctx context.Context, id string, replicas int) error
	SetImage(ctx context.Context, id string, c servicespec.ImageChange) error
	StopForUpdate(ctx context.Context, id, pending, mark string) error
	Remove(ctx context.Context, id string) error
	CreateDeployed(ctx context.Context, name string, d servicespec.Deployment) (id string, err error)
	Deploy(ctx context.Context, id string, d servicespec.Deployment) (replaced bool, err error)
	SlowDown(ctx context.Context, id string) error
	Nudge(ctx context.Context, id string) error
	Spec(ctx context.Context, id string) (json.RawMessage, error)
	Changes(ctx context.Context, id string, d servicespec.Deployment) (keys []string, err error)
	Digest(ctx context.Context, image string) (string, error)
	Platforms(ctx context.Context, image string) []fleet.Platform
}

// Emit hears of each step of a change. It must return soon.
type Emit func(step string, p Progress)

// Runner executes changes. It is safe for concurrent use; two updates of one
// service at once are refused with ErrBusy.
type Runner struct {
	cluster Cluster
	agents  Agents
	log     *slog.Logger
	busy    sync.Map // name of the service → struct{}
}

// NewRunner returns a runner on the cluster given. Nil agents are for nodes where
// nothing is deployed from.
func NewRunner(c Cluster, agents Agents, log *slog.Logger) *Runner {
	return &Runner{cluster: c, agents: agents, log: log}
}

// Scale sets the replicas of a service and follows until they are true.
func (r *Runner) Scale(ctx context.Context, svc fleet.Service, replicas int, emit Emit) (Summary, error) {
	return r.scale(ctx, svc, replicas, emit, nil)
}

// scale lets beside run, where there is one, while it follows.
func (r *Runner) scale(ctx context.Context, svc fleet.Service, replicas int, emit Emit, beside func()) (Summary, error) {
	before, err := r.cluster.Tasks(ctx, svc.ID)
	if err != nil {
		return Summary{}, err
	}
	g := Goal{Desired: replicas, Before: endedTasks(before)}
	begun := time.Now()
	if err := r.cluster.Scale(ctx, svc.ID, replicas); err != nil {
		return Summary{}, err
	}
	step := fmt.Sprintf("scale to %d", replicas)
	if replicas == 0 {
		step = "stop"
	}
	if beside != nil {
		for _, t := range before { // what it does to them is no failure
			g.Before[t.ID] = true
		}
		go beside()
	}
	return r.follow(ctx, svc, g, step, before, begun, emit)
}

// Remove removes a service and follows until its containers are gone.
func (r *Runner) Remove(ctx context.Context, svc fleet.Service, emit Emit) (Summary, error) {
	before, err := r.cluster.Tasks(ctx, svc.ID)
	if err != nil {
		return Summary{}, err
	}
	begun := time.Now()
	if err := r.cluster.Remove(ctx, svc.ID); err != nil {
		return Summary{}, err
	}
	return r.follow(ctx, svc, Goal{Desired: 0}, "remove", before, begun, emit)
}
