package deploy

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/crawlbox/crawlbox/appliance/base/clock"
	"github.com/crawlbox/crawlbox/appliance/deploy/history"
	"github.com/crawlbox/crawlbox/appliance/deploy/history/historytest"
	"github.com/crawlbox/crawlbox/appliance/fleet"
	"github.com/crawlbox/crawlbox/appliance/swarm"
	"github.com/crawlbox/crawlbox/appliance/swarm/servicespec"
)

// starved is a cluster whose engine does not answer the first questions in time, though it does
// what it was told.
type starved struct {
	standstill
	slow    int // so many questions get no answer in time
	made    int // services
	changes int
}

// answer takes longer than the engine's answer may.
func (c *starved) answer() error {
	if c.slow--; c.slow < 0 {
		return nil
	}
	return context.DeadlineExceeded
}

func (c *starved) Service(context.Context, string) (fleet.Service, error) {
	return c.service, c.answer()
}

func (c *starved) Deploy(_ context.Context, _ string, d servicespec.Deployment) (bool, error) {
	c.changes++
	c.service.Deploy = d.Mark
	return false, c.answer()
}

func (c *starved) CreateDeployed(_ context.Context, _ string, d servicespec.Deployment) (string, error) {
	c.made++
	c.service.Deploy = d.Mark
	return "s", c.answer()
}

// An engine that is starved is asked again, and is not told twice to do the same.
func TestChange_StarvedEngine(t *testing.T) {
	t.Parallel()
	for slow, fails := range map[int]bool{0: false, 1: false, 3: false, 100: true} {
		for _, was := range []*fleet.Service{nil, {ID: "s"}} {
			c := &starved{slow: slow}
			c.service.ID = "s"
			r := NewRunner(c, nil, nil, slog.New(slog.DiscardHandler))
			d := Deploy{Service: "spider", Change: servicespec.Deployment{Mark: "now"}}
			id, _, err := r.change(t.Context(), was, d)
			if (err != nil) != fails || !fails && (id != "s" || c.made+c.changes != 1) {
				t.Errorf("%d answers late: got %q, %v after %d services and %d changes", slow, id, err, c.made,
					c.changes)
			}
		}
	}
}

// A manager that was stopped for an hour in the middle of a change has not seen that nothing moved
// meanwhile.
func TestFollow_StoppedManager(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := &stopped{standstill: standstill{
			service: *replicated(1),
			task:    task("a", 1, "preparing", fleet.TaskRunning),
		}}
		c.task.Error = "no such thing"
		c.nodes = up
		r := NewRunner(c, nil, nil, slog.New(slog.DiscardHandler))
		begun := time.Now()
		_, err := r.follow(t.Context(), c.service, Goal{Desired: 1, Patience: enginePatience}, history.StageWatch, nil,
			time.Now(), func(Progress) {})
		if took := time.Since(begun); err != nil || took < time.Hour {
			t.Errorf("after %s: %v", took, err)
		}
	})
}

// stopped is a cluster that is looked at by a process that stands still for an hour; a moment
// later what is wanted is true.
type stopped struct {
	standstill
	looks int
}

func (c *stopped) Tasks(context.Context, string) ([]fleet.Task, error) {
	switch c.looks++; c.looks {
	case 5:
		time.Sleep(time.Hour)
	case 9:
		c.task.State = fleet.TaskRunning
	}
	return []fleet.Task{c.task}, nil
}

// A node that is starved is asked again what became of a task.
func TestCauses_StarvedNode(t *testing.T) {
	t.Parallel()
	for silent, want := range map[int32]string{0: "out of memory", 2: "out of memory", 3: "exit 137"} {
		agents := &dazed{silent: silent}
		q := newCauses(agents, time.Minute)
		var got fleet.Task
		for range 5 {
			failed := task("a", 1, fleet.TaskFailed, fleet.TaskShutdown)
			failed.Container, failed.Error = "a", "exit 137"
			got = q.look(t.Context(), up, []fleet.Task{failed}, Goal{})[0]
		}
		if got.Error != want || agents.asked.Load() > askTries {
			t.Errorf("silent %d times: %s, asked %d times", silent, got.Error, agents.asked.Load())
		}
	}
}

// dazed agents do not answer the first few questions.
type dazed struct {
	pullerFunc
	silent int32
	asked  atomic.Int32
}

func (d *dazed) Container(context.Context, fleet.Node, string) (swarm.Container, error) {
	if d.asked.Add(1) <= d.silent {
		return swarm.Container{}, fmt.Errorf("no word: %w", ErrUnanswered)
	}
	return swarm.Container{ExitCode: swarm.ExitKilled, OutOfMemory: true}, nil
}

