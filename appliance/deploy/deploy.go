package deploy

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/crawlbox/crawlbox/appliance/base/clock"
	"github.com/crawlbox/crawlbox/appliance/deploy/history"
	"github.com/crawlbox/crawlbox/appliance/failpoint"
	"github.com/crawlbox/crawlbox/appliance/fleet"
	"github.com/crawlbox/crawlbox/appliance/swarm/servicespec"
	"github.com/crawlbox/crawlbox/configs/compose"
)

// Deploy says what a deploy should do.
type Deploy struct {
	Service string // name
	Change  servicespec.Deployment
	Built   *Build  // what is done before, where the image is not made yet: there is only a plan
	Source  *Source // of the image; nil: the cluster's registry, where it is
	Share   Share   // of the replicas that are replaced at once
	Pull    PullPolicy
	// StartTimeout is how long a replica may take from its start until it is healthy;
	// 0: defaultStartTimeout. Docker itself ends one whose health check fails too
	// often, so it bounds those whose check does not answer.
	StartTimeout time.Duration
	// Entry holds what the history should say about it beside what the deploy knows itself. One
	// without a kind is not written down.
	Entry history.Entry

	// IfChanged has nothing done where nothing of the service would change.
	IfChanged bool

	rec *record
}

// Build is what makes an image.
type Build struct {
	Step      string           // in a line
	Platforms []fleet.Platform // that it is made for; none: the builder's own
}

// defaultStartTimeout is how long a replica may take until it is healthy by default.
const defaultStartTimeout = 10 * time.Minute

// enginePatience bounds how long the engine may be unreachable while a deploy is watched:
// its restart takes seconds, and Swarm goes on meanwhile.
const enginePatience = 2 * time.Minute

func (d Deploy) digest() string { return digestOf(d.Change.Image) }

// Deploy brings a service to another version, or makes it: first the image goes into
// the cluster's registry if it is another's, then onto every node that may run it, then the
// service is changed, and watched until all its replicas have run through the monitor time. svc is nil for a new one.
//
// Until the service is changed, an end of ctx ends the deploy and nothing has
// happened. After that it is followed to its end whatever comes of the caller. An
// error of a service that there was before says that its old version runs again,
// or what is in the way.
func (r *Runner) Deploy(svc *fleet.Service, d Deploy) Change {
	return operation{
		service: d.Service,
		plan:    func(ctx context.Context) (Plan, error) { return r.planDeploy(ctx, svc, d) },
		run: func(ctx context.Context, emit Emit) (Summary, error) {
			return r.recorded(ctx, d, func(d Deploy) (Summary, error) { return r.deploy(ctx, svc, d, emit) })
		},
	}
}

func (r *Runner) deploy(ctx context.Context, svc *fleet.Service, d Deploy, emit Emit) (Summary, error) {
	r.tellQueue(ctx, &d)
	if svc != nil && d.IfChanged {
		changes, err := r.cluster.Changes(ctx, svc.ID, d.Change)
		if err == nil && len(changes) == 0 {
			d.Source.tell(emit)
			emit(Progress{
				Stage:    history.StageUnchanged,
				Running:  svc.Running + svc.Complete,
				Complete: svc.Complete,
				Desired:  svc.Desired,
			})
		}
		if err != nil || len(changes) == 0 {
			return Summary{}, err
		}
	}
	release, err := r.claim(d.Service)
	if err != nil {
		return Summary{}, err
	}
	defer release()
	begun := time.Now()
	if err := r.prepare(ctx, svc, &d, emit); err != nil {
		return Summary{}, err
	}
	r.tellQueue(ctx, &d) // the image may have come just now
	failpoint.Hit(failpoint.DeployUpdate)
	// From here on it no longer belongs to the client.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), d.bound(svc))
	defer cancel()
	if svc == nil {
		return r.create(ctx, d, begun, emit)
	}
	return r.update(ctx, svc.ID, d, begun, emit)
}

// tellQueue has the service told of the queue, where there may be one.
func (r *Runner) tellQueue(ctx context.Context, d *Deploy) {
	d.Change.Queue = r.Queue(ctx, d.Change.Image)
}

