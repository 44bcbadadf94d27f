// Package runs ends runs, and writes down what became of them: on the manager that leads, every two seconds. What a run
// is stands in the label of its service and what became of it in Swarm's tasks, so that the next leader goes on
// where the last one stopped.
//
//	all slots have ended ──▶ record in the cluster's state ──(linger)──▶ service removed
//	its time is over     ──▶ stopped, as by a person       ──▶ all slots have ended
//
// A record is written before its service is removed, and once: a second leader finds it there. A new leader of Swarm
// counts anew how often tasks have begun again: a run that has failed as often as it may by all tasks that are known of
// it is stopped once nothing else of it goes on, and has failed.
package runs

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/crawlbox/crawlbox/appliance/controller"
	"github.com/crawlbox/crawlbox/appliance/fleet"
	"github.com/crawlbox/crawlbox/appliance/runs"
	"github.com/crawlbox/crawlbox/appliance/tasklog"
)

const (
	// every is how often it looks.
	every = 2 * time.Second
	// atOnce bounds the runs that are ended at a time, and the tasks of each that are asked about.
	atOnce = 8
	// linger is how long the service of a run stays after its end, so that who follows the log hears the last of it.
	linger = 10 * time.Second
	// maxAsking bounds how long nodes are asked what a run did.
	maxAsking = 30 * time.Second
	// lastLines is how many of a task's last lines are read for what it did, and firstLines how many of the first are
	// for how it began.
	lastLines  = 200
	firstLines = 10
	// maxRead bounds what is read of either, in bytes.
	maxRead = 512 << 10
)

// Engine holds the methods of *swarm.Engine that the controller needs.
type Engine interface {
	tasklog.Engine
	HasRuns(ctx context.Context) (bool, error)
	Snapshot(ctx context.Context) (fleet.Snapshot, error)
	StopRun(ctx context.Context, id, label string) error
	RestartRun(ctx context.Context, id string, times int) error
	Variables(ctx context.Context, id string, names []string) (map[string]string, error)
	Remove(ctx context.Context, id string) error
}

// Store keeps records. *runs.Store is one.
type Store interface {
	Has(id string) (bool, error)
	Add(r runs.Record) error
}

// Why says why a task failed, or was ended that Swarm takes for complete; empty: it was not. (*deploy.Runner).Why is
// one.
type Why func(ctx context.Context, nodes []fleet.Node, t fleet.Task) string

// Peaks returns what a node says of how much up to 20 tasks took there, by their IDs. peaks.Nodes.Of is one.
type Peaks func(ctx context.Context, n fleet.Node, tasks []string) (map[string]fleet.Peak, error)

type keeper struct {
	engine Engine
	store  Store
	why    Why
	peaks  Peaks
	log    *slog.Logger
	some   bool                  // runs had a service at the last look
	failed map[string]fleet.Task // of runs that have a service, by ID
}

// New returns the loop.
func New(e Engine, s Store, why Why, peaks Peaks, log *slog.Logger) *controller.Loop {
	k := &keeper{engine: e, store: s, why: why, peaks: peaks, log: log}
	loop := controller.New("runs", k.round)
	loop.First, loop.Every, loop.Retry, loop.RetryMost = every, every, every, 15*time.Second
	return loop
}

func (k *keeper) round(ctx context.Context) error {
	// Who reads the records first waits until all are read: no user is to.
	if _, err := k.store.Has(""); err != nil {
		return err
	}
	if !k.some { // where there were some, the question would take as long as the services themselves
		some, err := k.engine.HasRuns(ctx)
		if err != nil {
			return err
		}
		if !some {
			k.failed = nil
			return nil
		}
	}
	snap, err := k.engine.Snapshot(ctx)
	if err != nil {
		return err
	}
	k.some = slices.ContainsFunc(snap.Services, fleet.Service.IsRun)
	k.complete(&snap)
	all, together := errgroup.WithContext(ctx)
	all.SetLimit(atOnce)
	for _, svc := range snap.Services {
		if !svc.IsRun() {
			continue
		}
		all.Go(func() error {
			if err := k.see(together, snap, svc); err != nil && ctx.Err() == nil {
				k.log.Warn("failed to look after a run", "run", svc.Name, "error", err)
			}
			return nil // others are looked after for all that
		})
	}
	return all.Wait()
}

