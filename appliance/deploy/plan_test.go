package deploy

import (
	"context"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/compose-spec/compose-go/v2/types"

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
		if tc.built != "" {
			tc.d.Built = &Build{Step: tc.built}
		}
		f, err := NewRunner(planned{changes: tc.changes}, nil, nil, slog.New(slog.DiscardHandler)).Deploy(tc.svc,
			tc.d).Plan(t.Context())
		if err != nil || f.Action != tc.action || strings.Join(f.Steps, "\n") != strings.Join(tc.steps, "\n") {
			t.Errorf("%s: got %s, %v\n%s\nwant\n%s", name, f.Action, err, strings.Join(f.Steps, "\n"),
				strings.Join(tc.steps, "\n"))
		}
	}
}

// small has nodes of which each has two processors.
type small struct{ planned }

func (small) Nodes(context.Context) ([]fleet.Node, error) {
	n := fleet.Node{Availability: "active", CPUs: 2, Memory: 1 << 30, OS: "linux", Arch: "x86_64"}
	up, down := n, n
	up.ID, up.State = "n1", fleet.StateReady
	down.ID, down.State = "n2", fleet.StateDown
	return []fleet.Node{up, down}, nil
}

// TestPlan_NeverRuns: what can never run on the nodes that there are is refused by the plan, before
// an image is built, as by the deploy.
func TestPlan_NeverRuns(t *testing.T) {
	t.Parallel()
	reserving := func(mode string, cpus float32) *compose.Service {
		return &compose.Service{Name: "spider", Compose: types.ServiceConfig{Deploy: &types.DeployConfig{
			Mode:      mode,
			Replicas:  new(3),
			Resources: types.Resources{Reservations: &types.Resource{NanoCPUs: types.NanoCPUs(cpus)}},
		}}}
	}
	three := &fleet.Service{ID: "id", Name: "spider", Mode: fleet.ModeReplicated, Desired: 3, MaxPerNode: 1}
	for name, tc := range map[string]struct {
		svc    *fleet.Service
		change servicespec.Deployment
		built  *Build
		says   string // empty: it is not refused
	}{
		"processors": {nil, servicespec.Deployment{CPUs: new(int64(2e9))}, nil, ""},
		"too many processors": {
			nil, servicespec.Deployment{CPUs: new(int64(400e9))}, nil, "a limit of 400 processors",
		},
		"as many on each": {nil, servicespec.Deployment{Replicas: new(2), MaxPerNode: new(uint64(1))}, nil, ""},
		"too many on each": {
			nil, servicespec.Deployment{Replicas: new(20), MaxPerNode: new(uint64(1))}, nil, "20 replicas do not fit",
		},
		"of one that was there": {
			three, servicespec.Deployment{}, nil, "3 replicas do not fit on 2 nodes with 1 on each",
		},
		"fewer of it":    {three, servicespec.Deployment{Replicas: new(2)}, nil, ""},
		"as it was once": {three, servicespec.Deployment{Spec: []byte("{}")}, nil, ""},
		"a platform": {
			nil, servicespec.Deployment{}, &Build{Platforms: []fleet.Platform{{OS: "linux", Arch: "amd64"}}}, "",
		},
		"another platform": {
			nil, servicespec.Deployment{}, &Build{Platforms: []fleet.Platform{{OS: "linux", Arch: "s390x"}}},
			"image for linux/s390x (nodes are linux/amd64)",
		},
		"a file's": {nil, servicespec.Deployment{Definition: reserving("", 1)}, nil, ""},
		"a file's, large": {
			nil, servicespec.Deployment{Definition: reserving("", 3)}, nil, "a reservation of 3 processors",
		},
		"a file's, in all": {
			nil, servicespec.Deployment{Definition: reserving("", 1.5)}, nil,
			"3 replicas do not fit on 2 nodes with 1.5 processors",
		},
		"a file's, global": {nil, servicespec.Deployment{Definition: reserving(compose.ModeGlobal, 1.5)}, nil, ""},
	} {
		d := Deploy{Service: "spider", Change: tc.change, Share: DefaultShare, Pull: DefaultPullPolicy, Built: tc.built}
		d.Change.Image = "localhost:8003/spider:0.02"
		_, err := NewRunner(small{planned{changes: []string{"image"}}}, nil, nil, slog.New(slog.DiscardHandler)).Deploy(
			tc.svc, d).Plan(t.Context())
		if (err != nil) != (tc.says != "") || err != nil && !strings.Contains(err.Error(), "spider: ") ||
			err != nil && !strings.Contains(err.Error(), tc.says) {
			t.Errorf("%s: got %v, want %q", name, err, tc.says)
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
