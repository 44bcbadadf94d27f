package node

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/crawlbox/crawlbox/appliance/api"
	"github.com/crawlbox/crawlbox/appliance/deploy"
	"github.com/crawlbox/crawlbox/appliance/deploy/history"
	"github.com/crawlbox/crawlbox/appliance/fleet"
	"github.com/crawlbox/crawlbox/appliance/lifecycle"
	"github.com/crawlbox/crawlbox/appliance/swarm"
	"github.com/crawlbox/crawlbox/appliance/swarm/servicespec"
)

// deploys is the manager's record of what was deployed.
type deploys struct {
	*history.Store
	engine  *swarm.Engine
	sources *sources
	runner  *deploy.Runner
	forget  func(ctx context.Context, images []string) (all bool) // takes images from all nodes that don't use them
	untidy  chan struct{}                                         // buffered; see tidySoon
	log     *slog.Logger
	ended   func() // is called when a deploy has come to its end
}

// Target is the version of a service to go back to.
func (d *deploys) Target(svc fleet.Service, version int) (history.Entry, error) {
	if version == 0 {
		e, ok := previous(d.List(svc.Name))
		if !ok {
			return e, api.Conflict("service %s has no earlier version to go back to; see `crawlbox history %s`", svc.Name, svc.Name)
		}
		return e, nil
	}
	e, ok := d.Find(svc.Name, version)
	switch {
	case !ok:
		return e, &api.Error{Code: api.CodeNotFound, Message: "service " + svc.Name + " has no such version; see `crawlbox history " + svc.Name + "`"}
	case e.Digest == "":
		return e, api.Conflict("version %d of %s never had an image", version, svc.Name)
	}
	return e, nil
}

// original is the version whose image and settings an entry has: its own, or the one
// that it went back to.
func original(e history.Entry) int { return cmp.Or(e.From, e.Version) }

// previous is the newest good version before the one that runs, which was not the
// same. The entries come newest first.
func previous(entries []history.Entry) (history.Entry, bool) {
	good := slices.DeleteFunc(entries, func(e history.Entry) bool { return e.Result != history.Done })
	for _, e := range good {
		if original(e) != original(good[0]) {
			return e, true
		}
	}
	return history.Entry{}, false
}

// Failed are sentences on services whose last deploy failed and left them as they
// are. Swarm may take such a one for finished; of a crash loop it is told elsewhere.
func (d *deploys) Failed(snap fleet.Snapshot) (list []string) {
	for _, s := range snap.Services {
		entries := d.List(s.Name)
		if len(entries) == 0 || entries[0].Result != history.Failed || s.Desired == 0 || s.Deploy != markOf(entries[0]) {
			continue
		}
		if _, loops := fleet.CrashLoop(snap.TasksOf(s.ID), snap.Taken); !loops {
			list = append(list, "the last deploy of service "+entries[0].Why)
		}
	}
	return list
}

// record is one deploy on its way into the history.
type deployRecord struct {
	deploys *deploys
	service string
	entry   history.Entry // Version is 0 until it is on disk
	again   int           // the version of a try that this one takes the place of, or 0
}

func (d *deploys) begin(service string, e history.Entry) *deployRecord {
	e.At = time.Now().UTC()
	rec := &deployRecord{deploys: d, service: service, entry: e}
	if last, ok := d.newest(service); ok && sameTry(last, e) {
		rec.again = last.Version
	}
	return rec
}

// newest is the last entry of a service.
func (d *deploys) newest(service string) (e history.Entry, ok bool) {
	if list := d.List(service); len(list) > 0 {
		return list[0], true
	}
	return e, false
}

// sameTry says whether a change of the config file is one that came to nothing
// before, and is tried again. It is told once.
func sameTry(last, e history.Entry) bool {
	return e.Kind == history.KindConfig && last.Kind == e.Kind && last.Definition == e.Definition && last.Digest == e.Digest &&
		last.Stage == history.StageStage && (last.Result == history.Failed || last.Result == history.Interrupted)
}

// mark tells the service whose change it was.
func (r *deployRecord) mark() string { return markOf(r.entry) }

func markOf(e history.Entry) string { return e.At.UTC().Format(time.RFC3339Nano) }

// at writes down that a stage begins. Nothing is written of a deploy that is
// refused before its first one.
func (r *deployRecord) at(stage string) (err error) {
	r.entry.Stage = stage
	if r.entry.Version == 0 {
		r.entry.Result = history.Running
		if r.again > 0 {
			r.entry.Version = r.again
			return r.deploys.Update(r.service, r.again, func(e *history.Entry) { *e = r.entry })
		}
		r.entry.Version, err = r.deploys.Begin(r.service, r.entry)
		return err
	}
	return r.deploys.Update(r.service, r.entry.Version, func(e *history.Entry) { e.Stage = stage })
}

