package deploy

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/crawlbox/crawlbox/appliance/deploy/history"
	"github.com/crawlbox/crawlbox/appliance/fleet"
	"github.com/crawlbox/crawlbox/appliance/swarm/servicespec"
)

// updateTimeout bounds what goes on after a client is gone: the second half of
// an update that stopped all replicas first.
const updateTimeout = 15 * time.Minute

// Parallelism returns how many of so many replicas are replaced at once: a quarter,
// at least one, so that three quarters go on crawling.
func Parallelism(replicas int) uint64 { return DefaultShare.Of(replicas) }

// StopFirst stops every replica, then starts as many with another image, which
// all nodes that may run it have by then. The way on is written into the service
// before the first one stops, so that neither a lost client nor a manager that dies
// in between leaves it stopped: see Resume.
func (r *Runner) StopFirst(svc fleet.Service, d Deploy) Change {
	return operation{
		service: svc.Name,
		plan:    func(ctx context.Context) (Plan, error) { return r.planStopFirst(ctx, svc, d) },
		run: func(ctx context.Context, emit Emit) (Summary, error) {
			return r.recorded(ctx, d, func(d Deploy) (Summary, error) { return r.stopFirst(ctx, svc, d, emit) })
		},
	}
}

func (r *Runner) stopFirst(ctx context.Context, svc fleet.Service, d Deploy, emit Emit) (Summary, error) {
	if svc.Mode != fleet.ModeReplicated {
		return Summary{}, fmt.Errorf("service %s is %s and can't be stopped first; update it without --stop-first-all",
			svc.Name, svc.Mode)
	}
	release, err := r.claim(svc.Name)
	if err != nil {
		return Summary{}, err
	}
	defer release()
	if err := r.prepare(ctx, &svc, &d, emit); err != nil {
		return Summary{}, err
	}
	if svc, err = r.cluster.Service(ctx, svc.ID); err != nil { // the pull may have taken long
		return Summary{}, err
	}
	p := pending{stoppedReplicas(svc), d.Change.Image}
	if err := r.cluster.StopForUpdate(ctx, svc.ID, p.String(), d.Change.Mark, d.Change.Avoid); err != nil {
		return Summary{}, err
	}
	r.watching(d)
	// From here on it no longer belongs to the client.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), updateTimeout)
	defer cancel()
	return r.finish(ctx, svc, p, emit)
}

// stoppedReplicas returns how many replicas start again after an update that stops all.
func stoppedReplicas(svc fleet.Service) int {
	if p, ok := parsePending(svc.Pending); ok {
		return p.replicas
	}
	return svc.Desired
}

// resumeStopped takes up an update that was cut off after its replicas were stopped.
// A service without one is left alone.
func (r *Runner) resumeStopped(ctx context.Context, svc fleet.Service) error {
	p, ok := parsePending(svc.Pending)
	if !ok {
		return nil
	}
	release, err := r.claim(svc.Name)
	if err != nil {
		return nil // it is under way in this very process
	}
	defer release()
	r.log.Info("resuming an interrupted update", "service", svc.Name, "image", p.image, "replicas", p.replicas)
	_, err = r.finish(ctx, svc, p, func(Progress) {})
	return err
}

func (r *Runner) finish(ctx context.Context, svc fleet.Service, p pending, emit Emit) (Summary, error) {
	begun := time.Now()
	before, err := r.cluster.Tasks(ctx, svc.ID)
	if err != nil {
		return Summary{}, err
	}
	stopped, err := r.follow(ctx, svc, Goal{Desired: 0}, history.StageStop, before, begun, emit)
	if err != nil {
		return Summary{}, err
	}
	change := servicespec.ImageChange{
		Image:       p.image,
		Parallelism: Parallelism(p.replicas),
		Replicas:    &p.replicas,
		Finishes:    fleet.Finishes(before),
	}
	if err := r.cluster.SetImage(ctx, svc.ID, change); err != nil {
		return Summary{}, err
	}
	g := Goal{Desired: p.replicas, Digest: digestOf(p.image), Before: endedTasks(before)}
	s, err := r.follow(ctx, svc, g, history.StageStart, before, begun, emit)
	s.Stopped = max(s.Stopped, stopped.Stopped)
	return s, err
}

func digestOf(image string) string {
	_, digest, _ := strings.Cut(image, "@")
	return digest
}

// pending is the value of fleet.LabelPending.
type pending struct {
	replicas int
	image    string // name:tag@digest
}

func (p pending) String() string { return strconv.Itoa(p.replicas) + " " + p.image }

func parsePending(s string) (pending, bool) {
	n, image, ok := strings.Cut(s, " ")
	replicas, err := strconv.Atoi(n)
	return pending{replicas, image}, ok && err == nil && replicas >= 0 && image != ""
}
