package servicespec

import (
	"encoding/json"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/docker/docker/api/types/swarm"

	"github.com/crawlbox/crawlbox/appliance/fleet"
)

func serviceOfTwo() swarm.ServiceSpec {
	two := uint64(2)
	return swarm.ServiceSpec{
		Annotations: swarm.Annotations{Name: "spider", Labels: map[string]string{"a": "b"}},
		TaskTemplate: swarm.TaskSpec{
			ContainerSpec: &swarm.ContainerSpec{Image: "old", Env: []string{"A=1", "B=2"}},
			ForceUpdate:   3,
		},
		Mode: swarm.ServiceMode{Replicated: &swarm.ReplicatedService{Replicas: &two}},
	}
}

func TestDeployment_ChangesOnlyWhatItSays(t *testing.T) {
	t.Parallel()
	s := serviceOfTwo()
	s.UpdateConfig = &swarm.UpdateConfig{
		Delay:           time.Second,
		Monitor:         time.Minute,
		Order:           "start-first",
		FailureAction:   "continue",
		MaxFailureRatio: 0.5,
	}
	five, half, memory := 5, int64(5e8), int64(1<<20)
	d := Deployment{
		Image:       "new@sha256:1",
		Replicas:    &five,
		Env:         map[string]string{"B": "3", "C": "4"},
		CPUs:        &half,
		Memory:      &memory,
		Constraints: []string{"node.role==worker"},
		Update:      UpdatePolicy{Parallelism: 2, Delay: 2 * time.Second},
	}
	if err := d.Apply(&s); err != nil {
		t.Fatal(err)
	}
	c := s.TaskTemplate.ContainerSpec
	if c.Image != "new@sha256:1" || strings.Join(c.Env, " ") != "A=1 B=3 C=4" || c.Init == nil || !*c.Init ||
		*s.Mode.Replicated.Replicas != 5 {
		t.Errorf("the service is %+v with %+v", s, c)
	}
	if l := s.TaskTemplate.Resources.Limits; l.NanoCPUs != half || l.MemoryBytes != memory {
		t.Errorf("its limits are %+v", l)
	}
	// A service that somebody deployed while its tasks came to an end goes back again.
	want := swarm.UpdateConfig{
		Parallelism:     2,
		Delay:           2 * time.Second,
		Monitor:         time.Minute,
		Order:           "start-first",
		FailureAction:   "rollback",
		MaxFailureRatio: 0.5,
	}
	if *s.UpdateConfig != want {
		t.Errorf("it is updated by %+v, want %+v", *s.UpdateConfig, want)
	}
	if r := s.RollbackConfig; r.Parallelism != 2 || r.FailureAction != "pause" || r.Monitor != DefaultMonitor {
		t.Errorf("it goes back by %+v", r)
	}
	d.Watched = true
	if err := d.Apply(&s); err != nil || s.UpdateConfig.FailureAction != "continue" {
		t.Errorf("with its caller watching it is updated by %+v, %v", s.UpdateConfig, err)
	}
	s.UpdateConfig.FailureAction, d.Watched = "pause", false
	if err := d.Apply(&s); err != nil || s.UpdateConfig.FailureAction != "pause" {
		t.Errorf("a service that is to pause is updated by %+v, %v", s.UpdateConfig, err)
	}
}

func TestDeployment_RestoresAllButTheReplicas(t *testing.T) {
	t.Parallel()
	old := serviceOfTwo()
	old.TaskTemplate.ForceUpdate = 0
	spec, err := json.Marshal(old)
	if err != nil {
		t.Fatal(err)
	}
	now := serviceOfTwo()
	seven := uint64(7)
	now.Mode.Replicated.Replicas = &seven
	now.TaskTemplate.ContainerSpec.Env = []string{"A=broken"}
	now.Labels = nil
	d := Deployment{Image: "old@sha256:1", Spec: spec}
	if err := d.Apply(&now); err != nil {
		t.Fatal(err)
	}
	c := now.TaskTemplate.ContainerSpec
	if c.Image != "old@sha256:1" || !reflect.DeepEqual(c.Env, []string{"A=1", "B=2"}) || now.Labels["a"] != "b" ||
		*now.Mode.Replicated.Replicas != 7 || now.TaskTemplate.ForceUpdate != 3 {
		t.Errorf("the service is %+v with %+v", now, c)
	}
	d.Spec = json.RawMessage("{")
	if err := d.Apply(&now); err == nil {
		t.Error("half a spec was taken")
	}
}

// TestDeployment_StartsAgain wants a deploy of a service that was stopped to start it also where
// its tasks had completed before, and to say no more than that.
func TestDeployment_StartsAgain(t *testing.T) {
	t.Parallel()
	zero, two := 0, 2
	for name, tc := range map[string]struct {
		from, to *int
		want     uint64
		changes  string
	}{
		"it starts":      {&zero, &two, 4, "deploy.replicas"},
		"it stays":       {&zero, nil, 3, ""},
		"it runs":        {&two, &two, 3, ""},
		"it is to stop":  {&two, &zero, 3, "deploy.replicas"},
		"it stays as is": {&two, nil, 3, ""},
	} {
		s := serviceOfTwo()
		withInit(s.TaskTemplate.ContainerSpec)
		if err := Scale(&s, *tc.from); err != nil {
			t.Fatal(err)
		}
		before := plainOf(t, s)
		d := Deployment{Image: "old", Replicas: tc.to}
		if err := d.Apply(&s); err != nil {
			t.Fatal(err)
		}
		changes := slices.DeleteFunc(d.Changes(before, plainOf(t, s)),
			func(key string) bool { return strings.HasSuffix(key, "_config") })
		if s.TaskTemplate.ForceUpdate != tc.want || strings.Join(changes, " ") != tc.changes {
			t.Errorf("%s: forced %d times, changes %q", name, s.TaskTemplate.ForceUpdate, changes)
		}
	}
}

func plainOf(t *testing.T, s swarm.ServiceSpec) Plain {
	t.Helper()
	p, err := PlainOf(s)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// TestScale_KeepsReplicas wants a service that is stopped to know how many replicas it had,
// whatever is done with it before it starts again.
func TestScale_KeepsReplicas(t *testing.T) {
	t.Parallel()
	s := serviceOfTwo()
	step := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	old, err := json.Marshal(serviceOfTwo())
	step(err)
	step(Scale(&s, 0))
	step(Scale(&s, 0))
	step(Deployment{Image: "new"}.Apply(&s))
	step(Deployment{Image: "old", Spec: old}.Apply(&s))
	if got := s.Labels[fleet.LabelReplicasBefore]; got != "2" || *s.Mode.Replicated.Replicas != 0 {
		t.Errorf("stopped: it had %q replicas, and has %d", got, *s.Mode.Replicated.Replicas)
	}
	before := s.TaskTemplate.ForceUpdate
	// What has finished Swarm starts only as another version, and then all at once.
	step(Start(&s, 3))
	if _, kept := s.Labels[fleet.LabelReplicasBefore]; kept {
		t.Errorf("started: %+v", s)
	}
	if s.TaskTemplate.ForceUpdate != before+1 || *s.Mode.Replicated.Replicas != 3 || s.UpdateConfig.Parallelism != 0 ||
		s.UpdateConfig.FailureAction != swarm.UpdateFailureActionContinue {
		t.Errorf("started again: %+v, %+v", s, s.UpdateConfig)
	}
}