// complete adds to a snapshot the tasks of runs that failed and are gone since: Swarm keeps five of a slot, the one
// that runs among them.
func (k *keeper) complete(snap *fleet.Snapshot) {
	isRun, there, failed := map[string]bool{}, map[string]bool{}, map[string]fleet.Task{}
	for _, svc := range snap.Services {
		isRun[svc.ID] = svc.IsRun()
	}
	for _, t := range snap.Tasks {
		there[t.ID] = true
		if isRun[t.ServiceID] && (t.State == fleet.TaskFailed || t.State == fleet.TaskRejected) {
			failed[t.ID] = t
		}
	}
	snap.Tasks = slices.Clip(snap.Tasks)
	for id, t := range k.failed {
		if isRun[t.ServiceID] && !there[id] {
			failed[id], snap.Tasks = t, append(snap.Tasks, t)
		}
	}
	k.failed = failed
}

// step is what there is to do about a run.
type step int

const (
	wait  step = iota
	stop       // its time is over
	spend      // it has begun again as often as it may
	write
	remove
)

// decide says what there is to do about a run that has a record, or none yet.
func decide(s runs.Spec, ended *runs.Stop, tasks []fleet.Task, has bool, now time.Time) step {
	switch {
	case has && now.Sub(lastEnd(tasks)) < linger:
		return wait
	case has:
		return remove
	case runs.Judge(s, ended, tasks).Ended():
		return write
	case ended == nil && runs.Due(s, now):
		return stop
	case ended == nil && runs.Spent(s, tasks):
		return spend
	}
	return wait
}

// lastEnd returns when the last of the tasks ended that have.
func lastEnd(tasks []fleet.Task) (end time.Time) {
	for _, t := range tasks {
		if t.Ended() && t.Since.After(end) {
			end = t.Since
		}
	}
	return end
}

func (k *keeper) see(ctx context.Context, snap fleet.Snapshot, svc fleet.Service) error {
	spec, err := runs.Parse(svc.Run)
	if err != nil {
		return err
	}
	ended, err := runs.ParseStop(svc.RunStop)
	if err != nil {
		return err
	}
	has, err := k.store.Has(svc.Name)
	if err != nil {
		return err
	}
	spec.ID = svc.Name // by which it is found, whatever a person wrote into the label
	tasks := snap.TasksOf(svc.ID)
	switch decide(spec, ended, tasks, has, snap.Taken) {
	case stop:
		k.log.Info("ending a run whose time is over", "run", svc.Name, "timeout", spec.Timeout)
		end := runs.Stop{At: snap.Taken.UTC(), TimedOut: true}
		if v := runs.Judge(spec, nil, tasks); v.State == runs.Waiting {
			end.Waited = cmp.Or(v.Why, "no node has taken it")
		}
		return k.stop(ctx, svc, end)
	case spend:
		k.log.Info("ending a run that has failed as often as it may", "run", svc.Name, "retries", spec.Retries)
		return k.stop(ctx, svc, runs.Stop{At: snap.Taken.UTC(), Spent: true})
	case write:
		return k.write(ctx, snap, svc, spec, ended, tasks)
	case remove:
		return k.engine.Remove(ctx, svc.ID)
	}
	return nil
}

func (k *keeper) stop(ctx context.Context, svc fleet.Service, why runs.Stop) error {
	label, err := why.Label()
	if err != nil {
		return err
	}
	return k.engine.StopRun(ctx, svc.ID, label)
}

