package servicespec

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/docker/docker/api/types/swarm"

	"github.com/crawlbox/crawlbox/appliance/fleet"
	"github.com/crawlbox/crawlbox/appliance/runs"
)

// TestRun_Apply: a run has all of its service but what is of a service alone.
func TestRun_Apply(t *testing.T) {
	t.Parallel()
	s, err := New("spider")
	if err != nil {
		t.Fatal(err)
	}
	s.Labels = map[string]string{"team": "a", fleet.LabelManaged: "config", fleet.LabelAutoscale: "{}"}
	c := s.TaskTemplate.ContainerSpec
	c.Image, c.Env = "spider:1@sha256:old", []string{"DEPTH=1", "KEPT=1"}
	c.Secrets = []*swarm.SecretReference{{SecretName: "key"}}
	s.TaskTemplate.Networks = []swarm.NetworkAttachmentConfig{{Target: "net"}}
	s.EndpointSpec = &swarm.EndpointSpec{Ports: []swarm.PortConfig{{TargetPort: 80}}}
	run := Run{
		Spec: runs.Spec{ID: "spider-1", Service: "spider", Image: "spider:1", Digest: "sha256:new", Replicas: 3,
			Retries: 2, Args: map[string]string{"site": "shop"}},
		Variables: map[string]string{"DEPTH": "2"},
		Program:   []string{"scrapy", "crawl", "q"},
	}
	if err := run.Apply(&s); err != nil {
		t.Fatal(err)
	}
	if s.Name != "spider-1" || *s.Mode.Replicated.Replicas != 3 || s.EndpointSpec != nil || s.UpdateConfig != nil {
		t.Errorf("it is %+v", s)
	}
	if len(s.Labels) != 2 || s.Labels["team"] != "a" || !strings.Contains(s.Labels[fleet.LabelRun], `"site":"shop"`) {
		t.Errorf("its labels are %v", s.Labels)
	}
	if c.Image != "spider:1@sha256:new" || len(c.Secrets) != 1 || len(s.TaskTemplate.Networks) != 1 {
		t.Errorf("it has %+v", c)
	}
	if !slices.Equal(c.Env, []string{"KEPT=1", "DEPTH=2", "CRAWLBOX_ARG_SITE=shop"}) ||
		!slices.Equal(c.Args, []string{"scrapy", "crawl", "q", "-a", "site=shop"}) {
		t.Errorf("it runs %q with %q", c.Args, c.Env)
	}
	p := s.TaskTemplate.RestartPolicy
	if p.Condition != swarm.RestartPolicyConditionOnFailure || *p.MaxAttempts != 2 {
		t.Errorf("it begins again by %+v", p)
	}
	for range 2 {
		if RestartRun(&s, 1); s.TaskTemplate.ForceUpdate != 1 {
			t.Errorf("restarted once it is version %d", s.TaskTemplate.ForceUpdate)
		}
	}
	StopRun(&s, "ann")
	if RestartRun(&s, 2); s.TaskTemplate.ForceUpdate != 1 {
		t.Error("what is stopped begins again")
	}
	StopRun(&s, "bob")
	if s.Labels[fleet.LabelRunStop] != "ann" || !slices.Equal(s.TaskTemplate.Placement.Constraints, []string{nowhere}) {
		t.Errorf("stopped it is %+v of %v", s.TaskTemplate.Placement, s.Labels)
	}
}

func TestRun_ApplyToOthers(t *testing.T) {
	t.Parallel()
	global := swarm.ServiceSpec{
		Mode:         swarm.ServiceMode{Global: &swarm.GlobalService{}},
		TaskTemplate: swarm.TaskSpec{ContainerSpec: &swarm.ContainerSpec{Command: []string{"/app"}}},
	}
	run := Run{Spec: runs.Spec{ID: "r", Replicas: 1, Args: map[string]string{"a": "1"}}, Program: []string{"never"}}
	if err := run.Apply(&global); err != nil || global.Mode.Global != nil {
		t.Errorf("of a global one: %v, %+v", err, global.Mode)
	}
	if got := global.TaskTemplate.ContainerSpec.Args; !slices.Equal(got, []string{"--a=1"}) {
		t.Errorf("behind an entrypoint of its own it gets %q", got)
	}
	if p := global.TaskTemplate.RestartPolicy; p.Condition != swarm.RestartPolicyConditionNone || p.MaxAttempts != nil {
		t.Errorf("without retries it is %+v", p)
	}
	unknown := swarm.ServiceSpec{TaskTemplate: swarm.TaskSpec{ContainerSpec: &swarm.ContainerSpec{}}}
	run.Program = nil
	if err := run.Apply(&unknown); !errors.Is(err, ErrNoProgram) {
		t.Errorf("of what nobody knows: %v", err)
	}
	plain := swarm.ServiceSpec{TaskTemplate: swarm.TaskSpec{Runtime: swarm.RuntimePlugin}}
	if err := run.Apply(&plain); err == nil {
		t.Error("a plugin runs")
	}
}
