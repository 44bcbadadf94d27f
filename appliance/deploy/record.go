package deploy

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/crawlbox/crawlbox/appliance/base/clock"
	"github.com/crawlbox/crawlbox/appliance/deploy/history"
	"github.com/crawlbox/crawlbox/appliance/fleet"
	"github.com/crawlbox/crawlbox/appliance/swarm"
	"github.com/crawlbox/crawlbox/appliance/swarm/servicespec"
)

// record is one deploy on its way into the history. A nil one is not written down.
type record struct {
	runner  *Runner
	service string
	entry   history.Entry // Version is 0 until it is on disk
	again   int           // the version of a try that this one takes the place of, or 0
}

// recorded runs a deploy and writes down how that goes.
func (r *Runner) recorded(ctx context.Context, d Deploy, run func(Deploy) (Summary, error)) (Summary, error) {
	if d.Entry.Kind != "" && r.past != nil {
		d.Entry.Image, d.Entry.Digest, _ = strings.Cut(d.Change.Image, "@")
		d.Entry.Manager = r.self
		d.rec = r.begin(d.Service, d.Entry)
		defer r.follows(d.Service)()
		d.Change.Mark = d.rec.entry.Mark()
	}
	sum, err := run(d)
	d.rec.end(ctx, sum, err)
	if sum.Image, _, _ = strings.Cut(d.Change.Image, "@"); d.rec != nil {
		sum.Version, sum.From = d.rec.entry.Version, d.rec.entry.From
	}
	return sum, err
}

func (r *Runner) begin(service string, e history.Entry) *record {
	e.At = time.Now().UTC()
	rec := &record{runner: r, service: service, entry: e}
	if list := r.past.List(service); len(list) > 0 && isRepeat(list[0], e) {
		rec.again = list[0].Version
	}
	return rec
}

// isRepeat reports whether a change of the config file is one that came to nothing
// before, and is tried again. It is told once.
func isRepeat(last, e history.Entry) bool {
	nothing := last.Result == history.Failed || last.Result == history.Interrupted
	return e.Kind == history.KindConfig && last.Kind == e.Kind && last.Definition == e.Definition &&
		last.Digest == e.Digest && nothing && (last.Stage == history.StagePull || last.Stage == history.StageUpdate)
}

// at records that a stage begins. Nothing is written of a deploy that is
// refused before its first one.
func (r *record) at(stage history.Stage) (err error) {
	if r == nil {
		return nil
	}
	r.entry.Stage = stage
	if r.entry.Version > 0 {
		var over bool
		err := r.update(func(e *history.Entry) {
			if over = e.Result != history.Running; !over {
				e.Stage = stage
			}
		})
		if over {
			err = errOver
		}
		return err
	}
	r.entry.Result = history.Running
	if r.again > 0 {
		r.entry.Version = r.again
		return r.update(func(e *history.Entry) { *e = r.entry })
	}
	r.entry.Version, err = r.runner.past.Begin(r.service, r.entry)
	return err
}

// errOver ends a deploy that another manager has written off, since it did not hear of this one for a while. So that
// what the history says of it stays true, it goes no further.
var errOver = errors.New("another manager leads the cluster now and has ended this deploy in the history; deploy again")

func (r *record) update(change func(*history.Entry)) error {
	return r.runner.past.Update(r.service, r.entry.Version, change)
}

// end records how it went, and of a good version all that it takes to go back
// to it.
func (r *record) end(ctx context.Context, sum Summary, failed error) {
	if r == nil || r.entry.Version == 0 {
		return
	}
	var spec json.RawMessage
	if failed == nil {
		var err error
		if spec, err = r.runner.cluster.Spec(context.WithoutCancel(ctx), r.service); err != nil {
			r.runner.log.Warn("failed to keep the spec of a service", "service", r.service, "error", err)
		}
	}
	r.close(func(e *history.Entry) {
		e.Took, e.Result, e.Spec, e.Why = time.Since(e.At), resultOf(failed), spec, sum.Excuse()
		switch {
		case e.Result == history.Interrupted:
			e.Why = history.BrokenOff
		case failed != nil:
			e.Why = failed.Error()
		}
	})
}

func (r *record) interrupted(why string) {
	r.close(func(e *history.Entry) { e.Result, e.Why = history.Interrupted, why })
}

// close writes the end of an entry, unless another manager has.
func (r *record) close(change func(*history.Entry)) {
	err := r.update(func(e *history.Entry) {
		if e.Result == history.Running {
			change(e)
		}
	})
	if err != nil {
		r.runner.log.Error("failed to write the history of deploys", "service", r.service, "error", err)
	}
	for _, fn := range r.runner.ended {
		fn()
	}
}

func resultOf(err error) history.Result {
	switch {
	case err == nil:
		return history.Done
	case wasRolledBack(err), errors.Is(err, errWentBack):
		return history.RolledBack
	case errors.Is(err, context.Canceled):
		return history.Interrupted
	}
	return history.Failed
}

// LastGood returns the newest version that ran as it should, nil where there is none.
func (r *Runner) LastGood(service string) *servicespec.Deployment {
	for _, e := range r.past.List(service) {
		if e.Result == history.Done && e.Spec != nil {
			return &servicespec.Deployment{Image: e.Image + "@" + e.Digest, Spec: e.Spec}
		}
	}
	return nil
}

// resumeRetry is how long a deploy that was cut off waits for an engine that is away.
const resumeRetry = 15 * time.Second

