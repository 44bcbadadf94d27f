package deploy

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/crawlbox/crawlbox/appliance/deploy/history"
	"github.com/crawlbox/crawlbox/appliance/deploy/history/historytest"
	"github.com/crawlbox/crawlbox/appliance/fleet"
	"github.com/crawlbox/crawlbox/appliance/swarm/servicespec"
)

// crashing is a cluster on which replicas fail from when a version is deployed to it, for as long
// as it says, and are started again 5 s after they did.
type crashing struct {
	standstill
	fails time.Duration
	since time.Time // of the deploy
}

func (c *crashing) Deploy(_ context.Context, _ string, d servicespec.Deployment) (bool, error) {
	c.deployed = append(c.deployed, d)
	c.since, c.service.UpdateStarted = time.Now(), time.Now()
	return true, nil
}

// Service is under way for the monitor time, unless Swarm goes back itself.
func (c *crashing) Service(context.Context, string) (fleet.Service, error) {
	svc, ran := c.service, time.Since(c.since)
	switch {
	case len(c.deployed) == 1 && !c.deployed[0].Watched && ran > time.Second:
		svc.Update = fleet.UpdateRolledBack
	case ran < servicespec.DefaultMonitor:
		svc.Update = fleet.Updating
	default:
		svc.Update = fleet.UpdateCompleted
	}
	return svc, nil
}

func (c *crashing) CreateDeployed(_ context.Context, _ string, d servicespec.Deployment) (string, error) {
	c.deployed, c.since = append(c.deployed, d), time.Now()
	return "s", nil
}

func (c *crashing) Tasks(context.Context, string) ([]fleet.Task, error) {
	if len(c.deployed) == 0 {
		return nil, nil
	}
	if len(c.deployed) > 1 { // the old version is back
		t := task("old", 1, fleet.TaskRunning, fleet.TaskRunning)
		t.Digest = "sha256:old"
		return []fleet.Task{t}, nil
	}
	failed := task("a", 1, fleet.TaskFailed, fleet.TaskShutdown)
	failed.Error, failed.Since = "exit code 1", c.since.Add(time.Second)
	ran := time.Since(c.since)
	switch {
	case ran < time.Second:
		return []fleet.Task{task("a", 1, fleet.TaskRunning, fleet.TaskRunning)}, nil
	case ran < 6*time.Second:
		return []fleet.Task{failed}, nil
	case ran > 7*time.Second && ran < c.fails:
		again := failed
		again.ID, again.Since = "b", time.Now()
		return []fleet.Task{failed, again}, nil
	}
	return []fleet.Task{failed, task("c", 1, fleet.TaskRunning, fleet.TaskRunning)}, nil
}

// A version whose replicas end while the queue is away is not bad for that; one that goes on
// failing is, and so is one of a service that does not know the queue.
func TestDeploy_QueueAway(t *testing.T) {
	t.Parallel()
	const away = 2 * time.Second
	for name, tc := range map[string]struct {
		created bool
		stays   bool          // the outage does not end
		unknown bool          // the service does not know the queue
		fails   time.Duration // for how long
		good    bool
	}{
		"while it is away":              {fails: away, good: true},
		"while it is away, a first one": {created: true, fails: away, good: true},
		"and on":                        {fails: time.Hour},
		"and on, a first one":           {created: true, fails: time.Hour},
		"it never comes back":           {stays: true, fails: time.Hour},
		"the service does not know it":  {unknown: true, fails: away},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				store, err := history.Open(historytest.In(t.TempDir()))
				if err != nil {
					t.Fatal(err)
				}
				c := &crashing{standstill: standstill{service: *replicated(1)}, fails: tc.fails}
				c.service.Image, c.service.Digest, c.service.Queue, c.nodes = "x:1", "sha256:old", "q", up
				told := servicespec.Queue{URL: "redis://there"}
				if tc.unknown {
					c.service.Queue, told.URL = "", ""
				}
				r := NewRunner(c, pullerFunc(func(context.Context, string) error { return nil }), store,
					slog.New(slog.DiscardHandler))
				r.TellQueue(func(context.Context, string) servicespec.Queue { return told },
					func() []fleet.Outage {
						o := fleet.Outage{Seen: c.since}
						if !tc.stays && time.Since(c.since) > away {
							o.Ended = c.since.Add(away)
						}
						return []fleet.Outage{{Ended: c.since.Add(-time.Hour), Restart: true}, o}
					})
				was := &c.service
				if tc.created {
					was = nil
				}
				var notes []string
				var last Progress
				err = r.Deploy(was, Deploy{
					Service: "spider",
					Change:  servicespec.Deployment{Image: "x:2@sha256:new"},
					Pull:    DefaultPullPolicy,
					Entry:   history.Entry{Kind: history.KindDeploy},
				}).Run(t.Context(), func(p Progress) { last, notes = p, append(notes, p.Note) })
				if (err == nil) != tc.good || wasRolledBack(err) == (tc.good || tc.created) ||
					errors.As(err, new(*NoOlderError)) != (tc.created && !tc.good) {
					t.Fatalf("got %v", err)
				}
				if watched := c.deployed[0].Watched; watched == (tc.unknown || tc.created) {
					t.Errorf("crawlbox goes back itself: %v", watched)
				}
				said := strings.Contains(strings.Join(notes, "\n"), "exit code 1 on h1 while the queue was away")
				if said == tc.unknown {
					t.Errorf("it says %q", notes)
				}
				why := store.List("spider")[0].Why
				if tc.good && (last.Done.Excused != 1 || last.Done.Took < 6*time.Second+servicespec.DefaultMonitor ||
					why != "1 replica ended while the queue was away, which does not count") {
					t.Errorf("it ends with %+v after %s, and the history has %q", last.Done, last.Done.Took, why)
				}
			})
		})
	}
}

func (*crashing) SlowDown(context.Context, string) error { return nil }

func (c *crashing) Scale(context.Context, string, int) error {
	c.deployed, c.since = append(c.deployed, servicespec.Deployment{Watched: true}), time.Now()
	return nil
}

// A change of how many replicas run says why they fail and what they wrote, as a deploy does, and
// does not wait for one that crashes to run for a moment.
func TestScale_SaysWhyReplicasFail(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := &crashing{standstill: standstill{service: *replicated(1)}, fails: time.Hour}
		c.nodes = up
		begun := time.Now()
		r := NewRunner(c, nil, nil, slog.New(slog.DiscardHandler))
		err := r.Scale(c.service, 1).Run(t.Context(), func(Progress) {})
		const want = "spider: its tasks fail: exit code 1 on h1; Swarm goes on trying, read what they " +
			"write with `crawlbox logs --all spider`, or `crawlbox stop spider`"
		if took := time.Since(begun); err == nil || err.Error() != want || took > 10*time.Second {
			t.Errorf("after %s: %v", took, err)
		}
		if service, task := FailedTask(err); service != "spider" || task != "a" {
			t.Errorf("it failed by %s of %s", task, service)
		}
	})
}
