package deploy

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/crawlbox/crawlbox/appliance/base/clock"
	"github.com/crawlbox/crawlbox/appliance/base/words"
	"github.com/crawlbox/crawlbox/appliance/deploy/history"
	"github.com/crawlbox/crawlbox/appliance/fleet"
	"github.com/crawlbox/crawlbox/appliance/swarm/servicespec"
)

const (
	// killAgain is how often the containers are killed that are still there: one may
	// have been about to start.
	killAgain = 200 * time.Millisecond
	// killTimeout bounds the killing, which goes on without the caller.
	killTimeout = time.Minute
)

// Scale sets the replicas of a service and follows until they are true.
func (r *Runner) Scale(svc fleet.Service, replicas int) Change {
	return operation{
		service: svc.Name,
		plan:    func(context.Context) (Plan, error) { return Plan{Steps: []string{scaleStep(svc, replicas)}}, nil },
		run: func(ctx context.Context, emit Emit) (Summary, error) {
			return r.scale(ctx, svc, replicas, emit, nil)
		},
	}
}

// StopNow scales a service to 0 and ends its containers without their grace time.
// Swarm takes that time from each task as it was made, so a change of the service
// would come too late; the service keeps it for the next start. What is on a node
// that can't be reached ends when Swarm's own stop does. The killing goes on if the
// caller does not.
func (r *Runner) StopNow(svc fleet.Service) Change {
	return operation{
		service: svc.Name,
		plan: func(context.Context) (Plan, error) {
			return Plan{Steps: []string{scaleStep(svc, 0) + "; killed, without their grace time"}}, nil
		},
		run: func(ctx context.Context, emit Emit) (Summary, error) { return r.stopNow(ctx, svc, emit) },
	}
}

func (r *Runner) stopNow(ctx context.Context, svc fleet.Service, emit Emit) (Summary, error) {
	tasks, err := r.cluster.Tasks(ctx, svc.ID)
	if err != nil {
		return Summary{}, err
	}
	ended := endedTasks(tasks)
	doomed := map[string]bool{}
	for _, t := range tasks {
		doomed[t.ID] = !ended[t.ID]
	}
	return r.scale(ctx, svc, 0, emit, func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), killTimeout)
		defer cancel()
		r.kill(ctx, svc.ID, doomed)
	})
}

// scale lets beside run, where there is one, while it follows.
func (r *Runner) scale(ctx context.Context, svc fleet.Service, replicas int, emit Emit,
	beside func()) (Summary, error) {
	before, err := r.cluster.Tasks(ctx, svc.ID)
	if err != nil {
		return Summary{}, err
	}
	g := ofReplicas(svc, replicas, before)
	if formerOf(svc, r.blamable(svc, before), time.Now()) == formerFailed {
		g.Hold = g.Monitor
	}
	begun := time.Now()
	if err := r.cluster.Scale(ctx, svc.ID, replicas); err != nil {
		return Summary{}, err
	}
	stage := history.StageScale
	if replicas == 0 {
		stage = history.StageStop
	}
	if beside != nil {
		for _, t := range before { // what it does to them is no failure
			g.Before[t.ID] = true
		}
		go beside()
	}
	s, err := r.follow(ctx, svc, g, stage, before, begun, emit)
	return s, goesOn(err)
}

// ofReplicas returns the goal of a change that is about how many replicas there are. Each may fail
// once, so that who waits hears of a service that crashes; what failed has to run for a while then.
func ofReplicas(svc fleet.Service, replicas int, before []fleet.Task) Goal {
	return Goal{
		Desired: replicas,
		Before:  endedTasks(before),
		Limit:   replicas,
		Monitor: cmp.Or(svc.UpdateMonitor, servicespec.DefaultMonitor),
	}
}

// goesOn says of a change whose replicas fail that it stays.
func goesOn(err error) error {
	if failing, is := errors.AsType[*failingError](err); is {
		return &stalledError{failing.failure, fmt.Sprintf("its tasks fail: %s; Swarm goes on trying, read what they "+
			"write with `crawlbox logs --all %s`, or `crawlbox stop %s`", failing.where(), failing.service,
			failing.service)}
	}
	return err
}

// kill kills those of the tasks that Swarm wants to stop, until all are gone.
func (r *Runner) kill(ctx context.Context, service string, doomed map[string]bool) {
	for {
		_, nodes, tasks, err := r.look(ctx, service)
		if err == nil {
			tasks = slices.DeleteFunc(tasks, func(t fleet.Task) bool { return !doomed[t.ID] || t.Ended() })
			if len(tasks) == 0 {
				return
			}
			r.killOn(ctx, nodes, stopping(tasks))
		}
		if clock.Sleep(ctx, killAgain) != nil {
			return
		}
	}
}