// resumeEvery is how often it is looked for deploys that were cut off.
const resumeEvery = 5 * time.Second

// Resume finds out how the deploys ended whose managers did not live to see their end, and which are this one's by mine
// to end, until ctx ends. Those that this manager is at itself are none of them.
func (r *Runner) Resume(ctx context.Context, mine func(history.Entry) bool) error {
	for {
		for service, e := range r.past.Unfinished() {
			if !mine(e) || r.isAt(service) {
				continue
			}
			done := r.follows(service)
			go func() {
				defer done()
				r.resume(ctx, service, e)
			}()
		}
		if clock.Sleep(ctx, resumeEvery) != nil {
			return nil
		}
	}
}

// follows notes that a deploy of a service is followed here, until done is called.
func (r *Runner) follows(service string) (done func()) {
	add := func(n int) {
		r.mu.Lock()
		defer r.mu.Unlock()
		if r.at[service] += n; r.at[service] == 0 {
			delete(r.at, service)
		}
	}
	add(1)
	return func() { add(-1) }
}

func (r *Runner) isAt(service string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.at[service] > 0
}

// ResumeStopped takes up the updates that stopped all replicas first and did not come to
// start them again.
func (r *Runner) ResumeStopped(ctx context.Context) error {
	services, err := r.cluster.Services(ctx)
	if err != nil {
		return err
	}
	var errs []error
	for _, svc := range services {
		errs = append(errs, r.resumeStopped(ctx, svc))
	}
	return errors.Join(errs...)
}

// resume finds out how a deploy ended that was cut off. Before the service was
// changed nothing has happened; after that Swarm went on by itself.
func (r *Runner) resume(ctx context.Context, service string, e history.Entry) {
	rec := &record{runner: r, service: service, entry: e}
	if e.Stage.Untouched() {
		rec.interrupted("the manager stopped before anything was changed; deploy again")
		return
	}
	r.log.Info("resuming an interrupted deploy", "service", service, "version", e.Version, "stage", e.Stage)
	for {
		var sum Summary
		svc, err := r.cluster.Service(ctx, service)
		switch {
		case errors.Is(err, swarm.ErrNotFound):
			rec.interrupted("the service is not there")
			return
		case err != nil:
		case svc.Pending != "": // which the reconciler takes up
			err = errUnderWay
		case changedBy(svc, e):
			sum, err = r.followAgain(ctx, svc, e.Digest, r.LastGood(service))
		case e.Stage == history.StageUpdate:
			rec.interrupted("the manager stopped before the service was changed; deploy again")
			return
		default:
			_, err = r.followAgain(ctx, svc, svc.Digest, nil)
			err = cmp.Or[error](err, errWentBack)
		}
		if ctx.Err() != nil {
			return // the next start takes it up
		}
		if !swarm.IsUnreachable(err) && !errors.Is(err, errUnderWay) {
			rec.end(ctx, sum, err)
			return
		}
		if clock.Sleep(ctx, resumeRetry) != nil {
			return
		}
	}
}

// errUnderWay is of an update that stops all replicas first and has yet to start
// them again.
var errUnderWay = errors.New("the replicas are to start again")

// changedBy reports whether a deploy made the service what it is, or Swarm went back
// from that.
func changedBy(svc fleet.Service, e history.Entry) bool {
	return svc.Deploy == e.Mark() || strings.HasPrefix(svc.Update, "rollback_") && svc.UpdateStarted.After(e.At)
}

// errWentBack is the end of a deploy whose manager stopped while it brought the old
// version back.
var errWentBack = errors.New("the manager stopped while it went back; another version runs")

// followAgain follows a deploy to the image with the digest whose beginning another
// process saw; old is the version to go back to, nil where none is known. It
// fails as Deploy does.
func (r *Runner) followAgain(ctx context.Context, svc fleet.Service, digest string,
	old *servicespec.Deployment) (Summary, error) {
	release, err := r.claim(svc.Name)
	if err != nil {
		return Summary{}, err
	}
	defer release()
	d := Deploy{Service: svc.Name, Change: servicespec.Deployment{Image: "@" + digest}}
	ctx, cancel := context.WithTimeout(ctx, d.bound(&svc))
	defer cancel()
	tasks, err := r.cluster.Tasks(ctx, svc.ID)
	if err != nil {
		return Summary{}, err
	}
	g := d.goal(svc)
	g.Before = endedTasks(slices.DeleteFunc(tasks,
		func(t fleet.Task) bool { return !t.Created.Before(svc.UpdateStarted) }))
	g.Limit, g.BySwarm = 1, true
	if len(r.past.List(svc.Name)) > 1 && r.LastGood(svc.Name) == nil {
		g.Former = formerFailed
	}
	if svc.Tolerates || svc.UpdateStarted.IsZero() {
		g.BySwarm, g.Hold = false, g.Monitor
	}
	begun := svc.UpdateStarted
	svc.UpdateStarted = time.Time{} // whatever came of it counts
	sum, err := r.follow(ctx, svc, g, history.StageWatch, nil, begun, func(Progress) {})
	bad, is := failureIn(err)
	switch {
	case is && old == nil:
		bad.former = g.Former
		return sum, &NoOlderError{failure: bad}
	case is:
		old.Update.Parallelism = Parallelism(svc.Desired)
		return sum, r.rollBack(ctx, svc, *old, bad, func(Progress) {})
	}
	return sum, err
}