// A deploy that begins while Swarm has just been started again waits for it to know its nodes.
func TestDeploy_SwarmBeginsAnew(t *testing.T) {
	t.Parallel()
	for known, takes := range map[time.Duration]time.Duration{
		0: 0, 20 * time.Second: 20 * time.Second, time.Hour: maxUnknown,
	} {
		synctest.Test(t, func(t *testing.T) {
			c := &built{}
			c.nodes = []fleet.Node{{ID: "n0", Display: "h0", State: fleet.StateUnknown}}
			go func() {
				if clock.Sleep(t.Context(), known) == nil {
					c.set(0, fleet.StateReady)
				}
			}()
			synctest.Wait()
			begun, said := time.Now(), ""
			r := NewRunner(c, nil, nil, slog.New(slog.DiscardHandler))
			d := Deploy{Service: "spider", Pull: DefaultPullPolicy}
			err := r.awaitKnown(t.Context(), nil, d, func(p Progress) { said = p.Note })
			if took := time.Since(begun); err != nil || took < takes || took > takes+2*time.Second ||
				takes > 0 && !strings.Contains(said, "whether h0 is up") {
				t.Errorf("known after %s: took %s, said %q: %v", known, took, said, err)
			}
		})
	}
}

// Nobody is told that no node can run a service while Swarm has yet to hear from all of them.
func TestEligibleNodes_Unknown(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := &built{}
		c.nodes = []fleet.Node{{ID: "n0", Display: "h0", State: fleet.StateUnknown}}
		go func() {
			if clock.Sleep(t.Context(), 20*time.Second) == nil {
				c.set(0, fleet.StateReady)
			}
		}()
		r := NewRunner(c, nil, nil, slog.New(slog.DiscardHandler))
		nodes, err := r.eligibleNodes(t.Context(), nil, Deploy{Service: "spider", Pull: DefaultPullPolicy}, silently)
		if err != nil || len(nodes) != 1 {
			t.Errorf("got %+v, %v", nodes, err)
		}
	})
}

// A version that fails after one that never worked has none to go back to, and says so.
func TestUpdate_OldVersionNeverWorked(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		past []history.Result // of the versions before
		ran  time.Duration    // the replica that there is
		says string           // in the error; empty: it goes back
	}{
		"it never worked": {
			[]history.Result{history.Failed}, 0,
			"never worked either, so it does not come back: deploy a better one, or remove it",
		},
		"one before did": {
			[]history.Result{history.Done, history.Failed}, 0,
			"or go back to version 1 with `crawlbox rollback spider 1`",
		},
		"it worked":            {[]history.Result{history.Failed, history.Done}, 0, ""},
		"it works by now":      {[]history.Result{history.Failed}, time.Hour, ""},
		"nothing is known":     {nil, 0, ""},
		"it was broken off":    {[]history.Result{history.Interrupted}, 0, ""},
		"it was a bad way out": {[]history.Result{history.RolledBack}, 0, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				store, err := history.Open(historytest.In(t.TempDir()))
				if err != nil {
					t.Fatal(err)
				}
				c := &failing{standstill: standstill{service: *replicated(1)}}
				c.service.Image, c.service.Digest, c.nodes = "x:1", "sha256:old", up
				for i, r := range tc.past {
					e := history.Entry{
						Digest: "sha256:old",
						At:     time.Now().Add(time.Duration(i-9) * time.Minute),
						Kind:   history.KindDeploy,
						Result: r,
					}
					if _, err := store.Begin("spider", e); err != nil {
						t.Fatal(err)
					}
					c.service.Deploy = e.Mark()
				}
				c.task = task("a", 1, fleet.TaskRunning, fleet.TaskRunning)
				c.task.Digest, c.task.Since = "sha256:old", time.Now().Add(-tc.ran)
				r := NewRunner(c, pullerFunc(func(context.Context, string) error { return nil }), store,
					slog.New(slog.DiscardHandler))
				err = r.Deploy(&c.service, Deploy{
					Service: "spider",
					Change:  servicespec.Deployment{Image: "x:2@sha256:new"},
					Pull:    DefaultPullPolicy,
				}).Run(t.Context(), func(Progress) {})
				var none *NoOlderError
				switch {
				case tc.says == "" && !wasRolledBack(err):
					t.Errorf("got %v, want it to go back", err)
				case tc.says != "" && (!errors.As(err, &none) || !strings.Contains(err.Error(), tc.says) || !c.slowed):
					t.Errorf("got %v, want %q; slowed down: %v", err, tc.says, c.slowed)
				}
				if watched := c.deployed[0].Watched; watched != (tc.says != "") {
					t.Errorf("Swarm is told to go back by itself: %v", !watched)
				}
			})
		})
	}
}

// failing is a cluster on which each new version fails, and the old one comes back where Swarm or
// somebody else brings it.
type failing struct {
	standstill
	slowed bool
}

func (c *failing) Deploy(_ context.Context, _ string, d servicespec.Deployment) (bool, error) {
	if c.deployed = append(c.deployed, d); len(c.deployed) > 1 {
		c.task = task("c", 1, fleet.TaskRunning, fleet.TaskRunning)
		c.task.Digest = "sha256:old"
		c.service.Update, c.service.UpdateStarted = fleet.UpdateCompleted, time.Now()
		return true, nil
	}
	c.task = task("b", 1, fleet.TaskFailed, fleet.TaskShutdown)
	c.task.Digest, c.task.Error, c.task.Since = "sha256:new", "exit 3", time.Now()
	c.service.Update, c.service.UpdateStarted = fleet.UpdateCompleted, time.Now()
	if !d.Watched { // Swarm goes back by itself
		c.service.Update = fleet.UpdateRolledBack
	}
	return true, nil
}

func (c *failing) SlowDown(context.Context, string) error { c.slowed = true; return nil }
