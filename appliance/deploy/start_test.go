package deploy

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/crawlbox/crawlbox/appliance/deploy/history"
	"github.com/crawlbox/crawlbox/appliance/fleet"
	"github.com/crawlbox/crawlbox/appliance/swarm/servicespec"
)

// startable is a Cluster with one service. Swarm replaces its tasks a moment after it was
// told to start it.
type startable struct {
	Cluster
	mu      sync.Mutex
	svc     fleet.Service
	tasks   []fleet.Task
	asked   int // replicas
	told    *servicespec.Queue
	started time.Time
}

func (c *startable) Nodes(context.Context) ([]fleet.Node, error) { return up, nil }

func (c *startable) Service(context.Context, string) (fleet.Service, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.advance()
	return c.svc, nil
}

func (c *startable) Tasks(context.Context, string) ([]fleet.Task, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.advance()
	return c.tasks, nil
}

func (c *startable) Start(_ context.Context, _ string, n int, q *servicespec.Queue) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.asked, c.told, c.started = n, q, time.Now()
	c.svc.Desired = n
	return nil
}

// advance lets Swarm do its work.
func (c *startable) advance() {
	if c.started.IsZero() || time.Since(c.started) < time.Second {
		return
	}
	c.svc.UpdateStarted, c.svc.Update, c.tasks = c.started, "completed", nil
	for slot := range c.asked {
		t := task("new", slot+1, fleet.TaskRunning, fleet.TaskRunning)
		t.Created = c.started
		c.tasks = append(c.tasks, t)
	}
}

// TestStart runs services of all kinds again.
func TestStart(t *testing.T) {
	t.Parallel()
	complete := func(n int) (tasks []fleet.Task) {
		for slot := range n {
			tasks = append(tasks, task("old", slot+1, fleet.TaskComplete, fleet.TaskRunning))
		}
		return tasks
	}
	one := fleet.Service{ID: "s", Name: "spider", Mode: fleet.ModeReplicated}
	with := func(change func(*fleet.Service)) fleet.Service {
		svc := one
		change(&svc)
		return svc
	}
	for name, tc := range map[string]struct {
		svc   fleet.Service
		tasks []fleet.Task
		n     int
		want  int // replicas; 0: it is not changed
		bad   bool
	}{
		"stopped":               {svc: with(func(s *fleet.Service) { s.Before = 3 }), want: 3},
		"stopped, nobody knows": {svc: one, want: 1},
		"stopped after its end": {svc: with(func(s *fleet.Service) { s.Before = 3 }), tasks: complete(3), want: 3},
		"finished": {
			svc: with(func(s *fleet.Service) { s.Desired, s.Complete = 2, 2 }), tasks: complete(2), want: 2,
		},
		"finished, with more": {
			svc: with(func(s *fleet.Service) { s.Desired, s.Complete = 2, 2 }), tasks: complete(2), n: 5, want: 5,
		},
		"global, finished": {
			svc:   with(func(s *fleet.Service) { s.Mode, s.Desired, s.Complete = fleet.ModeGlobal, 2, 2 }),
			tasks: complete(2), want: 2,
		},
		"runs": {svc: with(func(s *fleet.Service) { s.Desired, s.Running = 2, 2 })},
		"finished in part": {
			svc: with(func(s *fleet.Service) { s.Desired, s.Running, s.Complete = 2, 1, 1 }),
			bad: true,
		},
		"a job": {svc: with(func(s *fleet.Service) {
			s.Mode, s.Desired, s.Complete = "replicated-job", 2, 2
		}), bad: true},
		"being updated": {svc: with(func(s *fleet.Service) { s.Pending = "3 image" }), bad: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				c := &startable{svc: tc.svc, tasks: tc.tasks}
				r := NewRunner(c, nil, nil, slog.New(slog.DiscardHandler))
				r.TellQueue(func(context.Context, string) servicespec.Queue { return servicespec.Queue{URL: "u"} }, nil)
				change := r.Start(tc.svc, tc.n)
				var last Progress
				err := change.Run(t.Context(), func(p Progress) { last = p })
				_, planErr := change.Plan(t.Context())
				var conflict ConflictError
				if errors.As(err, &conflict) != tc.bad || errors.As(planErr, &conflict) != tc.bad {
					t.Fatalf("got %v, and its plan %v", err, planErr)
				}
				wrong := c.told == nil || last.Running != tc.want || last.Complete > 0
				if c.asked != tc.want || tc.want > 0 && wrong {
					t.Errorf("asked for %d, told of %v; in the end it has %+v", c.asked, c.told, last)
				}
				if unchanged := last.Stage == history.StageUnchanged; !tc.bad && unchanged != (tc.want == 0) {
					t.Errorf("it ends with stage %s", last.Stage)
				}
			})
		})
	}
}