// Run deploys and writes down how that goes.
func (d *deploys) Run(ctx context.Context, e history.Entry, dep deploy.Deploy, deploy func(deploy.Deploy) (deploy.Summary, error)) (deploy.Summary, error) {
	e.Image, e.Digest, _ = strings.Cut(dep.Change.Image, "@")
	rec := d.begin(dep.Service, e)
	dep.At, dep.Change.Mark = rec.at, rec.mark()
	sum, err := deploy(dep)
	rec.end(ctx, err)
	d.tidySoon()
	return sum, err
}

// end writes down how it went, and of a good version all that it takes to go back
// to it.
func (r *deployRecord) end(ctx context.Context, failed error) {
	if r.entry.Version == 0 {
		return
	}
	var spec json.RawMessage
	if failed == nil {
		var err error
		if spec, err = r.deploys.engine.Spec(context.WithoutCancel(ctx), r.service); err != nil {
			r.deploys.log.Warn("keep what service "+r.service+" is asked to be", "error", err)
		}
	}
	err := r.deploys.Update(r.service, r.entry.Version, func(e *history.Entry) {
		e.Took, e.Result, e.Spec = time.Since(e.At), resultOf(failed), spec
		if failed != nil {
			e.Why = failed.Error()
		}
	})
	r.written(err)
}

// written is called when an entry has its end.
func (r *deployRecord) written(err error) {
	if err != nil {
		r.deploys.log.Error("write the history of deploys", "service", r.service, "error", err)
	}
	if r.deploys.ended != nil {
		r.deploys.ended()
	}
}

func resultOf(err error) history.Result {
	switch {
	case err == nil:
		return history.Done
	case deploy.WasRolledBack(err), errors.Is(err, errWentBack):
		return history.RolledBack
	case errors.Is(err, context.Canceled):
		return history.Interrupted
	}
	return history.Failed
}

// component takes up what a manager did not live to see the end of, and keeps the
// nodes tidy.
func (d *deploys) component() lifecycle.Component {
	return background(func(ctx context.Context) error {
		for service, e := range d.Unfinished() {
			go d.resume(ctx, service, e)
		}
		d.keepTidy(ctx)
		return nil
	})
}

// resume finds out how a deploy ended that was cut off. Before the service was
// changed nothing has happened; after that Swarm went on by itself.
func (d *deploys) resume(ctx context.Context, service string, e history.Entry) {
	rec := &deployRecord{deploys: d, service: service, entry: e}
	if e.Stage != history.StageFlip && e.Stage != history.StageWatch {
		rec.interrupted("the manager stopped before anything was changed; deploy again")
		return
	}
	d.log.Info("take up a deploy that was cut off", "service", service, "version", e.Version, "stage", e.Stage)
	for {
		svc, err := d.engine.Service(ctx, service)
		switch {
		case errors.Is(err, swarm.ErrNotFound):
			rec.interrupted("the service is not there")
			return
		case err != nil:
		case svc.Pending != "": // which the reconciler takes up
			err = errUnderWay
		case changedBy(svc, e):
			_, err = d.runner.Rewatch(ctx, svc, e.Digest, d.lastGood(service))
		case e.Stage == history.StageFlip:
			rec.interrupted("the manager stopped before the service was changed; deploy again")
			return
		default:
			_, err = d.runner.Rewatch(ctx, svc, svc.Digest, nil)
			err = cmp.Or[error](err, errWentBack)
		}
		if ctx.Err() != nil {
			return // the next start takes it up
		}
		if !away(err) && !errors.Is(err, errUnderWay) {
			rec.end(ctx, err)
			d.tidySoon()
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(retryInterval):
		}
	}
}

// errUnderWay is of an update that stops all replicas first and has yet to start
// them again.
var errUnderWay = errors.New("the replicas are to start again")

// changedBy says whether a deploy made the service what it is, or Swarm went back
// from that.
func changedBy(svc fleet.Service, e history.Entry) bool {
	return svc.Deploy == markOf(e) || strings.HasPrefix(svc.Update, "rollback_") && svc.UpdateStarted.After(e.At)
}

// errWentBack is the end of a deploy whose manager stopped while it brought the old
// version back.
var errWentBack = errors.New("the manager stopped while it went back; another version runs")

// lastGood is the newest version that ran as it should, nil where there is none.
func (d *deploys) lastGood(service string) *servicespec.Deployment {
	for _, e := range d.List(service) {
		if e.Result == history.Done && e.Spec != nil {
			return &servicespec.Deployment{Image: e.Image + "@" + e.Digest, Spec: e.Spec}
		}
	}
	return nil
}

func (r *deployRecord) interrupted(why string) {
	r.written(r.deploys.Update(r.service, r.entry.Version, func(e *history.Entry) { e.Result, e.Why = history.Interrupted, why }))
}