// write writes down what became of a run.
func (k *keeper) write(ctx context.Context, snap fleet.Snapshot, svc fleet.Service, spec runs.Spec, ended *runs.Stop,
	tasks []fleet.Task) error {
	variables, err := k.engine.Variables(ctx, svc.ID, spec.Env)
	if err != nil {
		return err
	}
	done := runs.Judge(spec, ended, tasks).State == runs.Done
	counts, logs, cut := k.ask(ctx, snap.Nodes, tasks)
	if done && runs.Judge(spec, ended, tasks).State == runs.Failed && runs.MayBeginAgain(spec, tasks) {
		k.log.Info("a run begins again that did not end by itself", "run", svc.Name, "times", cut)
		return k.engine.RestartRun(ctx, svc.ID, cut)
	}
	r := runs.NewRecord(spec, ended, tasks, snap.Taken.UTC())
	r.Variables, r.Counts = variables, counts
	if i := r.Tells(tasks); i >= 0 {
		r.Log = logs[i]
	}
	k.measured(ctx, snap.Nodes, tasks, r.Tasks)
	if err := k.store.Add(r); err != nil {
		return err
	}
	k.log.Info("a run has ended", "run", r.ID, "outcome", r.State, "why", r.Why)
	return nil
}

// ask completes tasks with the causes that their nodes know, and returns what they did by their logs and what is kept
// of each of those, as far as the nodes answer in time, and how many Swarm takes for complete that were ended.
func (k *keeper) ask(ctx context.Context, nodes []fleet.Node, tasks []fleet.Task) (sum runs.Counts,
	logs []*runs.Excerpt, cut int) {
	ctx, cancel := context.WithTimeout(ctx, maxAsking)
	defer cancel()
	counts, logs := make([]runs.Counts, len(tasks)), make([]*runs.Excerpt, len(tasks))
	var asked errgroup.Group
	var ended atomic.Int32
	asked.SetLimit(atOnce)
	for i, t := range tasks {
		if t.Container == "" || t.Lost != "" || ctx.Err() != nil {
			continue
		}
		asked.Go(func() error {
			switch why := k.why(ctx, nodes, t); {
			case t.State == fleet.TaskFailed:
				tasks[i].Error = why
			case t.State == fleet.TaskComplete && why != "":
				tasks[i].State, tasks[i].Error = fleet.TaskFailed, why
				ended.Add(1)
			}
			counts[i], logs[i] = k.did(ctx, t)
			return nil
		})
	}
	_ = asked.Wait()
	for _, c := range counts {
		sum = sum.Plus(c)
	}
	return sum, logs, int(ended.Load())
}

// measured completes what a record has of tasks with how much they took, as far as their nodes know it.
func (k *keeper) measured(ctx context.Context, nodes []fleet.Node, all []fleet.Task, list []runs.Task) {
	of := map[string][]string{} // tasks, by the ID of their node
	for _, t := range all {
		isListed := slices.ContainsFunc(list, func(is runs.Task) bool { return is.ID == t.ID })
		if isListed && t.Container != "" && t.Lost == "" {
			of[t.NodeID] = append(of[t.NodeID], t.ID)
		}
	}
	said := make([]map[string]fleet.Peak, len(nodes))
	var asked errgroup.Group
	asked.SetLimit(atOnce)
	for i, n := range nodes {
		if len(of[n.ID]) == 0 || n.State != fleet.StateReady {
			continue
		}
		asked.Go(func() (err error) {
			if said[i], err = k.peaks(ctx, n, of[n.ID]); err != nil {
				k.log.Debug("failed to ask what tasks of a run took", "node", n.Display, "error", err)
			}
			return nil
		})
	}
	_ = asked.Wait()
	for i := range list {
		for j, known := range said {
			if slices.Contains(of[nodes[j].ID], list[i].ID) {
				list[i].Peak = known[list[i].ID]
			}
		}
	}
}

// did returns what a task did by the end of its log, and what is kept of that.
func (k *keeper) did(ctx context.Context, t fleet.Task) (runs.Counts, *runs.Excerpt) {
	begin, end, err := tasklog.Ends(ctx, k.engine, t.ID, firstLines, lastLines, maxRead)
	if err != nil && !errors.Is(err, context.Canceled) {
		k.log.Debug("failed to read what a task of a run did", "task", fmt.Sprint(t.Name(), "@", t.Node), "error", err)
	}
	var counter runs.Counter
	for _, line := range end {
		counter.Line(line.Text)
	}
	log := runs.NewExcerpt(texts(begin), texts(end))
	if log != nil {
		log.Slot, log.Node = t.Slot, t.Node
	}
	return counter.Counts(), log
}

func texts(lines []tasklog.Line) (list []string) {
	for _, line := range lines {
		list = append(list, line.Text)
	}
	return list
}
