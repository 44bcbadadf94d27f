package deploy

import (
	"context"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/crawlbox/crawlbox/appliance/fleet"
	"github.com/crawlbox/crawlbox/appliance/swarm/servicespec"
	"github.com/crawlbox/crawlbox/configs/compose"
)

// planned is a Cluster of which a plan needs its nodes and what would change.
type planned struct {
	Cluster
	changes []string
}

func (planned) Nodes(context.Context) ([]fleet.Node, error) {
	return []fleet.Node{
		{ID: "n1", State: fleet.StateReady, Availability: "active"},
		{ID: "n2", State: fleet.StateReady, Availability: "active"},
	}, nil
}

func (c planned) Changes(context.Context, string, servicespec.Deployment) ([]string, error) {
	return c.changes, nil
}

func (planned) Platforms(context.Context, string) []fleet.Platform { return nil }

func TestPlan_Deploy(t *testing.T) {
	t.Parallel()
	definition := compose.Service{Name: "spider"}
	image := "localhost:8003/spider:0.02@sha256:" + strings.Repeat("0123456789abcdef", 4)
	deploy := func(c servicespec.Deployment) Deploy {
		c.Image = image
		return Deploy{
			Service: "spider",
			Change:  c,
			Share:   DefaultShare,
			Pull:    PullPolicy{Share{percent: 100}, time.Minute},
		}
	}
	pull := "pull: bring localhost:8003/spider:0.02 (0123456789ab) onto 2 nodes within 1m"
	six := &fleet.Service{
		ID:      "id",
		Name:    "spider",
		Mode:    fleet.ModeReplicated,
		Image:   "localhost:8003/spider:0.01",
		Desired: 6,
	}
	nine := 9
	for name, tc := range map[string]struct {
		svc     *fleet.Service
		changes []string
		d       Deploy
		built   string
		action  Action
		steps   []string
	}{
		"a new one": {nil, nil, deploy(
			servicespec.Deployment{Replicas: &nine}), "", Create,
			[]string{pull, "update: create service spider with 9 replicas", "watch: until all have run for 5s"}},
		"of a file": {nil, nil, deploy(
			servicespec.Deployment{Definition: &definition}), "", Create,
			[]string{pull, "update: create service spider with 1 replica", "watch: until all have run for 5s"}},
		"nothing new": {six, nil, deploy(
			servicespec.Deployment{}), "", Unchanged, []string{"service spider is so already: nothing to do"}},
		"another": {six, []string{"environment.A", "image"}, deploy(servicespec.Deployment{}), "", Replace,
			[]string{
				pull, "update: change service spider, 25% of 6 replicas at a time",
				"watch: until all have run for 5s; back to localhost:8003/spider:0.01 if one fails",
			}},
		"more of them, some may fail": {six, []string{"image"},
			deploy(servicespec.Deployment{
				Replicas: &nine,
				Update:   servicespec.UpdatePolicy{FailureRatio: 0.5, Monitor: time.Second},
			}), "", Replace,
			[]string{
				pull, "update: change service spider, 25% of 9 replicas at a time, from 6 to 9 replicas",
				"watch: until all have run for 1s; back to localhost:8003/spider:0.01 if more than 50% fail",
			}},
		"built before": {six, []string{"image"},
			deploy(servicespec.Deployment{KeepReplicas: true, Definition: &definition}), "build: x", Replace,
			[]string{
				"build: x", pull, "update: change service spider, 25% of 6 replicas at a time",
				"watch: until all have run for 5s; back to localhost:8003/spider:0.01 if one fails",
			}},
		"a restart": {six, []string{"the restart"}, deploy(servicespec.Deployment{Restart: true}), "", Replace,
			[]string{
				pull, "update: replace the replicas of service spider, 25% of 6 at a time",
				"watch: until all have run for 5s; back to localhost:8003/spider:0.01 if one fails",
			}},
		"a job": {&fleet.Service{ID: "id", Name: "spider", Mode: "replicated-job", Desired: 2}, []string{"image"},
			deploy(servicespec.Deployment{}), "", Replace,
			[]string{pull, "update: change service spider, 25% of 2 replicas at a time"}},
	} {
		tc.d.Built = tc.built
		f, err := NewRunner(planned{changes: tc.changes}, nil, nil, slog.New(slog.DiscardHandler)).Deploy(tc.svc,
			tc.d).Plan(t.Context())
		if err != nil || f.Action != tc.action || strings.Join(f.Steps, "\n") != strings.Join(tc.steps, "\n") {
			t.Errorf("%s: got %s, %v\n%s\nwant\n%s", name, f.Action, err, strings.Join(f.Steps, "\n"),
				strings.Join(tc.steps, "\n"))
		}
	}
}

// telling is a Cluster that keeps what it was to change.
type telling struct {
	planned
	asked []servicespec.Deployment
}

func (c *telling) Changes(_ context.Context, _ string, d servicespec.Deployment) ([]string, error) {
	c.asked = append(c.asked, d)
	return nil, nil
}

// TestDeploy_TellsQueue wants a plan and the deploy itself to know the same of the queue.
func TestDeploy_TellsQueue(t *testing.T) {
	t.Parallel()
	c := &telling{}
	r := NewRunner(c, nil, nil, slog.New(slog.DiscardHandler))
	r.TellQueue(func(_ context.Context, image string) servicespec.Queue { return servicespec.Queue{URL: image} }, nil)
	change := r.Deploy(&fleet.Service{Name: "spider"}, Deploy{
		Service:   "spider",
		Change:    servicespec.Deployment{Image: "i@sha256:1"},
		IfChanged: true,
	})
	if _, err := change.Plan(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := change.Run(t.Context(), func(Progress) {}); err != nil {
		t.Fatal(err)
	}
	for _, d := range c.asked {
		if d.Queue == nil || d.Queue.URL != "i@sha256:1" {
			t.Errorf("it is asked for %+v", d)
		}
	}
	if len(c.asked) != 2 {
		t.Errorf("asked %d times", len(c.asked))
	}
}

func TestPlan_StopFirst(t *testing.T) {
	t.Parallel()
	svc := fleet.Service{Name: "spider", Mode: fleet.ModeReplicated, Desired: 6}
	d := Deploy{
		Service: "spider",
		Change:  servicespec.Deployment{Image: "spider:2@sha256:1"},
		Pull:    PullPolicy{Share{all: true}, time.Minute},
	}
	f, err := NewRunner(planned{}, nil, nil, slog.New(slog.DiscardHandler)).StopFirst(svc, d).Plan(t.Context())
	want := "pull: bring spider:2 onto 2 nodes within 1m\nstop: service spider, all 6 replicas\nstart: 6 replicas of " +
		"spider:2"
	if got := strings.Join(f.Steps, "\n"); got != want || err != nil {
		t.Errorf("got %v\n%s", err, got)
	}
	svc.Desired, svc.Pending = 0, "4 spider:1@sha256:0" // one that was cut off
	if f, err = NewRunner(planned{}, nil, nil, slog.New(slog.DiscardHandler)).StopFirst(svc, d).Plan(
		t.Context()); err != nil || f.Steps[2] != "start: 4 replicas of spider:2" {
		t.Errorf("got %v, %q", err, f.Steps)
	}
}