// Queue returns what a service of an image is told of the cluster's queue; nil: nothing is known of one.
func (r *Runner) Queue(ctx context.Context, image string) *servicespec.Queue {
	if r.queue == nil {
		return nil
	}
	q := r.queue(ctx, image)
	return &q
}

// prepare brings the image onto the nodes. When it returns without an error the update
// is about to begin.
func (r *Runner) prepare(ctx context.Context, svc *fleet.Service, d *Deploy, emit Emit) error {
	if err := d.Source.fetch(ctx, emit); err != nil {
		return fmt.Errorf("%s: %w", d.Service, err)
	}
	d.Change.Platforms = r.cluster.Platforms(ctx, d.Change.Image)
	nodes, err := r.eligibleNodes(ctx, svc, *d, emit)
	if err != nil {
		return err
	}
	if n := d.replicas(orNew(svc)); svc == nil || n != svc.Desired {
		if why := fleet.Crowded(n, nodes); why != "" {
			return fmt.Errorf("%s: %s", d.Service, why)
		}
	}
	if err := d.rec.at(history.StagePull); err != nil {
		return err
	}
	absent, err := r.pull(ctx, nodes, d.Change.Image, d.Pull, emit)
	if err == nil && isClusters(d.Change.Image) {
		d.Change.Avoid = absent
		err = d.room(svc, nodes)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", d.Service, err)
	}
	return d.rec.at(history.StageUpdate)
}

// room refuses a deploy whose replicas find no room on the nodes that are left without those to
// avoid.
func (d Deploy) room(svc *fleet.Service, nodes []fleet.Node) error {
	if len(d.Change.Avoid) == 0 {
		return nil
	}
	var left []fleet.Node
	var names []string
	for _, n := range nodes {
		if slices.Contains(d.Change.Avoid, n.ID) {
			names = append(names, n.Display)
		} else {
			left = append(left, n)
		}
	}
	needs, replicas := d.Change.Needs(orNew(svc).Needs()), d.replicas(orNew(svc))
	room, bounded := needs.Room(left)
	if len(left) > 0 && (!bounded || replicas <= room) {
		return nil
	}
	where := strings.Join(names, ", ")
	if len(left) == 0 {
		return fmt.Errorf("no node can run it, and nothing was changed: no crawlbox runs on %s; start it there with "+
			"`systemctl start crawlbox`", where)
	}
	return fmt.Errorf("%s, and nothing was changed: no crawlbox runs on %s; start it there with `systemctl start "+
		"crawlbox`", needs.Overfull(replicas, len(left)), where)
}

// maxUnknown bounds the wait for Swarm to know of its nodes after its engine was started, or
// when another manager leads: it takes six heartbeats, of 5 s unless the config says otherwise.
const maxUnknown = 45 * time.Second

// awaitKnown waits until Swarm knows of each node whether it is up: it begins anew when a manager
// is started, and a deploy at that moment would find no nodes.
func (r *Runner) awaitKnown(ctx context.Context, svc *fleet.Service, d Deploy, emit Emit) error {
	limited, cancel := context.WithTimeout(ctx, min(maxUnknown, cmp.Or(d.Pull.Timeout, maxUnknown)))
	defer cancel()
	for {
		nodes, err := r.nodes(limited)
		if err != nil && limited.Err() == nil {
			return err
		}
		i := slices.IndexFunc(nodes, func(n fleet.Node) bool { return n.State == fleet.StateUnknown })
		if i < 0 || clock.Sleep(limited, time.Second) != nil {
			return ctx.Err()
		}
		emit(Progress{
			Stage:   history.StageWait,
			Desired: d.replicas(orNew(svc)),
			Note:    fmt.Sprintf("waits until Swarm knows again whether %s is up", nodes[i].Display),
		})
	}
}

// orNew returns a service that there is, or what a new one is without a word on it.
func orNew(svc *fleet.Service) fleet.Service {
	if svc == nil {
		return fleet.Service{Desired: 1}
	}
	return *svc
}

func (r *Runner) nodes(ctx context.Context) ([]fleet.Node, error) {
	return patiently(ctx, r.cluster.Nodes)
}