func (r *Runner) killOn(ctx context.Context, nodes []fleet.Node, stopping map[string][]string) {
	var all sync.WaitGroup
	for _, n := range nodes {
		if len(stopping[n.ID]) == 0 || n.State != fleet.StateReady {
			continue
		}
		all.Go(func() {
			if err := r.agents.Kill(ctx, n, stopping[n.ID]); err != nil && ctx.Err() == nil {
				r.log.Warn("failed to kill containers; they end when their grace period is over", "node", n.Display,
					"error", err)
			}
		})
	}
	all.Wait()
}

// stopping returns the tasks by node that Swarm wants to end.
func stopping(tasks []fleet.Task) map[string][]string {
	byNode := map[string][]string{}
	for _, t := range tasks {
		if t.NodeID != "" && (t.Desired == fleet.TaskShutdown || t.Desired == fleet.TaskRemove) {
			byNode[t.NodeID] = append(byNode[t.NodeID], t.ID)
		}
	}
	return byNode
}

// Remove removes a service and follows until its containers are gone.
func (r *Runner) Remove(svc fleet.Service) Change {
	return operation{
		service: svc.Name,
		plan: func(context.Context) (Plan, error) {
			return Plan{Steps: []string{"remove: service " + svc.Name + ", " + words.Count(svc.Desired, "replica")}},
				nil
		},
		run: func(ctx context.Context, emit Emit) (Summary, error) { return r.remove(ctx, svc, emit) },
	}
}

func (r *Runner) remove(ctx context.Context, svc fleet.Service, emit Emit) (Summary, error) {
	before, err := r.cluster.Tasks(ctx, svc.ID)
	if err != nil {
		return Summary{}, err
	}
	begun := time.Now()
	if err := r.cluster.Remove(ctx, svc.ID); err != nil {
		return Summary{}, err
	}
	return r.follow(ctx, svc, Goal{Desired: 0}, history.StageRemove, before, begun, emit)
}

// Avoid keeps the replicas of a service off nodes, by ID, and off no others. What runs elsewhere
// stays where it is. A service that is being changed is refused with a ConflictError.
func (r *Runner) Avoid(ctx context.Context, svc fleet.Service, nodes []string) error {
	release, err := r.claim(svc.Name)
	if err != nil {
		return err
	}
	defer release()
	return r.cluster.Avoid(ctx, svc.ID, nodes)
}

// SetImage brings a service to another image, a share of its replicas at a time,
// and follows until all run it. Swarm goes on if the caller does not.
//
// It is for managers that bring no images to nodes and keep no history.
func (r *Runner) SetImage(svc fleet.Service, image string) Change {
	return operation{
		service: svc.Name,
		plan: func(context.Context) (Plan, error) {
			return Plan{Action: Replace, Changes: []string{"image"}, Steps: []string{
				fmt.Sprintf("%s: service %s to %s", history.StageUpdate, svc.Name, image),
			}}, nil
		},
		run: func(ctx context.Context, emit Emit) (Summary, error) { return r.setImage(ctx, svc, image, emit) },
	}
}

func (r *Runner) setImage(ctx context.Context, svc fleet.Service, image string, emit Emit) (Summary, error) {
	release, err := r.claim(svc.Name)
	if err != nil {
		return Summary{}, err
	}
	defer release()
	pinned, digest, err := r.pin(ctx, image)
	if err != nil {
		return Summary{}, err
	}
	before, err := r.cluster.Tasks(ctx, svc.ID)
	if err != nil {
		return Summary{}, err
	}
	begun := time.Now()
	change := servicespec.ImageChange{
		Image:       pinned,
		Parallelism: Parallelism(svc.Desired),
		Finishes:    fleet.Finishes(before),
	}
	if err := r.cluster.SetImage(ctx, svc.ID, change); err != nil {
		return Summary{}, err
	}
	g := Goal{Desired: -1, Digest: digest, Before: endedTasks(before)}
	return r.follow(ctx, svc, g, history.StageUpdate, before, begun, emit)
}

// pin resolves an image to its digest once, for all nodes.
func (r *Runner) pin(ctx context.Context, image string) (pinned, digest string, err error) {
	if name, d, ok := strings.Cut(image, "@"); ok && name != "" {
		return image, d, nil
	}
	digest, err = r.cluster.Digest(ctx, image)
	if err != nil {
		return "", "", err
	}
	return image + "@" + digest, digest, nil
}

// ByAutoscale is who scales a service that follows a queue, in the history.
const ByAutoscale = "autoscale"

// Autoscale gives a service that follows a queue the number of replicas that this leads to, and writes down why. It
// does not follow until they are true: the queue may ask for others by then.
func (r *Runner) Autoscale(ctx context.Context, svc fleet.Service, to servicespec.Autoscaled) error {
	release, err := r.claim(svc.Name)
	if err != nil {
		return err
	}
	defer release()
	var d Deploy
	d.Change.Image = svc.Pinned()
	if to.Again {
		r.tellQueue(ctx, &d)
	}
	if err := r.cluster.Autoscale(ctx, svc.ID, to, d.Change.Queue); err != nil {
		return err
	}
	return r.Scaled(ctx, svc, to.Replicas, ByAutoscale, to.Why)
}

