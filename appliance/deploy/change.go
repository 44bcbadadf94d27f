// Package deploy is the one door for changes of services, and says truthfully how far
// they are.
//
// A Change is decided when it is made: Plan says what it would do, Run does it. Runner
// makes them. Run makes the change in Swarm, which from then on belongs to Swarm, and
// follows it until it is true, has failed, or nothing has moved for too long: assess looks
// at the tasks of one service and answers how much of a change has come true. The caller
// is told by Progress, and the history in the package below is written on the way.
//
// A deploy has stages. Only what comes before the update can be broken off without a
// trace; the rest is followed to its end, and back where the version is bad:
//
//	[build ──▶ push, or copy ──▶] pull: onto every node ──▶ update: one change in Swarm ──▶ watch ──▶ done
//	                              └─▶ nothing has changed                    rolled back ◀──┘
package deploy

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync"

	"github.com/crawlbox/crawlbox/appliance/deploy/history"
	"github.com/crawlbox/crawlbox/appliance/fleet"
	"github.com/crawlbox/crawlbox/appliance/swarm/servicespec"
)

// Change is one change of a service.
type Change interface {
	// Plan says what Run would do, and changes nothing.
	Plan(ctx context.Context) (Plan, error)
	// Run makes the change and returns when it is true or has failed. The last thing
	// that emit hears of one that went well has Done.
	Run(ctx context.Context, emit Emit) error
}

// ConflictError is returned where the state of a service is in the way of a change, such as
// another change of it that is under way.
type ConflictError string

func (e ConflictError) Error() string { return string(e) }

func Conflict(format string, args ...any) error { return ConflictError(fmt.Sprintf(format, args...)) }

// Cluster holds the methods of *swarm.Engine that the Runner needs.
type Cluster interface {
	Nodes(ctx context.Context) ([]fleet.Node, error)
	Services(ctx context.Context) ([]fleet.Service, error)
	Service(ctx context.Context, idOrName string) (fleet.Service, error)
	Tasks(ctx context.Context, serviceID string) ([]fleet.Task, error)
	Scale(ctx context.Context, id string, replicas int) error
	Autoscale(ctx context.Context, id string, a servicespec.Autoscaled, queue *servicespec.Queue) error
	PauseAutoscale(ctx context.Context, id, why string) error
	Start(ctx context.Context, id string, replicas int, queue *servicespec.Queue) error
	SetImage(ctx context.Context, id string, c servicespec.ImageChange) error
	StopForUpdate(ctx context.Context, id, pending, mark string, avoid []string) error
	Avoid(ctx context.Context, id string, nodes []string) error
	Remove(ctx context.Context, id string) error
	CreateDeployed(ctx context.Context, name string, d servicespec.Deployment) (id string, err error)
	Deploy(ctx context.Context, id string, d servicespec.Deployment) (replaced bool, err error)
	SlowDown(ctx context.Context, id string) error
	RestartUpdate(ctx context.Context, id string) error
	Spec(ctx context.Context, id string) (json.RawMessage, error)
	Changes(ctx context.Context, id string, d servicespec.Deployment) (keys []string, err error)
	Digest(ctx context.Context, image string) (string, error)
	Platforms(ctx context.Context, image string) []fleet.Platform
}

// Runner makes changes and runs them. It is safe for concurrent use; two deploys of one
// service at once are refused with a ConflictError.
type Runner struct {
	cluster Cluster
	agents  Agents
	past    *history.Store
	log     *slog.Logger
	queue   func(ctx context.Context, image string) servicespec.Queue
	outages func() []fleet.Outage // of the queue; nil: none is known
	busy    sync.Map              // name of the service → struct{}
	ended   []func()
	self    string // the ID of this manager

	mu sync.Mutex
	at map[string]int // deploys that are followed here, by service
}

// NewRunner returns a runner on the cluster given. Nil agents are for nodes where
// nothing is deployed from. Without a history nothing is written down.
func NewRunner(c Cluster, agents Agents, past *history.Store, log *slog.Logger) *Runner {
	return &Runner{cluster: c, agents: agents, past: past, log: log, at: map[string]int{}}
}

// As has the history say which manager makes the changes, by the ID of its certificate. It must be called before
// changes run.
func (r *Runner) As(manager string) { r.self = manager }

// OnEnd has fn called whenever the end of a change is in the history. It must be called
// before changes run.
func (r *Runner) OnEnd(fn func()) { r.ended = append(r.ended, fn) }

// TellQueue has services told of the cluster's queue. queue returns what one of an image is
// to know, and outages, which may be nil, when they could not reach it. It must be called before
// changes run; without it their environment stays.
func (r *Runner) TellQueue(queue func(ctx context.Context, image string) servicespec.Queue,
	outages func() []fleet.Outage) {
	r.queue, r.outages = queue, outages
}

func (r *Runner) claim(service string) (release func(), err error) {
	if _, taken := r.busy.LoadOrStore(service, struct{}{}); taken {
		return nil, Conflict("service %s is being changed already; wait until it is done, or follow it with "+
			"`crawlbox ps %s`", service, service)
	}
	return func() { r.busy.Delete(service) }, nil
}

// operation is a Change made of its two halves.
type operation struct {
	service string
	plan    func(context.Context) (Plan, error)
	run     func(context.Context, Emit) (Summary, error)
}

func (o operation) Plan(ctx context.Context) (Plan, error) {
	p, err := o.plan(ctx)
	p.Service = o.service
	return p, err
}

func (o operation) Run(ctx context.Context, emit Emit) error {
	return tell(o.service, emit, func(emit Emit) (Summary, error) { return o.run(ctx, emit) })
}

// engineTries is how often the engine is asked that did not answer in time. One that is starved
// of its processors is slow, and not gone.
const engineTries = 4

// late reports whether an engine did not answer in the time that one question has, while there
// is time for another.
func late(ctx context.Context, err error) bool {
	return errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil
}

// patiently asks the engine something that changes nothing, until it answers in time.
func patiently[T any](ctx context.Context, ask func(context.Context) (T, error)) (v T, err error) {
	for range engineTries {
		if v, err = ask(ctx); !late(ctx, err) {
			break
		}
	}
	return v, err
}

// service returns a service, by ID or name, as it is now.
func (r *Runner) service(ctx context.Context, id string) (fleet.Service, error) {
	return patiently(ctx, func(ctx context.Context) (fleet.Service, error) { return r.cluster.Service(ctx, id) })
}

// change makes the change of a deploy in a service, or creates it where there is none. Where the
// engine does not answer in time it may have made the change all the same, which the deploy's
// mark tells.
func (r *Runner) change(ctx context.Context, was *fleet.Service, d Deploy) (id string, replaced bool, err error) {
	for range engineTries {
		if was == nil {
			id, err = r.cluster.CreateDeployed(ctx, d.Service, d.Change)
		} else {
			id = was.ID
			replaced, err = r.cluster.Deploy(ctx, id, d.Change)
		}
		if !late(ctx, err) || d.Change.Mark == "" {
			break
		}
		if made, lookErr := r.service(ctx, d.Service); lookErr == nil && made.Deploy == d.Change.Mark {
			return made.ID, true, nil
		}
	}
	return id, replaced, err
}