// eligibleNodes returns the nodes that should have the image before anything changes, and refuses
// what can never run on the nodes that there are.
func (r *Runner) eligibleNodes(ctx context.Context, svc *fleet.Service, d Deploy, emit Emit) ([]fleet.Node, error) {
	if err := r.awaitKnown(ctx, svc, d, emit); err != nil {
		return nil, err
	}
	nodes, err := r.nodes(ctx)
	if err != nil {
		return nil, err
	}
	if d.Built != nil {
		d.Change.Platforms = d.Built.Platforms
	}
	needs := d.Change.Needs(orNew(svc).Needs())
	e := fleet.Eligible(nodes, needs)
	why := needs.Refuse(d.together(orNew(svc)), e.Fit)
	if len(e.May) == 0 {
		why = e.Explain()
	}
	if why != "" {
		return nil, fmt.Errorf("%s: %s", d.Service, why)
	}
	return e.May, nil
}

// goal returns what a deploy wants to see of a service.
func (d Deploy) goal(svc fleet.Service) Goal {
	start := cmp.Or(d.StartTimeout, defaultStartTimeout)
	pauses := cmp.Or(d.Change.Update.Delay, svc.UpdateDelay) + cmp.Or(d.Change.Update.Monitor, svc.UpdateMonitor)
	return Goal{
		Desired:  -1,
		Digest:   d.digest(),
		Start:    start,
		Monitor:  cmp.Or(d.Change.Update.Monitor, svc.UpdateMonitor, servicespec.DefaultMonitor),
		Quiet:    max(start, pauses) + batchTime,
		Patience: enginePatience,
	}
}

// watching emits that the service has changed. It is followed in any case.
func (r *Runner) watching(d Deploy) {
	if err := d.rec.at(history.StageWatch); err != nil {
		r.log.Error("failed to record that a service has changed", "service", d.Service, "error", err)
	}
}

func (d Deploy) replicas(svc fleet.Service) int {
	switch c := d.Change; {
	case c.Replicas != nil:
		return *c.Replicas
	case c.Definition != nil && c.Definition.Mode() == compose.ModeReplicated && !(c.KeepReplicas && svc.ID != ""):
		return c.Definition.Replicas()
	}
	return svc.Desired
}

// together returns how many replicas are to run at the same time, wherever that is: a global service
// takes the nodes that it finds, and a job waits for them.
func (d Deploy) together(svc fleet.Service) int {
	replicated := svc.Mode == "" || svc.Mode == fleet.ModeReplicated
	if c := d.Change.Definition; c != nil {
		replicated = c.Mode() == compose.ModeReplicated
	}
	if !replicated {
		return 0
	}
	return d.replicas(svc)
}

func (d Deploy) keepsBadVersion() bool {
	return d.definesFailureAction() && d.Change.Definition.Compose.Deploy.UpdateConfig.FailureAction != "rollback"
}

// definesFailureAction reports whether the definition itself decides what becomes of a
// version whose tasks end.
func (d Deploy) definesFailureAction() bool {
	return d.Change.Definition != nil && d.Change.Definition.HasFailureAction()
}

// batchTime bounds how long it takes to replace one batch of replicas, beside the pause
// before the next.
const batchTime = time.Minute

// bound returns how long a deploy is followed at most.
func (d Deploy) bound(svc *fleet.Service) time.Duration {
	if svc == nil {
		return updateTimeout + d.StartTimeout + d.Change.Update.Monitor
	}
	n := d.replicas(*svc)
	lots := 1
	if at := int(d.Share.Of(n)); at > 0 {
		lots = (n + at - 1) / at
	}
	takes := max(batchTime, cmp.Or(d.StartTimeout, defaultStartTimeout)) +
		cmp.Or(d.Change.Update.Delay, svc.UpdateDelay)
	return updateTimeout + cmp.Or(d.Change.Update.Monitor, svc.UpdateMonitor) + time.Duration(lots)*takes
}

// limit returns how many failed tasks make a version a bad one.
func (d Deploy) limit(svc fleet.Service) int {
	return 1 + int(d.Change.Update.FailureRatio*float32(d.replicas(svc)))
}