// ScaleByQueue has a service follow its queue again that a person scaled.
func (r *Runner) ScaleByQueue(svc fleet.Service, by string) Change {
	return operation{
		service: svc.Name,
		plan: func(context.Context) (Plan, error) {
			return Plan{Steps: []string{fmt.Sprintf("%s: service %s by %s", history.StageScale, svc.Name,
				svc.Autoscale.Rule)}}, nil
		},
		run: func(ctx context.Context, emit Emit) (Summary, error) {
			if err := r.cluster.PauseAutoscale(ctx, svc.ID, ""); err != nil {
				return Summary{}, err
			}
			emit(Progress{Stage: history.StageUnchanged, Running: svc.Running, Desired: svc.Desired})
			why := "follows its queue again: " + svc.Autoscale.Rule.String()
			return Summary{}, r.Scaled(ctx, svc, svc.Desired, by, why)
		},
	}
}

// Scaled writes down that a service that follows a queue has another number of replicas, or is to have its own.
func (r *Runner) Scaled(ctx context.Context, svc fleet.Service, replicas int, by, why string) error {
	if r.past == nil {
		return nil
	}
	spec, err := r.cluster.Spec(ctx, svc.ID)
	if err != nil {
		return err
	}
	return r.past.Scaled(svc.Name, history.Scaling{
		At:   time.Now().UTC(),
		By:   by,
		From: svc.Desired,
		To:   replicas,
		Why:  why,
	}, history.Entry{Image: svc.Image, Digest: svc.Digest, Spec: spec})
}

// Start runs a service again that was stopped, or whose replicas have all ended well, with
// as many replicas as it had or, if that is more than 0, as are given. It follows until they
// run. A service that runs is left alone; one that has ended in part is refused: Swarm can
// start what has ended only together with what runs.
func (r *Runner) Start(svc fleet.Service, replicas int) Change {
	n := cmp.Or(replicas, svc.Desired, svc.Before, 1)
	return operation{
		service: svc.Name,
		plan: func(context.Context) (Plan, error) {
			step, err := startStep(svc, n)
			return Plan{Steps: []string{step}}, err
		},
		run: func(ctx context.Context, emit Emit) (Summary, error) {
			if _, err := startStep(svc, n); err != nil {
				return Summary{}, err
			}
			return r.start(ctx, svc, n, emit)
		},
	}
}

// startStep returns a start in words, or why there is none.
func startStep(svc fleet.Service, n int) (string, error) {
	switch {
	case svc.IsJob():
		return "", Conflict("service %s is a %s, which Swarm runs once; remove it with `crawlbox rm %s` and deploy it "+
			"anew", svc.Name, svc.Mode, svc.Name)
	case svc.Pending != "":
		return "", Conflict("service %s is being updated; see `crawlbox ps %s`", svc.Name, svc.Name)
	case svc.IsStopped():
		return fmt.Sprintf("start: service %s with %s", svc.Name, words.Count(n, "replica")), nil
	case svc.IsFinished():
		return fmt.Sprintf("start: service %s with %s; the %d that have finished run again", svc.Name,
			words.Count(n, "replica"), svc.Complete), nil
	case svc.Complete > 0:
		return "", Conflict("%d of %d replicas of service %s have finished and the others have not; wait for them, or "+
			"replace all with `crawlbox restart %s`", svc.Complete, svc.Desired, svc.Name, svc.Name)
	}
	return fmt.Sprintf("service %s runs already: nothing to do", svc.Name), nil
}

func (r *Runner) start(ctx context.Context, svc fleet.Service, n int, emit Emit) (Summary, error) {
	if !svc.IsStopped() && !svc.IsFinished() {
		emit(Progress{Stage: history.StageUnchanged, Running: svc.Running, Desired: svc.Desired})
		return Summary{}, nil
	}
	release, err := r.claim(svc.Name)
	if err != nil {
		return Summary{}, err
	}
	defer release()
	before, err := r.cluster.Tasks(ctx, svc.ID)
	if err != nil {
		return Summary{}, err
	}
	var d Deploy
	d.Change.Image = svc.Pinned()
	r.tellQueue(ctx, &d)
	begun := time.Now()
	if err := r.cluster.Start(ctx, svc.ID, n, d.Change.Queue); err != nil {
		return Summary{}, err
	}
	g := ofReplicas(svc, n, before)
	g.Old, g.Fresh = idsOf(before), true
	s, err := r.follow(ctx, svc, g, history.StageStart, before, begun, emit)
	return s, goesOn(err)
}
